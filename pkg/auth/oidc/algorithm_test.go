package oidc_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/fault"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// order is the order of the base point of edwards25519 (RFC 8032, section 5.1).
const order = "7237005577332262213973186563042994240857116359379907606001950938285454250989"

func hashOf(algorithm string) crypto.Hash {
	return map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[algorithm[len(algorithm)-3:]]
}

// raw returns the signature of a message in an algorithm of RFC 7518 or RFC 8037.
// It uses the standard library alone, and any hash with any curve.
func (s signer) raw(tb testing.TB, algorithm, message string) []byte {
	tb.Helper()
	var signature []byte
	var err error
	switch private := s.private.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(private, []byte(message))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, digest(hashOf(algorithm), message))
		if err != nil {
			tb.Fatal(err)
		}
		return pair(private, r, s)
	case *rsa.PrivateKey:
		hash := hashOf(algorithm)
		if strings.HasPrefix(algorithm, "RS") {
			signature, err = rsa.SignPKCS1v15(nil, private, hash, digest(hash, message))
		} else {
			signature, err = rsa.SignPSS(rand.Reader, private, hash, digest(hash, message), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

func digest(hash crypto.Hash, message string) []byte {
	h := hash.New()
	h.Write([]byte(message))
	return h.Sum(nil)
}

// pair returns r and s in the fixed length of RFC 7518, section 3.4, or in a
// greater one if they need it.
func pair(private *ecdsa.PrivateKey, r, s *big.Int) []byte {
	size := max((private.Curve.Params().BitSize+7)/8, (r.BitLen()+7)/8, (s.BitLen()+7)/8)
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

// signHeader returns a header with a token of good claims under the header's
// text. s must be an Ed25519 key.
func (s signer) signHeader(tb testing.TB, header string) string {
	tb.Helper()
	claims, err := json.Marshal(good())
	if err != nil {
		tb.Fatal(err)
	}
	signed := encode(header) + "." + encode(string(claims))
	return "Bearer " + signed + "." + encode(string(s.raw(tb, "EdDSA", signed)))
}

// algorithms returns the algorithms of docs/api.md, each with the go-jose name of its key.
func algorithms() map[string]jose.SignatureAlgorithm {
	return map[string]jose.SignatureAlgorithm{
		"RS256": jose.RS256, "RS384": jose.RS256, "RS512": jose.RS256,
		"PS256": jose.RS256, "PS384": jose.RS256, "PS512": jose.RS256,
		"ES256": jose.ES256, "ES384": jose.ES384, "ES512": jose.ES512,
		"EdDSA": jose.EdDSA, "Ed25519": jose.EdDSA,
	}
}

// TestAlgorithmConfusion signs with each algorithm and names each in the header
// and in the key: they must be the same, and the key of that kind.
func TestAlgorithmConfusion(t *testing.T) {
	t.Parallel()
	keys := map[jose.SignatureAlgorithm]signer{}
	for _, kind := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		keys[kind] = newSigner(t, "k", kind)
	}
	claims, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	other := newSigner(t, "other", jose.ES256)
	names := append(slices.Sorted(maps.Keys(algorithms())), "none", "None", "", "HS256", "HS384", "HS512", "rs256", "ES256K", "ES521", "Ed448", "PS1", "RS1")
	for kind, s := range keys {
		verifiers := map[string]*oidc.Verifier{}
		for _, pinned := range append(names, "absent") {
			public := s.public()
			if pinned != "absent" {
				public.Algorithm = pinned // go-jose leaves "" out
			}
			verifiers[pinned] = oidc.New(config(), oidc.Static(keySet(t, public, other.public())), at(start))
		}
		for _, named := range names {
			for actual, of := range algorithms() {
				// A curve signs any hash.
				if _, curve := s.private.(*ecdsa.PrivateKey); of != kind && (!curve || !strings.HasPrefix(actual, "ES")) {
					continue
				}
				signed := encode(fmt.Sprintf(`{"alg":%q,"kid":"k"}`, named)) + "." + encode(string(claims))
				header := "Bearer " + signed + "." + encode(string(s.raw(t, actual, signed)))
				same := named == actual || kind == jose.EdDSA && algorithms()[named] == kind
				for pinned, v := range verifiers {
					_, err := v.Caller(t.Context(), header)
					want := same && algorithms()[named] == kind && (pinned == "absent" || pinned == "" || pinned == named)
					if (err == nil) != want {
						t.Errorf("a key of %s for %q, signed in %s as %q: got %v, want success: %t", kind, pinned, actual, named, err, want)
					}
				}
			}
		}
	}
}

// TestSaltLengths makes a signature of each length of salt that fits the key:
// only that of the hash is accepted (RFC 7518, section 3.5).
func TestSaltLengths(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.PS256)
	private := s.private.(*rsa.PrivateKey)
	set := keySet(t, s.public())
	for _, algorithm := range []string{"PS256", "PS384", "PS512"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			hash := hashOf(algorithm)
			sum := digest(hash, "message")
			longest := private.Size() - hash.Size() - 2 // RFC 8017, section 9.1.1
			for length := range longest + 1 {
				options := &rsa.PSSOptions{SaltLength: length}
				if length == 0 {
					options.SaltLength = rsa.PSSSaltLengthAuto // crypto/rsa takes 0 for the longest
				}
				signature, err := rsa.SignPSS(rand.Reader, private, hash, sum, options)
				if err != nil {
					t.Fatal(err)
				}
				err = oidc.VerifySignature(set, algorithm, "message", signature)
				if want := length == hash.Size(); (err == nil) != want {
					t.Errorf("a salt of %d bytes: got %v, want success: %t", length, err, want)
				}
			}
			// crypto/rsa makes no empty salt, so this one is made by hand.
			if oidc.VerifySignature(set, algorithm, "message", pss(private, hash, hash, sum, nil)) == nil {
				t.Error("an empty salt is accepted")
			}
			salt := make([]byte, hash.Size())
			if err := oidc.VerifySignature(set, algorithm, "message", pss(private, hash, hash, sum, salt)); err != nil {
				t.Errorf("a signature made by hand: %v", err)
			}
			for _, mask := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				if mask != hash && oidc.VerifySignature(set, algorithm, "message", pss(private, hash, mask, sum, salt)) == nil {
					t.Errorf("a mask made with %v is accepted", mask)
				}
			}
		})
	}
}

