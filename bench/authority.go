package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// authority is a certificate authority with a root and an intermediate certificate.
type authority struct {
	root, intermediate *x509.Certificate
	key                crypto.Signer // of the intermediate certificate
	newKey             func() (crypto.Signer, error)
}

// newAuthority returns an authority whose keys newKey makes.
func newAuthority(name string, newKey func() (crypto.Signer, error)) (*authority, error) {
	rootKey, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{Country: []string{"US"}, Organization: []string{name}, CommonName: name + " Root CA 1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	root, err := sign(template, template, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template.Subject.CommonName = name + " M01"
	intermediate, err := sign(template, root, key.Public(), rootKey)
	return &authority{root: root, intermediate: intermediate, key: key, newKey: newKey}, err
}

// rsaKey returns a key as those of the certificates of AWS's endpoints.
func rsaKey() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// ecdsaKey returns a key as those of most certificates of other servers.
func ecdsaKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// issue returns a certificate for a server, with the intermediate certificate.
func (a *authority) issue(host string) (tls.Certificate, error) {
	key, err := a.newKey()
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.intermediate, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, a.intermediate.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// rootPEM returns the root certificate in PEM.
func (a *authority) rootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw})
}

// sign returns the certificate of a public key that the key of parent signs.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	copied := *template
	copied.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, &copied, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
