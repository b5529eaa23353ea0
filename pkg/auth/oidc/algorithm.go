package oidc

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha512" // the hashes of the algorithms that end in 384 and 512

	"github.com/golang-jwt/jwt/v5"
)

// accepted reports whether a token may be signed with an algorithm: the
// asymmetric ones of RFC 7518, section 3.1, and Ed25519 by both of its names
// (RFC 8037, RFC 9864). It never accepts none, nor HS*, for which a public key
// could be used as the secret.
func accepted(name string) bool {
	switch name {
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519":
		return true
	}
	return false
}

// methods returns the algorithms that a public key can verify, by name. The key
// decides, not the token: each curve has one hash (RFC 7518, section 3.4).
func methods(public any) map[string]jwt.SigningMethod {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return map[string]jwt.SigningMethod{
			"RS256": jwt.SigningMethodRS256, "PS256": pss(jwt.SigningMethodPS256),
			"RS384": jwt.SigningMethodRS384, "PS384": pss(jwt.SigningMethodPS384),
			"RS512": jwt.SigningMethodRS512, "PS512": pss(jwt.SigningMethodPS512),
		}
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return map[string]jwt.SigningMethod{"ES256": jwt.SigningMethodES256}
		case elliptic.P384():
			return map[string]jwt.SigningMethod{"ES384": jwt.SigningMethodES384}
		case elliptic.P521():
			return map[string]jwt.SigningMethod{"ES512": jwt.SigningMethodES512}
		}
	case ed25519.PublicKey:
		return map[string]jwt.SigningMethod{"EdDSA": jwt.SigningMethodEdDSA, "Ed25519": jwt.SigningMethodEdDSA}
	}
	return nil
}

// pss returns m for salts as long as the hash (RFC 7518, section 3.5). The
// library's own methods verify a salt of any length.
func pss(m *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{
		SigningMethodRSA: m.SigningMethodRSA,
		Options:          &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: m.Hash},
	}
}
