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
	pem     []byte // its block
	subject []byte // in DER; nil if it could not be read
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
// with their ends. The 672 bytes hold the subject, which comes after the issuer; names
// are rarely longer than 200 bytes.
const prefix = 14 * 65

// split returns the certificates in a PEM file. It decodes the start of each, which
// takes a fraction of the time of parsing them.
func split(text []byte) roots {
	const begin, end = "-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----"
	const usual = 1200 // bytes of a root, in PEM and DER
	all := make(roots, 0, len(text)/usual)
	start := make([]byte, base64.StdEncoding.DecodedLen(prefix))
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
		n, _ := base64.StdEncoding.Decode(start, body[:min(length, prefix)]) // what comes before an error counts
		all = append(all, root{text[i : i+len(begin)+length+len(end)], bytes.Clone(subject(start[:n]))})
		i += len(begin) + length
	}
}

// subject returns the subject of a certificate from its first bytes, in DER, or nil if
// they do not contain it. The fields before it are those of RFC 5280, 4.1.
func subject(certificate []byte) []byte {
	const explicitVersion = 0xa0
	_, rest := header(certificate) // of Certificate
	_, rest = header(rest)         // of TBSCertificate
	if len(rest) > 0 && rest[0] == explicitVersion {
		_, rest = element(rest)
	}
	for range 4 { // serialNumber, signature, issuer, validity
		_, rest = element(rest)
	}
	name, _ := element(rest)
	return name
}

// element returns the first element of DER with its header, and what follows it; nil
// and nil if der ends earlier.
func element(der []byte) (first, rest []byte) {
	length, content := header(der)
	if content == nil || length > len(content) {
		return nil, nil
	}
	end := len(der) - len(content) + length
	return der[:end], der[end:]
}

// header reads the header of the first element of DER. It returns the length of the
// element's content, and what follows the header; nil if der ends earlier.
func header(der []byte) (length int, content []byte) {
	const long, most = 0x80, 3 // the lengths of certificates have three bytes at most
	if len(der) < 2 {
		return 0, nil
	}
	length, content = int(der[1]), der[2:]
	if length < long {
		return length, content
	}
	size := length - long
	if size > most || size > len(content) {
		return 0, nil
	}
	length = 0
	for _, b := range content[:size] {
		length = length<<8 | int(b)
	}
	return length, content[size:]
}

// of returns the roots that may end a chain: those whose subject is an issuer in the
// chain.
func (all roots) of(chain []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, r := range all {
		for _, c := range chain {
			if bytes.Equal(r.subject, c.RawIssuer) {
				pool.AppendCertsFromPEM(r.pem)
				break
			}
		}
	}
	return pool
}
