// Command receiver is an HTTPS endpoint of a webhook for tests. It prints its address,
// and the type of each event that it accepts. Its certificate is issued by a root of its
// own, which it writes to the file -roots. With -forged, the certificate names a root of
// Mozilla as its issuer, with whose key it is not signed: a client that has this root
// refuses it and names the root.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	address := flag.String("listen", "127.0.0.1:0", "the address to listen on")
	file := flag.String("roots", "", "the file to write the root to")
	forged := flag.Bool("forged", false, "name a root of Mozilla as the issuer")
	flag.Parse()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", *address)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	certificate, root, err := issue(net.ParseIP(host), *forged)
	if err != nil {
		return err
	}
	if *file != "" {
		if err := os.WriteFile(*file, root, 0o644); err != nil { //nolint:gosec // other users read it
			return err
		}
	}
	fmt.Printf("https://%s/\n", listener.Addr())
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			fmt.Println(r.Header.Get("Ce-Type"))
		}),
	}
	return server.ServeTLS(listener, "", "")
}

// issue returns a certificate for an address, and the root that issued it, in PEM.
func issue(address net.IP, forged bool) (tls.Certificate, []byte, error) {
	none := tls.Certificate{}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return none, nil, err
	}
	from, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Root of a test"}, NotBefore: from, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return none, nil, err
	}
	issuer, err := x509.ParseCertificate(der)
	if err != nil {
		return none, nil, err
	}
	if forged {
		if issuer, err = publicRoot(); err != nil {
			return none, nil, err
		}
		issuer.PublicKey = nil // it is not the key that signs
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "receiver"}, NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{address}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, leaf, issuer, key.Public(), key)
	if err != nil {
		return none, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// publicRoot returns the root of Let's Encrypt.
func publicRoot() (*x509.Certificate, error) {
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			return nil, err
		}
		if certificate.Subject.CommonName == "ISRG Root X1" {
			return certificate, nil
		}
	}
	return nil, errors.New("the bundle has no ISRG Root X1")
}