// pss returns an RSASSA-PSS signature (RFC 8017, sections 8.1.1 and 9.1.1) whose
// mask generation may have another hash. The modulus has a multiple of 8 bits.
func pss(private *rsa.PrivateKey, hash, mask crypto.Hash, sum, salt []byte) []byte {
	h := digest(hash, string(slices.Concat(make([]byte, 8), sum, salt)))
	db := make([]byte, private.Size()-len(h)-1)
	db[len(db)-len(salt)-1] = 1
	copy(db[len(db)-len(salt):], salt)
	var stream []byte
	for counter := byte(0); len(stream) < len(db); counter++ {
		stream = append(stream, digest(mask, string(append(bytes.Clone(h), 0, 0, 0, counter)))...)
	}
	for i := range db {
		db[i] ^= stream[i]
	}
	db[0] &= 0x7f
	return exponentiate(private, slices.Concat(db, h, []byte{0xbc}))
}

// exponentiate is RSASP1 (RFC 8017, section 5.2.1).
func exponentiate(private *rsa.PrivateKey, message []byte) []byte {
	m := new(big.Int).SetBytes(message)
	return m.Exp(m, private.D, private.N).FillBytes(make([]byte, private.Size()))
}

// TestAlteredTokens alters a token of each algorithm in each of its parts.
func TestAlteredTokens(t *testing.T) {
	t.Parallel()
	claims, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, kind := range algorithms() {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			s := newSigner(t, "k", kind)
			v := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start))
			h, p := encode(fmt.Sprintf(`{"alg":%q,"kid":"k"}`, algorithm)), encode(string(claims))
			signature := s.raw(t, algorithm, h+"."+p)
			g := encode(string(signature))
			if _, err := v.Caller(t.Context(), "Bearer "+h+"."+p+"."+g); err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{
				"no header": "." + p + "." + g, "no header or separator": p + "." + g,
				"no payload": h + ".." + g, "no payload or separator": h + "." + g,
				"no signature": h + "." + p + ".", "no signature or separator": h + "." + p,
				"the signature alone": g, "separators alone": "..", "the header alone": h,
				"an empty part more": h + "." + p + "." + g + ".", "an empty part first": "." + h + "." + p + "." + g,
				"a part more": h + "." + p + "." + g + "." + g, "parts exchanged": p + "." + h + "." + g,
				"the JSON serialization": fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, p, g),
				"another header":         encode(fmt.Sprintf(`{"alg":%q,"kid":"k","a":1}`, algorithm)) + "." + p + "." + g,
				"another payload":        h + "." + encode(strings.Replace(string(claims), "acme", "evil", 1)) + "." + g,
				"none":                   encode(`{"alg":"none","kid":"k"}`) + "." + p + ".",
				"none, signed":           encode(`{"alg":"none","kid":"k"}`) + "." + p + "." + g,
			}
			for part, i := range map[string]int{"header": 0, "payload": 1, "signature": 2} {
				put := func(name, text string) {
					all := []string{h, p, g}
					all[i] = text
					parts[name+" in the "+part] = strings.Join(all, ".")
				}
				text := []string{h, p, g}[i]
				put("padding", text+"=")
				put("much padding", text+strings.Repeat("=", 4-len(text)%4))
				for _, c := range []string{" ", "\n", "\r\n", "\t", "!", "\x00", "é", "+", "/", "~"} {
					put(fmt.Sprintf("%q first", c), c+text)
					put(fmt.Sprintf("%q inside", c), text[:5]+c+text[5:])
					put(fmt.Sprintf("%q last", c), text+c)
				}
				put("a character more", text+"A")
				put("four characters more", text+"AAAA")
				put("a character less", text[1:])
				if spare := len(text) % 4; spare > 1 { // 2 characters have 4 spare bits, 3 have 2
					const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
					last := strings.IndexByte(alphabet, text[len(text)-1])
					put("a spare bit", text[:len(text)-1]+alphabet[last^1:last^1+1])
				}
			}
			for name, text := range parts {
				// Spaces around a header's value are no part of it.
				if text = strings.Trim(text, " \t\r\n"); text == h+"."+p+"."+g {
					continue
				}
				if _, err := v.Caller(t.Context(), "Bearer "+text); !fault.Is(err, fault.Unauthenticated) {
					t.Errorf("%s: got %v, want a fault of the token", name, err)
				}
			}
			for name, altered := range alterations(t, s, algorithm, h+"."+p, signature) {
				_, err := v.Caller(t.Context(), "Bearer "+h+"."+p+"."+encode(string(altered)))
				wantFault(t, err, fault.Unauthenticated, "invalid_token", "signature does not match")
				if err == nil {
					t.Errorf("%s is accepted", name)
				}
			}
		})
	}
}

