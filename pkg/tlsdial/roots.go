package tlsdial

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"os"
	"runtime"
)

// files returns the files of which crypto/x509 reads the first one that it can read as
// the system's roots (its root_unix.go and root_linux.go). It reads directories, too,
// which are left to it.
func files() []string {
	if runtime.GOOS != "linux" {
		return nil
	}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" { //nolint:forbidigo // crypto/x509 reads this variable itself
		return []string{file}
	}
	return []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian
		"/etc/pki/tls/certs/ca-bundle.crt",                  // Amazon Linux
		"/etc/ssl/ca-bundle.pem",                            // openSUSE
		"/etc/pki/tls/cacert.pem",                           // OpenELEC
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL
		"/etc/ssl/cert.pem",                                 // Alpine
	}
}

// root is a root certificate that has not been parsed.
type root struct {
	pem []byte // its block, with the lines around it
	der []byte
}

type roots []root

// readRoots reads the roots of the system in another goroutine. The channel receives
// them once.
func readRoots() <-chan roots {
	read := make(chan roots, 1)
	go func() {
		for _, file := range files() {
			if text, err := os.ReadFile(file); err == nil { //nolint:gosec // the operator chooses the file
				read <- split(text)
				return
			}
		}
		read <- nil
	}()
	return read
}

// split returns the certificates in a PEM file. It decodes base64 and nothing else,
// which takes a fifteenth of the time of parsing them.
func split(text []byte) roots {
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----"
	const usual = 1200 // bytes of a root, in PEM and DER
	all := make(roots, 0, len(text)/usual)
	buffer := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	for {
		i := bytes.Index(text, []byte(begin))
		if i < 0 {
			return all
		}
		first := i == 0 || text[i-1] == '\n'
		text = text[i:]
		length := bytes.Index(text, []byte(end))
		if length < 0 {
			return all
		}
		block := text[:length+len(end)]
		n, err := base64.StdEncoding.Decode(buffer, text[len(begin):length])
		if err == nil && first {
			all = append(all, root{block, buffer[:n:n]})
			buffer = buffer[n:]
		}
		text = text[len(block):]
	}
}

// of returns the roots that may end a chain: those that contain the name of an issuer
// of the chain, as their subject.
func (all roots) of(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, r := range all {
		for _, c := range chain {
			if bytes.Contains(r.der, c.RawIssuer) {
				pool.AppendCertsFromPEM(r.pem)
				break
			}
		}
	}
	return pool
}
