package oidc

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/jsonpool"
)

// token is a JWT in its compact form (RFC 7515, section 7.1), of which nothing
// is known to be true yet.
type token struct {
	signed    string // header and payload, as the issuer signed them
	signature []byte
	payload   []byte
	header
}

// header holds the header parameters that are evaluated.
type header struct {
	algorithm string // alg
	keyID     string // kid
	named     bool   // kid is there; "" is a key ID like any other
	critical  bool   // crit is there
	foreign   bool   // typ names something other than an access token
	unencoded bool   // b64 is there and not true
}

// decode reads base64url strictly: a value has one spelling. The library alone
// would ignore line breaks.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("a line break in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// parse takes a token apart. The parts are read by us and the signature is
// verified by the library: its own parser makes a map of the header first,
// which keeps the last of two equal members and passes over crit.
func (v *Verifier) parse(text string) (token, error) {
	noToken := func() (token, error) { return token{}, invalid("the token is not a signed JWT") }
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found {
		return noToken()
	}
	t := token{signed: text[:len(text)-len(signature)-1]}
	raw, err := decode(header)
	if err != nil {
		return noToken()
	}
	if t.payload, err = decode(payload); err != nil {
		return noToken()
	}
	if t.signature, err = decode(signature); err != nil {
		return noToken()
	}
	if !v.readHeader(raw, &t.header) {
		return noToken()
	}
	switch {
	case t.critical: // section 4.1.11: what must be understood, and is not
		return token{}, invalid("the token's header has crit, and no extension is understood")
	case t.unencoded: // RFC 7797, section 7: never in a JWT
		return token{}, invalid("the token's header has b64, and a JWT is always base64url")
	case t.foreign:
		return token{}, invalid("the token's typ must be JWT or at+jwt, or absent")
	case !accepted(t.algorithm):
		return token{}, invalid("the token must be signed with RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA or Ed25519")
	}
	return t, nil
}

// verify reports whether k signed t. k.methods must hold the algorithm of t.
func (t *token) verify(k key) bool {
	return k.methods[t.algorithm].Verify(t.signed, t.signature, k.public) == nil
}

// readHeader reads the header of a token. It reports false if it is not an
// object, says something twice, or has a parameter of another type than RFC
// 7515 gives it.
func (v *Verifier) readHeader(text []byte, h *header) (ok bool) {
	dec := v.pool.Get(text)
	defer v.pool.Put(dec)
	return readMembers(&dec.Decoder, func(name string, value jsontext.Value) (ok bool) {
		switch ok = true; name {
		case "alg":
			h.algorithm, ok = textOf(value)
		case "kid":
			h.keyID, ok = textOf(value)
			h.named = true
		case "typ":
			ok = value.Kind() == jsontext.KindString
			h.foreign = ok && !isAccessToken(string(jsonpool.Unquote(value)))
		case "crit":
			h.critical = true
		case "b64":
			h.unencoded = value.Kind() != jsontext.KindTrue
		}
		return ok
	})
}

// isAccessToken reports whether a typ is that of an access token (RFC 9068,
// section 2.1) or of any JWT (RFC 7519, section 5.1). JWTs for other purposes,
// such as logout tokens, have their own (RFC 8725, section 3.11). A typ is a
// media type, compared without regard to case; application/ may be left out (RFC
// 7515, section 4.1.9).
func isAccessToken(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")
}
