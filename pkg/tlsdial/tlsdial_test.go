package tlsdial_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"syncplane/pkg/tlsdial"
)

// issued is a certificate with its key.
type issued struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// world holds the authorities of the tests. The roots of the system are trusted, which is
// in the file, and listed, which is in the directory.
var world struct {
	trusted, listed, unknown, forged, expired issued
	file                                      string
}

// TestMain sets the roots of the system, which crypto/x509 reads once in a process.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tlsdial-*")
	check(err)
	world.trusted = issue(authority("Trusted"), nil)
	world.listed = issue(authority("Listed"), nil)
	world.unknown = issue(authority("Unknown"), nil)
	world.forged = issue(authority("Trusted"), nil) // the name of another authority
	world.expired = issue(expire(authority("Expired")), nil)
	var bundle []byte
	for i := range 40 {
		bundle = fmt.Appendf(bundle, "# Authority %d\n%s", i, encoded(issue(authority(fmt.Sprint("Authority ", i)), nil)))
		switch i {
		case 10:
			bundle = append(bundle, encoded(world.trusted)...)
		case 20:
			bundle = append(bundle, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n-----BEGIN X-----\nAAAA\n-----END X-----\n"...)
		case 30:
			bundle = append(bundle, encoded(world.expired)...)
		}
	}
	world.file = filepath.Join(dir, "bundle.pem")
	check(os.WriteFile(world.file, bundle, 0o600))
	check(os.Mkdir(filepath.Join(dir, "certs"), 0o700))
	check(os.WriteFile(filepath.Join(dir, "certs", "listed.pem"), encoded(world.listed), 0o600))
	check(os.Setenv("SSL_CERT_FILE", world.file))
	check(os.Setenv("SSL_CERT_DIR", filepath.Join(dir, "certs")))
	_, err = x509.SystemCertPool() // before a test changes the variables
	check(err)
	code := m.Run()
	check(os.RemoveAll(dir))
	os.Exit(code)
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// authority returns the template of an authority.
func authority(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{Organization: []string{name}, CommonName: name + " Root"},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

// server returns the template of a server's certificate.
func server() *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "service.test"}, DNSNames: []string{"service.test", "*.api.test"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// expire sets the end of a template to an hour ago.
func expire(template *x509.Certificate) *x509.Certificate {
	template.NotAfter = time.Now().Add(-time.Hour)
	return template
}

// issue signs a template by the key of by, or by its own if by is nil.
func issue(template *x509.Certificate, by *issued) issued {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	check(err)
	template.NotBefore = time.Now().Add(-24 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent := issued{template, key}
	if by != nil {
		parent = *by
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.key)
	check(err)
	certificate, err := x509.ParseCertificate(der)
	check(err)
	return issued{certificate, key}
}

func encoded(c issued) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// serve accepts TLS connections with a chain until the test ends, and returns its address.
func serve(t *testing.T, chain ...issued) string {
	t.Helper()
	certificate := tls.Certificate{PrivateKey: chain[0].key}
	for _, c := range chain {
		certificate.Certificate = append(certificate.Certificate, c.Raw)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	check(err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 1)) // completes the handshake and waits for the client
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// outcome returns the type of the reason why a server is refused, nil if it is accepted.
func outcome(t *testing.T, conn net.Conn, err error) reflect.Type {
	t.Helper()
	if err == nil {
		_ = conn.Close()
		return nil
	}
	refused, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(refused.UnverifiedCertificates) == 0 {
		t.Fatalf("got %v, want a CertificateVerificationError", err)
	}
	reason := refused.Err
	for errors.Unwrap(reason) != nil {
		reason = errors.Unwrap(reason)
	}
	return reflect.TypeOf(reason)
}

// TestVerdicts compares the verdict on servers with that of crypto/tls.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	middle := func(by issued, edit func(*x509.Certificate)) issued {
		template := authority("Intermediate")
		if edit != nil {
			edit(template)
		}
		return issue(template, &by)
	}
	leaf := func(by issued, edit func(*x509.Certificate)) issued {
		template := server()
		if edit != nil {
			edit(template)
		}
		return issue(template, &by)
	}
	trusted := middle(world.trusted, nil)
	fromExpired := middle(world.trusted, func(c *x509.Certificate) { expire(c) })
	noAuthority := leaf(world.trusted, nil)
	constrained := middle(world.trusted, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"other.test"}
	})
	underUnknown, underForged := middle(world.unknown, nil), middle(world.forged, nil)
	alone := issue(server(), nil)
	for name, test := range map[string]struct {
		server string // its name
		chain  []issued
		want   any // the reason why it is refused, nil if it is accepted
	}{
		"of a root in the file":                   {"service.test", []issued{leaf(world.trusted, nil)}, nil},
		"of an intermediate":                      {"service.test", []issued{leaf(trusted, nil), trusted}, nil},
		"with its root":                           {"service.test", []issued{leaf(trusted, nil), trusted, world.trusted}, nil},
		"a wildcard":                              {"eu.api.test", []issued{leaf(trusted, nil), trusted}, nil},
		"of a root in the directory":              {"service.test", []issued{leaf(world.listed, nil)}, nil},
		"another name":                            {"other.test", []issued{leaf(trusted, nil), trusted}, x509.HostnameError{}},
		"a name below a wildcard":                 {"a.eu.api.test", []issued{leaf(trusted, nil), trusted}, x509.HostnameError{}},
		"another name, a root in the directory":   {"other.test", []issued{leaf(world.listed, nil)}, x509.HostnameError{}},
		"expired":                                 {"service.test", []issued{leaf(trusted, func(c *x509.Certificate) { expire(c) }), trusted}, x509.CertificateInvalidError{}},
		"of an expired intermediate":              {"service.test", []issued{leaf(fromExpired, nil), fromExpired}, x509.CertificateInvalidError{}},
		"of an expired root":                      {"service.test", []issued{leaf(world.expired, nil)}, x509.CertificateInvalidError{}},
		"of an unknown authority":                 {"service.test", []issued{leaf(world.unknown, nil)}, x509.UnknownAuthorityError{}},
		"of an unknown authority, with its root":  {"service.test", []issued{leaf(underUnknown, nil), underUnknown, world.unknown}, x509.UnknownAuthorityError{}},
		"of an authority with the name of a root": {"service.test", []issued{leaf(world.forged, nil)}, x509.UnknownAuthorityError{}},
		"the same, with its root":                 {"service.test", []issued{leaf(underForged, nil), underForged, world.forged}, x509.UnknownAuthorityError{}},
		"the same, and the real root":             {"service.test", []issued{leaf(world.forged, nil), world.trusted}, x509.UnknownAuthorityError{}},
		"without its intermediate":                {"service.test", []issued{leaf(trusted, nil)}, x509.UnknownAuthorityError{}},
		"signed by itself":                        {"service.test", []issued{alone}, x509.UnknownAuthorityError{}},
		"of a server's certificate":               {"service.test", []issued{leaf(noAuthority, nil), noAuthority}, x509.UnknownAuthorityError{}},
		"outside of the constraints of a name":    {"service.test", []issued{leaf(constrained, nil), constrained}, x509.CertificateInvalidError{}},
		"for clients only": {"service.test", []issued{leaf(trusted, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), trusted}, x509.CertificateInvalidError{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := serve(t, test.chain...)
			config := &tls.Config{ServerName: test.server, MinVersion: tls.VersionTLS12}
			conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", address)
			if standard := outcome(t, conn, err); standard != reflect.TypeOf(test.want) {
				t.Fatalf("crypto/tls: got %v (%v), want %T", standard, err, test.want)
			}
			conn, err = tlsdial.Dialer{Config: config}.DialTLSContext(t.Context(), "tcp", address)
			if got := outcome(t, conn, err); got != reflect.TypeOf(test.want) {
				t.Errorf("got %v (%v), want %T", got, err, test.want)
			}
		})
	}
}

