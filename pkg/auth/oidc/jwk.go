package oidc

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"maps"
	"math"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// The bounds of an RSA key.
const (
	minRSA      = 2048          // bits (RFC 7518, section 3.3)
	maxRSA      = 8192          // bits, as in crypto/tls: it bounds the time of a verification
	minExponent = 3             // RFC 8017, section 3.1
	maxExponent = math.MaxInt32 // as in crypto/rsa
)

// jwk is a JSON Web Key (RFC 7517) as far as it verifies tokens: the public
// parameters of RFC 7518, section 6, and RFC 8037, section 2.
type jwk struct {
	text       map[string]string // the members that are strings
	operations []string          // key_ops, nil if absent
	private    bool              // the key has a private parameter
}

// parseKeys reads a key set. It skips keys of other kinds (RFC 7517, section 5)
// and keys that are weak or malformed, so that one of them does not disable the
// others. It returns an error if no key is left, or if the set itself is
// malformed: two members of one name included (same section).
func parseKeys(text []byte) ([]key, error) {
	// The decoder of the set accepts duplicates, which may stand inside a key;
	// readKey refuses them there.
	lenient := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	var keys []key
	names := map[string]bool{}
	ok := readMembers(jsontext.NewDecoder(bytes.NewBuffer(text), lenient...), func(name string, list jsontext.Value) bool {
		if names[name] {
			return false
		}
		names[name] = true
		return name != "keys" || readElements(list, func(raw jsontext.Value) bool {
			if k, ok := readKey(raw); ok && k.verifies() {
				if usable := k.key(); len(usable.methods) > 0 {
					keys = append(keys, usable)
				}
			}
			return true
		}, lenient...)
	})
	switch {
	case !ok || !names["keys"]:
		return nil, errors.New("the issuer's key set is not a JSON object with one member keys, which is an array")
	case len(keys) == 0:
		return nil, errors.New("the issuer's key set has no key that can verify a token")
	}
	return keys, nil
}

// readKey reads a key. ok is false if it is not an object, has two members of
// one name (RFC 7517, section 4), or one that is of another type than it must be.
func readKey(text jsontext.Value) (k jwk, ok bool) {
	k.text = map[string]string{}
	ok = readMembers(jsontext.NewDecoder(bytes.NewBuffer(text)), func(name string, value jsontext.Value) (ok bool) {
		switch ok = true; name {
		case "kty", "kid", "use", "alg", "crv", "x", "y", "n", "e":
			k.text[name], ok = textOf(value)
		case "key_ops":
			k.operations = []string{}
			ok = readElements(value, func(item jsontext.Value) bool {
				operation, ok := textOf(item)
				again := slices.Contains(k.operations, operation) // which section 4.3 forbids
				k.operations = append(k.operations, operation)
				return ok && !again
			})
		case "d", "p", "q", "dp", "dq", "qi", "oth":
			k.private = true
		}
		return ok
	})
	return k, ok
}

// verifies reports whether k is meant for signatures. A private key in a key set
// is compromised: every reader of the set can sign with it.
func (k jwk) verifies() bool {
	if use, given := k.text["use"]; given && use != "sig" || k.private {
		return false
	}
	return k.operations == nil || slices.Contains(k.operations, "verify")
}

// key returns k with the algorithms that it may be used with: none if it is
// malformed, weak or of another kind.
func (k jwk) key() key {
	public := k.public()
	usable := methods(public)
	if only, given := k.text["alg"]; given {
		maps.DeleteFunc(usable, func(name string, _ jwt.SigningMethod) bool { return name != only })
	}
	id, named := k.text["kid"]
	return key{id: id, named: named, methods: usable, public: public}
}

// public returns the public key in k, nil if it is malformed, weak or of another
// kind.
func (k jwk) public() any {
	switch kty, curve := k.text["kty"], k.text["crv"]; {
	case kty == "RSA":
		return k.rsa()
	case kty == "EC" && curve == "P-256":
		return k.ecdsa(elliptic.P256())
	case kty == "EC" && curve == "P-384":
		return k.ecdsa(elliptic.P384())
	case kty == "EC" && curve == "P-521":
		return k.ecdsa(elliptic.P521())
	case kty == "OKP" && curve == "Ed25519":
		if x, err := decode(k.text["x"]); err == nil && strongEd25519(x) {
			return ed25519.PublicKey(x)
		}
	}
	return nil
}

func (k jwk) rsa() any {
	modulus, err := decode(k.text["n"])
	if err != nil {
		return nil
	}
	exponent, err := decode(k.text["e"])
	if err != nil {
		return nil
	}
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if n.BitLen() < minRSA || n.BitLen() > maxRSA || n.Bit(0) == 0 { // no product of two odd primes is even
		return nil
	}
	if !e.IsInt64() || e.Int64() < minExponent || e.Int64() > maxExponent || e.Bit(0) == 0 {
		return nil
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

func (k jwk) ecdsa(curve elliptic.Curve) any {
	x, err := decode(k.text["x"])
	if err != nil {
		return nil
	}
	y, err := decode(k.text["y"])
	if err != nil {
		return nil
	}
	size := (curve.Params().BitSize + 7) / 8 // bytes of a coordinate; no leading zero is left out (section 6.2.1.2)
	if len(x) != size || len(y) != size {
		return nil
	}
	const uncompressed = 4 // SEC 1, section 2.3.3
	public, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{uncompressed}, x, y))
	if err != nil { // it is not on the curve
		return nil
	}
	return public
}

// strongEd25519 reports whether text is a point of the curve (RFC 8032, section
// 5.1.3) that is not of small order. A signature for a key of small order can be
// made without the private key, and package ed25519 verifies it.
func strongEd25519(text []byte) bool {
	if len(text) != ed25519.PublicKeySize {
		return false
	}
	// The curve is -x² + y² = 1 + dx²y² modulo p (section 5.1).
	one := big.NewInt(1)
	p := new(big.Int).Lsh(one, 255)
	p.Sub(p, big.NewInt(19))
	d := new(big.Int).ModInverse(big.NewInt(121666), p)
	d.Mul(d, big.NewInt(-121665)).Mod(d, p)

	little := slices.Clone(text)
	little[len(little)-1] &^= 1 << 7 // the sign of x
	slices.Reverse(little)
	y := new(big.Int).SetBytes(little)
	if y.Cmp(p) >= 0 { // not canonical
		return false
	}
	y2 := new(big.Int).Mul(y, y)
	y2.Mod(y2, p)
	u := new(big.Int).Sub(y2, one) // x² = u/v
	v := new(big.Int).Mul(d, y2)
	v.Add(v, one)

	// The order is 1 or 2 where y² = 1, 4 where y = 0. It is 8 where the double
	// has y = 0, which is where x² = -y², or y²v + u = 0.
	eighth := new(big.Int).Mul(y2, v)
	eighth.Add(eighth, u).Mod(eighth, p)
	if u.Sign() == 0 || y.Sign() == 0 || eighth.Sign() == 0 {
		return false
	}
	square := u.Mul(u, v) // u/v is a square if uv is one
	return big.Jacobi(square.Mod(square, p), p) == 1
}
