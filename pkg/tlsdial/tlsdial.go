// Package tlsdial opens TLS connections to servers that the root certificates of the
// system verify. Its verdict on a server is that of crypto/tls. It is faster at the
// start of a process: crypto/tls first parses all roots, and on Amazon Linux each of
// them three times; this package parses those that the server's certificates name. It
// knows neither HTTP nor AWS.
package tlsdial

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"
)

// The timeouts of connections, as in net/http's default transport.
const (
	dialTimeout      = 30 * time.Second
	keepAlive        = 30 * time.Second
	handshakeTimeout = 10 * time.Second
)

// Dialer opens connections. The zero Dialer trusts the roots of the system.
type Dialer struct {
	// Config is the configuration of TLS. If it is nil or has no RootCAs, the roots
	// of the system verify the server.
	Config *tls.Config
}

// DialContext opens a connection without TLS.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}).DialContext(ctx, network, address)
}

// DialTLSContext opens a connection and completes the handshake. The server's
// certificate must be valid for the host in address.
func (d Dialer) DialTLSContext(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return d.Handshake(ctx, raw, address)
}

// Handshake completes the handshake over a connection to address. The server's
// certificate must be valid for the host in address. After an error the connection is
// closed.
func (d Dialer) Handshake(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	conn := tls.Client(raw, d.config(host))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return conn, nil
}

// config returns the configuration for a connection to host.
func (d Dialer) config(host string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.Config != nil {
		config = d.Config.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = host
	}
	if config.RootCAs != nil || fips140.Enabled() { // crypto/tls restricts FIPS chains further
		return config
	}
	name := config.ServerName
	candidates := readRoots()        // during the handshake
	config.InsecureSkipVerify = true // VerifyConnection verifies instead
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return verify(state.PeerCertificates, name, candidates)
	}
	return config
}

// verify verifies a chain for a name as crypto/tls does, with the roots of the system.
// It first tries the candidates that the chain names. They are roots of the system too,
// so a chain that they verify is one that all of them verify.
func verify(chain []*x509.Certificate, name string, candidates <-chan roots) error {
	if len(chain) == 0 || name == "" { // without a name, x509 verifies none
		return errors.New("the server has no certificate or no name")
	}
	options := x509.VerifyOptions{DNSName: name, Intermediates: x509.NewCertPool()}
	for _, intermediate := range chain[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	options.Roots = (<-candidates).of(chain)
	if _, err := chain[0].Verify(options); err == nil {
		return nil
	}
	options.Roots = nil // all roots of the system
	if _, err := chain[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: fmt.Errorf("verify the server %s: %w", name, err)}
	}
	return nil
}