// TestAddress checks that the certificate must be valid for the host in the address, also
// if that is an IP address, which the handshake does not send.
func TestAddress(t *testing.T) {
	t.Parallel()
	template := server()
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	valid := serve(t, issue(template, &world.trusted))
	other := serve(t, issue(server(), &world.trusted))
	for address, want := range map[string]any{
		valid: nil,
		other: x509.HostnameError{},
		strings.Replace(valid, "127.0.0.1", "localhost", 1): x509.HostnameError{},
	} {
		conn, err := tlsdial.Dialer{}.DialTLSContext(t.Context(), "tcp", address)
		if got := outcome(t, conn, err); got != reflect.TypeOf(want) {
			t.Errorf("%s: got %v (%v), want %T", address, got, err, want)
		}
	}
	for _, address := range []string{"127.0.0.1", "127.0.0.1:1", strings.Replace(valid, "127.0.0.1", "", 1)} {
		if conn, err := (tlsdial.Dialer{}).DialTLSContext(t.Context(), "tcp", address); err == nil {
			_ = conn.Close()
			t.Errorf("connected to %q", address)
		}
	}
}

// TestOwnRoots checks that roots in the configuration replace those of the system.
func TestOwnRoots(t *testing.T) {
	t.Parallel()
	pool := x509.NewCertPool()
	pool.AddCert(world.unknown.Certificate)
	dialer := tlsdial.Dialer{Config: &tls.Config{ServerName: "service.test", RootCAs: pool, MinVersion: tls.VersionTLS12}}
	for by, want := range map[*issued]any{&world.unknown: nil, &world.trusted: x509.UnknownAuthorityError{}} {
		conn, err := dialer.DialTLSContext(t.Context(), "tcp", serve(t, issue(server(), by)))
		if got := outcome(t, conn, err); got != reflect.TypeOf(want) {
			t.Errorf("%s: got %v (%v), want %T", by.Subject, got, err, want)
		}
	}
}

