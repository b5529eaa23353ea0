package main

import (
	"crypto/x509"
	"net/url"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// rootsFor makes the roots of Mozilla those of the system if it has none, as in the
// container image. It must be called before a connection to address is opened. Parsing
// the roots takes longer than most commands, so a connection that needs none of them, to
// this machine without TLS, does not add them.
func (env environment) rootsFor(address string) {
	if parsed, err := url.Parse(address); err != nil || parsed.Scheme != "http" || !isLocal(address) {
		env.addRoots()
	}
}

// addRoots makes the roots of Mozilla the fallback roots of this process. It must be
// called once.
func addRoots() {
	roots := x509.NewCertPool()
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		switch {
		case err != nil: // a root that cannot be parsed verifies no server
		case root.Constraint == nil:
			roots.AddCert(certificate)
		default:
			roots.AddCertWithConstraint(certificate, root.Constraint)
		}
	}
	x509.SetFallbackRoots(roots)
}