// alterations returns signatures of a message that must not be verified, by what
// is wrong with them.
func alterations(t *testing.T, s signer, algorithm, message string, signature []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{
		"a zero first": append([]byte{0}, signature...), "a zero last": append(bytes.Clone(signature), 0),
		"the first byte cut": signature[1:], "the last byte cut": signature[:len(signature)-1],
		"half": signature[:len(signature)/2], "twice": append(bytes.Clone(signature), signature...),
		"one byte": {1}, "zeros": make([]byte, len(signature)), "ones": bytes.Repeat([]byte{0xff}, len(signature)),
		"another message's": s.raw(t, algorithm, message+"x"),
		"another key's":     newSigner(t, "k", algorithms()[algorithm]).raw(t, algorithm, message),
	}
	for i := range signature {
		flipped := bytes.Clone(signature)
		flipped[i] ^= 1 << (i % 8)
		all[fmt.Sprintf("a bit of byte %d", i)] = flipped
	}
	switch private := s.private.(type) {
	case *rsa.PrivateKey:
		sum := new(big.Int).Add(new(big.Int).SetBytes(signature), private.N) // the same number modulo N
		all["the modulus added"] = sum.Bytes()
		if strings.HasPrefix(algorithm, "RS") {
			maps.Copy(all, paddings(t, private, hashOf(algorithm), message))
		} else {
			all["the last byte of the encoding"] = exponentiate(private, append(make([]byte, private.Size()-1), 0xbd))
		}
	case *ecdsa.PrivateKey:
		maps.Copy(all, points(t, private, signature))
	case ed25519.PrivateKey:
		l, _ := new(big.Int).SetString(order, 10)
		scalar := bytes.Clone(signature[32:])
		slices.Reverse(scalar)
		for factor := int64(1); factor < 16; factor++ { // S is below the order (RFC 8032, section 5.1.7)
			greater := new(big.Int).Mul(l, big.NewInt(factor))
			if greater.Add(greater, new(big.Int).SetBytes(scalar)).BitLen() > 256 {
				break
			}
			little := greater.FillBytes(make([]byte, 32))
			slices.Reverse(little)
			all[fmt.Sprintf("%d orders added", factor)] = append(bytes.Clone(signature[:32]), little...)
		}
		neutral := append([]byte{1}, make([]byte, 31)...)
		all["R is the neutral element"] = append(bytes.Clone(neutral), signature[32:]...)
		all["R is the neutral element, S is 0"] = append(neutral, make([]byte, 32)...)
		all["the halves exchanged"] = append(bytes.Clone(signature[32:]), signature[:32]...)
	}
	return all
}