// TestFile checks that the file decides what is parsed, and that the roots that
// crypto/x509 has read decide about all other chains.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(world.file)
	check(err)
	for name, file := range map[string][]byte{
		"none":         nil,
		"empty":        {},
		"no PEM":       []byte("-----BEGIN CERTIFICATE-----\n"),
		"cut":          text[:len(text)/8],
		"Windows":      []byte(strings.ReplaceAll(string(text), "\n", "\r\n")),
		"with headers": []byte(strings.ReplaceAll(string(text), "-----BEGIN CERTIFICATE-----\n", "-----BEGIN CERTIFICATE-----\na: b\n\n")),
		"indented":     slices.Concat([]byte("x"), encoded(world.trusted)),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if file != nil {
				check(os.WriteFile(path, file, 0o600))
			}
			t.Setenv("SSL_CERT_FILE", path)
			for by, want := range map[*issued]any{&world.trusted: nil, &world.listed: nil, &world.unknown: x509.UnknownAuthorityError{}, &world.forged: x509.UnknownAuthorityError{}} {
				config := &tls.Config{ServerName: "service.test", MinVersion: tls.VersionTLS12}
				conn, err := tlsdial.Dialer{Config: config}.DialTLSContext(t.Context(), "tcp", serve(t, issue(server(), by)))
				if got := outcome(t, conn, err); got != reflect.TypeOf(want) {
					t.Errorf("%s: got %v (%v), want %T", by.Subject, got, err, want)
				}
			}
		})
	}
}

// withoutVersion returns the certificate in version 1, which has neither the version nor
// extensions.
func withoutVersion(certificate []byte) []byte {
	var outer struct{ Signed, Algorithm, Signature asn1.RawValue }
	_, err := asn1.Unmarshal(certificate, &outer)
	check(err)
	var signed struct {
		Version                                   int `asn1:"optional,explicit,default:0,tag:0"`
		Serial                                    *big.Int
		Algorithm, Issuer, Validity, Subject, Key asn1.RawValue
	}
	_, err = asn1.Unmarshal(outer.Signed.FullBytes, &signed) // leaves out the extensions at the end
	check(err)
	signed.Version = 0
	der, err := asn1.Marshal(signed)
	check(err)
	outer.Signed = asn1.RawValue{FullBytes: der}
	der, err = asn1.Marshal(outer)
	check(err)
	return der
}

// TestSubject compares the subject that is read from the start of a certificate with that
// of crypto/x509, and reads each certificate up to each of its bytes.
func TestSubject(t *testing.T) {
	t.Parallel()
	named := func(name pkix.Name) issued {
		template := authority("")
		template.Subject = name
		return issue(template, &world.trusted)
	}
	certificates := map[string][]byte{
		"a root":                world.trusted.Raw,
		"a server":              issue(server(), &world.trusted).Raw,
		"without a name":        named(pkix.Name{}).Raw,
		"a name of 300 bytes":   named(pkix.Name{CommonName: strings.Repeat("a", 300)}).Raw,
		"a name of 70 kB":       named(pkix.Name{CommonName: strings.Repeat("a", 70_000)}).Raw,
		"version 1, no version": withoutVersion(world.trusted.Raw),
	}
	for name, raw := range certificates {
		parsed, err := x509.ParseCertificate(raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := tlsdial.Subject(raw); !bytes.Equal(got, parsed.RawSubject) {
			t.Errorf("%s: got %x, want %x", name, got, parsed.RawSubject)
		}
		for end := range min(len(raw), 1000) {
			if got := tlsdial.Subject(raw[:end]); got != nil && !bytes.Equal(got, parsed.RawSubject) {
				t.Fatalf("%s up to byte %d: got %x, want %x or nothing", name, end, got, parsed.RawSubject)
			}
		}
	}
	for _, raw := range [][]byte{nil, {0x30}, {0x30, 0x80}, {0x30, 0x84, 1, 1, 1, 1}, {0x30, 0xff, 0x30, 0xff}} {
		if got := tlsdial.Subject(raw); got != nil {
			t.Errorf("%x: got %x", raw, got)
		}
	}
}

// BenchmarkCandidates measures what a connection adds for its candidates, with the roots
// of this machine.
func BenchmarkCandidates(b *testing.B) {
	b.Setenv("SSL_CERT_FILE", "")
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed below
	check(err)
	defer listener.Close() //nolint:errcheck // it ends with the test
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = tlsdial.Dialer{}.DialTLSContext(b.Context(), "tcp", listener.Addr().String())
	}
}
