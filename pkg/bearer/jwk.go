package bearer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
)

// minRSA is the length of the shortest RSA key, in bits (RFC 7518, section
// 3.3).
const minRSA = 2048

// jwk is a JSON Web Key (RFC 7517) as far as it verifies tokens: the public
// parameters of RFC 7518, section 6, and RFC 8037, section 2.
type jwk struct {
	KeyType    string   `json:"kty"`
	ID         string   `json:"kid"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	Curve      string   `json:"crv"`
	X          string   `json:"x"`
	Y          string   `json:"y"`
	Modulus    string   `json:"n"`
	Exponent   string   `json:"e"`
}

// parseKeys reads a key set. Keys that we have no use for are passed over, as
// RFC 7517, section 5, has it; a set without any other is an error.
func parseKeys(text []byte) ([]key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("read the issuer's key set: %w", err)
	}
	var keys []key
	for _, raw := range set.Keys {
		var k jwk
		if json.Unmarshal(raw, &k) != nil || !k.verifies() {
			continue
		}
		if public := k.public(); public != nil {
			keys = append(keys, key{k.ID, k.Algorithm, public})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the issuer's key set has no key that can verify a token")
	}
	return keys, nil
}

// verifies reports whether k is meant for signatures.
func (k jwk) verifies() bool {
	return (k.Use == "" || k.Use == "sig") && (k.Operations == nil || slices.Contains(k.Operations, "verify"))
}

// public is the key in k, nil where there is none that fits an algorithm of
// ours.
func (k jwk) public() any {
	switch {
	case k.KeyType == "RSA":
		return k.rsa()
	case k.KeyType == "EC" && k.Curve == "P-256":
		return k.ecdsa()
	case k.KeyType == "OKP" && k.Curve == "Ed25519":
		if x, err := decode(k.X); err == nil && len(x) == ed25519.PublicKeySize {
			return ed25519.PublicKey(x)
		}
	}
	return nil
}

func (k jwk) rsa() any {
	modulus, err := decode(k.Modulus)
	if err != nil {
		return nil
	}
	exponent, err := decode(k.Exponent)
	if err != nil {
		return nil
	}
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	if n.BitLen() < minRSA || !e.IsInt64() || e.Int64() < 2 || e.Int64() > math.MaxInt32 {
		return nil // package rsa has the same bounds of an exponent
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}
}

func (k jwk) ecdsa() any {
	x, err := decode(k.X)
	if err != nil {
		return nil
	}
	y, err := decode(k.Y)
	if err != nil {
		return nil
	}
	const size = 32 // bytes of a coordinate; no leading zero is left out (section 6.2.1.2)
	if len(x) != size || len(y) != size {
		return nil
	}
	const uncompressed = 4 // SEC 1, section 2.3.3
	point := slices.Concat([]byte{uncompressed}, x, y)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil { // it is not on the curve
		return nil
	}
	return public
}
