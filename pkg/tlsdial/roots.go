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
	pem   []byte // its block
	start []byte // its first bytes, in DER
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

// prefix is how many characters of a certificate are decoded, 14 lines of 64 characters
// with their ends. The 672 bytes hold the issuer, which is also the subject of a root;
// names are rarely longer than 200 bytes.
const prefix = 14 * 65

// split returns the certificates in a PEM file. It decodes the start of each, which
// takes a fraction of the time of parsing them.
func split(text []byte) roots {
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----"
	const usual = 1200 // bytes of a root, in PEM and DER
	all := make(roots, 0, len(text)/usual)
	for i := 0; ; i++ {
		dash := bytes.IndexByte(text[i:], '-') // not a character of base64
		if dash < 0 {
			return all
		}
		i += dash
		if i > 0 && text[i-1] != '\n' || !bytes.HasPrefix(text[i:], []byte(begin)) {
			continue
		}
		body := text[i+len(begin):]
		length := bytes.IndexByte(body, '-')
		if length < 0 || !bytes.HasPrefix(body[length:], []byte(end)) {
			continue
		}
		start := make([]byte, base64.StdEncoding.DecodedLen(prefix))
		n, _ := base64.StdEncoding.Decode(start, body[:min(length, prefix)]) // what comes before an error counts
		all = append(all, root{text[i : i+len(begin)+length+len(end)], start[:n]})
		i += len(begin) + length
	}
}

// of returns the roots that may end a chain: those whose first bytes contain the name
// of an issuer of the chain.
func (all roots) of(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, r := range all {
		for _, c := range chain {
			if bytes.Contains(r.start, c.RawIssuer) {
				pool.AppendCertsFromPEM(r.pem)
				break
			}
		}
	}
	return pool
}