// points returns ECDSA signatures with r and s at the edges of their range, and
// the same signature in other forms.
func points(t *testing.T, private *ecdsa.PrivateKey, signature []byte) map[string][]byte {
	t.Helper()
	n := private.Curve.Params().N
	half := len(signature) / 2
	r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
	der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{
		"ASN.1":                der,
		"r and s exchanged":    pair(private, s, r),
		"the order added to r": pair(private, new(big.Int).Add(r, n), s),
		"the order added to s": pair(private, r, new(big.Int).Add(s, n)),
		"a zero before each":   slices.Concat([]byte{0}, signature[:half], []byte{0}, signature[half:]),
		"leading zeros cut":    slices.Concat(signature[1:half], signature[half+1:]),
	}
	edges := map[string]*big.Int{
		"0": new(big.Int), "1": big.NewInt(1), "n-1": new(big.Int).Sub(n, big.NewInt(1)), "n": n, "n+1": new(big.Int).Add(n, big.NewInt(1)),
		"p": private.Curve.Params().P, "the greatest": new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(8*half)), big.NewInt(1)),
	}
	for a, first := range edges {
		all["r "+a] = pair(private, first, s)
		all["s "+a] = pair(private, r, first)
		for b, second := range edges {
			all["r "+a+", s "+b] = pair(private, first, second)
		}
	}
	return all
}

// paddings returns RSASSA-PKCS1-v1_5 signatures whose encoding (RFC 8017, section
// 9.2) has one thing wrong.
func paddings(t *testing.T, private *rsa.PrivateKey, hash crypto.Hash, message string) map[string][]byte {
	t.Helper()
	sum := digest(hash, message)
	number := map[crypto.Hash]byte{crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}[hash]
	oid := []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, number}
	sequence := func(tag byte, parts ...[]byte) []byte {
		body := slices.Concat(parts...)
		return append([]byte{tag, byte(len(body))}, body...)
	}
	null := []byte{5, 0}
	info := func(null []byte) []byte {
		return sequence(0x30, sequence(0x30, sequence(6, oid), null), sequence(4, sum))
	}
	// padded has the padding before the text and fill ones less than there is
	// room for, with the rest after the text.
	padded := func(first, second, fill byte, text, after []byte) []byte {
		room := private.Size() - 3 - len(text) - len(after)
		return exponentiate(private, slices.Concat([]byte{first, second}, bytes.Repeat([]byte{fill}, room), []byte{0}, text, after))
	}
	good := info(null)
	if err := rsa.VerifyPKCS1v15(&private.PublicKey, hash, sum, padded(0, 1, 0xff, good, nil)); err != nil {
		t.Fatalf("the signature to be altered: %v", err)
	}
	long := slices.Concat([]byte{0x30, 0x81}, good[1:])
	other := bytes.Clone(oid)
	other[len(other)-1] ^= 4
	changed := func(oid []byte) []byte {
		return sequence(0x30, sequence(0x30, sequence(6, oid), null), sequence(4, sum))
	}
	return map[string][]byte{
		"block type 0":               padded(0, 0, 0xff, good, nil),
		"block type 2":               padded(0, 2, 0xff, good, nil),
		"a filling of zeros":         padded(0, 1, 0, good, nil),
		"a filling of random bytes":  padded(0, 1, 0x5a, good, nil),
		"a leading byte":             padded(1, 1, 0xff, good, nil),
		"text after the hash":        padded(0, 1, 0xff, good, bytes.Repeat([]byte{0}, 100)),
		"one byte after the hash":    padded(0, 1, 0xff, good, []byte{0}),
		"the hash alone":             padded(0, 1, 0xff, sum, nil),
		"no parameters":              padded(0, 1, 0xff, info(nil), nil),
		"parameters of another type": padded(0, 1, 0xff, info([]byte{4, 0}), nil),
		"parameters twice":           padded(0, 1, 0xff, info([]byte{5, 0, 5, 0}), nil),
		"a length in long form":      padded(0, 1, 0xff, long, nil),
		"an indefinite length":       padded(0, 1, 0xff, slices.Concat([]byte{0x30, 0x80}, good[2:], []byte{0, 0}), nil),
		"another hash's name":        padded(0, 1, 0xff, changed(other), nil),
		"a longer name":              padded(0, 1, 0xff, changed(append(bytes.Clone(oid), 0)), nil),
		"a shorter name":             padded(0, 1, 0xff, changed(oid[:len(oid)-1]), nil),
		"a shorter hash":             padded(0, 1, 0xff, sequence(0x30, sequence(0x30, sequence(6, oid), null), sequence(4, sum[1:])), nil),
		"no padding":                 exponentiate(private, good),
	}
}
