package bearer

import (
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// method is the algorithm of a name in a token's header (RFC 7518, section
// 3.1; RFC 8037), if it is accepted: the asymmetric ones that every issuer has.
// Never none, and never HS*, which a public key would satisfy as the secret.
func method(name string) jwt.SigningMethod {
	switch name {
	case "RS256":
		return jwt.SigningMethodRS256
	case "PS256":
		return jwt.SigningMethodPS256
	case "ES256":
		return jwt.SigningMethodES256
	case "EdDSA":
		return jwt.SigningMethodEdDSA
	}
	return nil
}

// token is a JWT in its compact form (RFC 7515, section 7.1), of which nothing
// is known to be true yet.
type token struct {
	signed    string // header and payload, as the issuer signed them
	signature []byte
	payload   []byte
	algorithm string // alg
	keyID     string // kid
}

// decode reads base64url, strictly, so that a signature has one spelling.
func decode(text string) ([]byte, error) {
	return base64.RawURLEncoding.Strict().DecodeString(text)
}

// parse takes a token apart. The parts are read by us and the signature is
// verified by the library: its own parser makes a map of the header first,
// which keeps the last of two equal members and passes over crit.
func (v *Verifier) parse(text string) (token, error) {
	noToken := func() (token, error) { return token{}, invalid("the token is not a signed JWT") }
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found || strings.ContainsAny(text, "\r\n") { // which base64 passes over
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
	critical, ok := v.readHeader(raw, &t)
	switch {
	case !ok:
		return noToken()
	case critical: // section 4.1.11: what must be understood, and is not
		return token{}, invalid("the token's header has crit, and no extension is understood")
	case method(t.algorithm) == nil:
		return token{}, invalid("the token must be signed with RS256, PS256, ES256 or EdDSA")
	}
	return t, nil
}

// verify returns nil if k signed t.
func (t token) verify(k key) error {
	return method(t.algorithm).Verify(t.signed, t.signature, k.public)
}

// readHeader reads the header of a token into t. ok is false if it is not an
// object, says something twice, or has a parameter of another type than RFC
// 7515 gives it.
func (v *Verifier) readHeader(text []byte, t *token) (critical, ok bool) {
	dec := v.pool.Lend(text)
	defer v.pool.Return(dec)
	ok = readMembers(&dec.Decoder, func(name string, value jsontext.Value) (ok bool) {
		switch ok = true; name {
		case "alg":
			t.algorithm, ok = textOf(value)
		case "kid":
			t.keyID, ok = textOf(value)
		case "crit":
			critical = true
		}
		return ok
	})
	return critical, ok
}
