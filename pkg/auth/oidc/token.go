package oidc

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/jsonpool"
)

// token is a parsed and not yet verified JWT in compact serialization (RFC 7515,
// section 7.1).
type token struct {
	signed    string // the signing input: header and payload
	signature []byte
	payload   []byte
	header
}

// header holds the header parameters that are evaluated.
type header struct {
	algorithm string // alg
	keyID     string // kid
	named     bool   // kid is present; "" is a valid key ID
	critical  bool   // crit is present
	foreign   bool   // typ is neither that of an access token nor that of any JWT
	unencoded bool   // b64 is present and not true
}

// decode decodes base64url strictly, so that a value has one spelling. The decoder
// of the standard library ignores line breaks, which are refused here.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("a line break in base64url")
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// parse parses a token. It does not use the parser of the JWT library, which
// decodes the header into a map, so that the last of two duplicate members counts,
// and ignores crit. The library verifies the signature only.
func (v *Verifier) parse(text string) (token, error) {
	malformed := func() (token, error) { return token{}, invalid("the token is not a signed JWT") }
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found {
		return malformed()
	}
	t := token{signed: text[:len(text)-len(signature)-1]}
	raw, err := decode(header)
	if err != nil {
		return malformed()
	}
	if t.payload, err = decode(payload); err != nil {
		return malformed()
	}
	if t.signature, err = decode(signature); err != nil {
		return malformed()
	}
	if !v.readHeader(raw, &t.header) {
		return malformed()
	}
	switch {
	case t.critical: // section 4.1.11: a token with an extension that is not supported is invalid
		return token{}, invalid("the token's header has crit, and no extension is supported")
	case t.unencoded: // RFC 7797, section 7: not allowed in a JWT
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

// readHeader parses the header of a token. ok is false if it is not an object, has
// a duplicate member, or a parameter of another type than in RFC 7515.
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

// isAccessToken reports whether typ is that of an access token (RFC 9068, section
// 2.1) or of any JWT (RFC 7519, section 5.1). JWTs for other purposes, such as
// logout tokens, have types of their own (RFC 8725, section 3.11). A typ is a media
// type, compared case-insensitively; application/ may be left out (RFC 7515, section
// 4.1.9).
func isAccessToken(typ string) bool {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "at+jwt")
}
