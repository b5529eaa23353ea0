package oidc_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/fault"
)

// TestInvalidKeys checks that a key which violates RFC 7517 or RFC 7518 in one point
// verifies nothing, and does not affect the other keys of its set.
func TestInvalidKeys(t *testing.T) {
	t.Parallel()
	rsa, curve := newSigner(t, "r", jose.RS256), newSigner(t, "e", jose.ES256)
	edwards, other := newSigner(t, "o", jose.EdDSA), newSigner(t, "other", jose.ES256)
	cut := func(text string) string {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw[1:])
	}
	for name, test := range map[string]struct {
		s    signer
		edit func(k map[string]any)
		kept bool
	}{
		"RSA":                            {rsa, func(map[string]any) {}, true},
		"EC":                             {curve, func(map[string]any) {}, true},
		"OKP":                            {edwards, func(map[string]any) {}, true},
		"unknown members":                {curve, func(k map[string]any) { k["x5t"] = "a"; k["exp"] = 1 }, true},
		"no use":                         {curve, func(k map[string]any) { delete(k, "use") }, true},
		"operations":                     {curve, func(k map[string]any) { k["key_ops"] = []string{"verify"} }, true},
		"other operations":               {curve, func(k map[string]any) { k["key_ops"] = []string{"encrypt"} }, false},
		"one of many operations":         {curve, func(k map[string]any) { k["key_ops"] = []string{"sign", "verify"} }, true},
		"an operation twice":             {curve, func(k map[string]any) { k["key_ops"] = []string{"verify", "verify"} }, false},
		"operations that are a string":   {curve, func(k map[string]any) { k["key_ops"] = "verify" }, false},
		"operations that are null":       {curve, func(k map[string]any) { k["key_ops"] = nil }, false},
		"operations of other types":      {curve, func(k map[string]any) { k["key_ops"] = []any{"verify", 5} }, false},
		"operations, not the use":        {curve, func(k map[string]any) { k["key_ops"] = []string{"verify"}; k["use"] = "enc" }, false},
		"the use in capitals":            {curve, func(k map[string]any) { k["use"] = "SIG" }, false},
		"an empty use":                   {curve, func(k map[string]any) { k["use"] = "" }, false},
		"a use that is null":             {curve, func(k map[string]any) { k["use"] = nil }, false},
		"its algorithm":                  {curve, func(k map[string]any) { k["alg"] = "ES256" }, true},
		"its algorithm in lower case":    {curve, func(k map[string]any) { k["alg"] = "es256" }, false},
		"an empty algorithm":             {curve, func(k map[string]any) { k["alg"] = "" }, false},
		"an algorithm that is null":      {curve, func(k map[string]any) { k["alg"] = nil }, false},
		"another curve's algorithm":      {curve, func(k map[string]any) { k["alg"] = "ES384" }, false},
		"an algorithm for encryption":    {rsa, func(k map[string]any) { k["alg"] = "RSA-OAEP" }, false},
		"another of its algorithms":      {rsa, func(k map[string]any) { k["alg"] = "PS256" }, false},
		"a private key":                  {curve, func(k map[string]any) { k["d"] = k["x"] }, false},
		"a factor of the modulus":        {rsa, func(k map[string]any) { k["p"] = "AQAB" }, false},
		"names in another case":          {curve, rename("crv", "CRV"), false},
		"the type in another case":       {rsa, rename("kty", "Kty"), false},
		"the ID in another case":         {edwards, rename("kid", "KID"), false},
		"the modulus's name in capitals": {rsa, rename("n", "N"), false},
		"names twice in two cases":       {curve, func(k map[string]any) { k["KTY"] = "oct"; k["Crv"] = "P-384"; k["X"] = "AA"; k["Use"] = "enc" }, true},
		"the type's value in lower case": {curve, func(k map[string]any) { k["kty"] = "ec" }, false},
		"no operations":                  {curve, func(k map[string]any) { k["key_ops"] = []string{} }, false},
		"no type":                        {curve, func(k map[string]any) { delete(k, "kty") }, false},
		"another type":                   {curve, func(k map[string]any) { k["kty"] = "RSA" }, false},
		"another curve":                  {curve, func(k map[string]any) { k["crv"] = "P-384" }, false},
		"a point not on the curve":       {curve, func(k map[string]any) { k["y"] = k["x"] }, false},
		"a short coordinate":             {curve, func(k map[string]any) { k["x"] = cut(k["x"].(string)) }, false},
		"base64 with padding":            {curve, func(k map[string]any) { k["x"] = k["x"].(string) + "=" }, false},
		"a coordinate of another type":   {curve, func(k map[string]any) { k["y"] = 5 }, false},
		"no coordinate":                  {curve, func(k map[string]any) { delete(k, "y") }, false},
		"a short modulus":                {rsa, func(k map[string]any) { k["n"] = "AQAB" }, false},
		"no modulus":                     {rsa, func(k map[string]any) { delete(k, "n") }, false},
		"exponent 1":                     {rsa, func(k map[string]any) { k["e"] = "AQ" }, false},
		"an even modulus": {rsa, func(k map[string]any) {
			n := bytesOf(t, k["n"])
			n[len(n)-1] &^= 1
			k["n"] = base64.RawURLEncoding.EncodeToString(n)
		}, false},
		"a modulus of 8,200 bits": {rsa, func(k map[string]any) {
			n := append(slices.Repeat([]byte{0xff}, 1025-256), bytesOf(t, k["n"])...)
			k["n"] = base64.RawURLEncoding.EncodeToString(n)
		}, false},
		"a modulus with a leading zero": {rsa, func(k map[string]any) { // RFC 7518, section 6.3.1.1, mentions these
			k["n"] = base64.RawURLEncoding.EncodeToString(append([]byte{0}, bytesOf(t, k["n"])...))
		}, true},
		"exponent 0":         {rsa, func(k map[string]any) { k["e"] = "AA" }, false},
		"exponent 2":         {rsa, func(k map[string]any) { k["e"] = "Ag" }, false},
		"exponent 65536":     {rsa, func(k map[string]any) { k["e"] = "AQAA" }, false},
		"no exponent":        {rsa, func(k map[string]any) { delete(k, "e") }, false},
		"exponent 2^32":      {rsa, func(k map[string]any) { k["e"] = "AQAAAAA" }, false},
		"a huge exponent":    {rsa, func(k map[string]any) { k["e"] = k["n"] }, false},
		"a short public key": {edwards, func(k map[string]any) { k["x"] = cut(k["x"].(string)) }, false},
		"Ed448":              {edwards, func(k map[string]any) { k["crv"] = "Ed448" }, false},
		"X25519":             {edwards, func(k map[string]any) { k["crv"] = "X25519" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := test.s.public().MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			var k map[string]any
			if err := json.Unmarshal(text, &k); err != nil {
				t.Fatal(err)
			}
			test.edit(k)
			set, err := json.Marshal(map[string]any{"keys": []any{k, other.public()}})
			if err != nil {
				t.Fatal(err)
			}
			v := oidc.New(config(), oidc.Static(set), at(start))
			if _, err := v.Caller(t.Context(), other.sign(t, good())); err != nil {
				t.Errorf("the other key of the set: %v", err)
			}
			_, err = v.Caller(t.Context(), test.s.sign(t, good()))
			if test.kept && err != nil {
				t.Error(err)
			}
			if !test.kept {
				wantFault(t, err, fault.Unauthenticated, "invalid_token", "signing key")
			}
		})
	}
}

// rename returns an edit that renames a member of a key.
func rename(from, to string) func(k map[string]any) {
	return func(k map[string]any) {
		k[to] = k[from]
		delete(k, from)
	}
}

func bytesOf(t *testing.T, text any) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text.(string))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestKeySetsAsText checks sets that no JSON library writes. good stands for a
// key that verifies the token, other for one that does not.
func TestKeySetsAsText(t *testing.T) {
	t.Parallel()
	s, second := newSigner(t, "k", jose.ES256), newSigner(t, "other", jose.RS256)
	text := func(s signer) string {
		text, err := s.public().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	expand := strings.NewReplacer("good", text(s), "other", text(second))
	twice := func(member string) string {
		return `{"keys":[` + strings.Replace(text(s), "{", "{"+member+",", 1) + `,other]}`
	}
	const unavailable, unknown = "issuer_unavailable", "invalid_token"
	for set, code := range map[string]string{
		`{"keys":[good]}`:                           "",
		` {"a":[{}],"keys":[other,good],"b":1} `:    "",
		`{"keys":[other]}`:                          unknown,
		`{"Keys":[good]}`:                           unavailable,
		`{"KEYS":[good],"keys":[other]}`:            unknown,
		`{"keys":[good],"Keys":[other]}`:            "",
		`{"\u006beys":[good]}`:                      "",
		`{"keys":[good],"keys":[other]}`:            unavailable,
		`{"keys":[other],"keys":[good]}`:            unavailable,
		`{"keys":[good],"keys":null}`:               unavailable,
		`{"keys":[good],"\u006beys":[other]}`:       unavailable,
		`{"keys":[good],"a":1,"a":1}`:               unavailable,
		`{"keys":[good],"a":{"b":1,"b":1}}`:         "",
		`{"keys":[{"a":1,"a":1},good]}`:             "",
		"{\"keys\":[{\"kid\":\"\xff\"},good]}":      "",
		`{"keys":[null,5,"x",[],{},[[good]],good]}`: "",
		`{"keys":good}`:                             unavailable,
		`{"keys":{"k":good}}`:                       unavailable,
		`{"keys":null}`:                             unavailable,
		`{}`:                                        unavailable,
		`[good]`:                                    unavailable,
		`good`:                                      unavailable,
		`{"keys":[good]}{}`:                         unavailable,
		`{"keys":[good],}`:                          unavailable,
		`{"keys":[good]`:                            unavailable,
		`{'keys':[good]}`:                           unavailable,
		twice(`"use":"sig"`):                        unknown,
		twice(`"kid":"k2"`):                         unknown,
		twice(`"kty":"RSA"`):                        unknown,
		twice(`"crv":"P-256"`):                      unknown,
		twice(`"\u0078":"AA"`):                      unknown,
		twice(`"a":1,"a":1`):                        unknown,
		twice(`"a":{"b":1,"b":1}`):                  unknown,
		twice(`"USE":"enc"`):                        "",
	} {
		_, err := oidc.New(config(), oidc.Static([]byte(expand.Replace(set))), at(start)).Caller(t.Context(), s.sign(t, good()))
		switch refusal, ok := errors.AsType[*fault.Error](err); {
		case code == "" && err != nil:
			t.Errorf("%s: %v", set, err)
		case code != "" && (!ok || refusal.Code != code):
			t.Errorf("%s: got %v, want %s", set, err, code)
		}
	}
}

// TestKeyIDs checks that "" is a key ID: it is not the same as none.
func TestKeyIDs(t *testing.T) {
	t.Parallel()
	s, other := newSigner(t, "k", jose.EdDSA), newSigner(t, "other", jose.EdDSA)
	of := func(s signer, id any) map[string]any {
		k := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(s.private.(ed25519.PrivateKey).Public().(ed25519.PublicKey))}
		if id != nil {
			k["kid"] = id
		}
		return k
	}
	for name, test := range map[string]struct {
		header string
		keys   []any
		ok     bool
	}{
		"empty":                           {`{"alg":"EdDSA","kid":""}`, []any{of(s, "")}, true},
		"empty, and another key":          {`{"alg":"EdDSA","kid":""}`, []any{of(other, "k"), of(s, "")}, true},
		"empty, and the key has none":     {`{"alg":"EdDSA","kid":""}`, []any{of(s, nil)}, false},
		"empty, and another ID":           {`{"alg":"EdDSA","kid":""}`, []any{of(s, "k")}, false},
		"empty, and none of two has any":  {`{"alg":"EdDSA","kid":""}`, []any{of(s, nil), of(other, nil)}, false},
		"none, and the key's is empty":    {`{"alg":"EdDSA"}`, []any{of(s, "")}, true},
		"none, and one of two is empty":   {`{"alg":"EdDSA"}`, []any{of(s, ""), of(other, "k")}, false},
		"none, and one of two has none":   {`{"alg":"EdDSA"}`, []any{of(s, nil), of(other, "k")}, false},
		"none, and neither has one":       {`{"alg":"EdDSA"}`, []any{of(s, nil)}, true},
		"an ID, and the key has none":     {`{"alg":"EdDSA","kid":"k"}`, []any{of(s, nil)}, false},
		"an ID in another case":           {`{"alg":"EdDSA","kid":"K"}`, []any{of(s, "k")}, false},
		"an ID of two keys, the second's": {`{"alg":"EdDSA","kid":"k"}`, []any{of(other, "k"), of(s, "k")}, true},
		"a number":                        {`{"alg":"EdDSA","kid":"5"}`, []any{of(s, 5)}, false},
		"null":                            {`{"alg":"EdDSA","kid":null}`, []any{of(s, "k")}, false},
	} {
		set, err := json.Marshal(map[string]any{"keys": test.keys})
		if err != nil {
			t.Fatal(err)
		}
		_, err = oidc.New(config(), oidc.Static(set), at(start)).Caller(t.Context(), s.signHeader(t, test.header))
		if (err == nil) != test.ok {
			t.Errorf("%s: got %v, want success: %t", name, err, test.ok)
		}
	}
}

// TestWeakEd25519Keys checks that keys of small order are skipped: the signature
// in the test is made without a private key. The encodings are those of
// "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko), table 1, and, as
// RFC 8032 refuses them too, those that are not points.
func TestWeakEd25519Keys(t *testing.T) {
	t.Parallel()
	other := newSigner(t, "other", jose.EdDSA)
	forged := append([]byte{1}, make([]byte, 63)...) // R is the neutral element, S is 0
	for _, digits := range []string{
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0000000000000000000000000000000000000000000000000000000000000000",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"0200000000000000000000000000000000000000000000000000000000000000", // no point has this y
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		weak := unhex(t, digits)
		k := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"k","x":%q}`, base64.RawURLEncoding.EncodeToString(weak))
		if _, err := oidc.New(config(), oidc.Static([]byte(`{"keys":[`+k+`]}`)), at(start)).Caller(t.Context(), other.sign(t, good())); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s alone: got %v, want no usable key", digits, err)
		}
		public, err := other.public().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		v := oidc.New(config(), oidc.Static([]byte(`{"keys":[`+k+`,`+string(public)+`]}`)), at(start))
		if _, err := v.Caller(t.Context(), other.sign(t, good())); err != nil {
			t.Errorf("%s: the other key of the set: %v", digits, err)
		}
		for i := range 32 { // an order of 8 needs 8 attempts on average
			claims := good()
			claims["jti"] = i
			payload, err := json.Marshal(claims)
			if err != nil {
				t.Fatal(err)
			}
			signed := encode(`{"alg":"EdDSA","kid":"k"}`) + "." + encode(string(payload))
			if _, err := v.Caller(t.Context(), "Bearer "+signed+"."+encode(string(forged))); err == nil {
				t.Errorf("%s: a forged token is accepted", digits)
				break
			}
		}
	}
	for range 50 { // no key that a generator makes is refused
		s := newSigner(t, "k", jose.EdDSA)
		if _, err := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start)).Caller(t.Context(), s.sign(t, good())); err != nil {
			t.Error(err)
		}
	}
}

// TestSignedHeaders checks the headers of tokens with a valid signature.
func TestSignedHeaders(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.EdDSA)
	v := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start))
	for header, message := range map[string]string{
		`{"alg":"EdDSA","kid":"k"}`:                                 "",
		`{"alg":"Ed25519","kid":"k"}`:                               "",
		`{"alg":"ed25519","kid":"k"}`:                               "ES512, EdDSA or Ed25519",
		`{"alg":"Ed448","kid":"k"}`:                                 "ES512, EdDSA or Ed25519",
		`{"alg":"","kid":"k"}`:                                      "ES512, EdDSA or Ed25519",
		`{"kid":"k"}`:                                               "ES512, EdDSA or Ed25519",
		`{"alg":"EdDSA","kid":"k","b64":true}`:                      "",
		`{"alg":"EdDSA","kid":"k","b64":false}`:                     "b64",
		`{"alg":"EdDSA","kid":"k","b64":0}`:                         "b64",
		`{"alg":"EdDSA","kid":"k","TYP":"logout+jwt","Crit":["x"]}`: "",
		`{"alg":"EdDSA","kid":"k","typ":"JWT","typ":"JWT"}`:         "not a signed JWT",
		`{"alg":"EdDSA","kid":"k","x":1,"x":1}`:                     "not a signed JWT",
		`{"alg":"EdDSA","kid":"k","\u0061lg":"EdDSA"}`:              "not a signed JWT",
		`{"alg":"EdDSA","kid":"k","x":{"alg":"none"}}`:              "",
		`{"alg":"EdDSA"}`:                                           "",
		`{"alg":"EdDSA","kid":"k","crit":["x"],"x":1}`:              "crit",
		`{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":0}`:          "crit",
		`{"alg":"none","kid":"k","alg":"EdDSA"}`:                    "not a signed JWT",
		`{"alg":"EdDSA","kid":5}`:                                   "not a signed JWT",
		`{"alg":["EdDSA"],"kid":"k"}`:                               "not a signed JWT",
		`{"alg":"EdDSA","kid":"k"}{}`:                               "not a signed JWT",
		`["EdDSA"]`:                                                 "not a signed JWT",
		`{"ALG":"EdDSA","kid":"k"}`:                                 "ES512, EdDSA or Ed25519",
		`{"alg":"ES256","kid":"k"}`:                                 "signing key",
		"{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"\xff\"}":        "not a signed JWT",
	} {
		_, err := v.Caller(t.Context(), s.signHeader(t, header))
		if message == "" {
			if err != nil {
				t.Errorf("%s: %v", header, err)
			}
			continue
		}
		wantFault(t, err, fault.Unauthenticated, "invalid_token", message)
	}
}

// TestTypes checks typ (RFC 9068, section 4; RFC 7515, section 4.1.9).
func TestTypes(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.EdDSA)
	v := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start))
	for typ, message := range map[string]string{
		`"JWT"`: "", `"jwt"`: "", `"Jwt"`: "", `"at+jwt"`: "", `"AT+JWT"`: "", `"At+Jwt"`: "",
		`"application/at+jwt"`: "", `"Application/AT+jwt"`: "", `"application/jwt"`: "", `"APPLICATION/JWT"`: "",
		`"\u0061t\u002bjwt"`: "", `"application\/at+jwt"`: "",

		`""`: "typ", `" JWT"`: "typ", `"JWT "`: "typ", `"application/"`: "typ", `"application/application/jwt"`: "typ",
		`"JOSE"`: "typ", `"JWS"`: "typ", `"JWE"`: "typ", `"JOSE+JSON"`: "typ", `"logout+jwt"`: "typ", `"secevent+jwt"`: "typ",
		`"dpop+jwt"`: "typ", `"id+jwt"`: "typ", `"oauth-authz-req+jwt"`: "typ", `"token-introspection+jwt"`: "typ", `"rt+jwt"`: "typ",
		`"client-authentication+jwt"`: "typ", `"vc+sd-jwt"`: "typ", `"at+jwt+x"`: "typ", `"at jwt"`: "typ", `"at+jwt;v=1"`: "typ",
		`"text/jwt"`: "typ", `"application-at+jwt"`: "typ", `"x/application/jwt"`: "typ", `"\u0000JWT"`: "typ", `"at+jwt\u0000"`: "typ",
		`"access_token"`: "typ", `"Bearer"`: "typ", `"none"`: "typ",

		`null`: "not a signed JWT", `5`: "not a signed JWT", `["JWT"]`: "not a signed JWT", `{}`: "not a signed JWT", `true`: "not a signed JWT",
	} {
		_, err := v.Caller(t.Context(), s.signHeader(t, `{"alg":"EdDSA","kid":"k","typ":`+typ+`}`))
		if message == "" {
			if err != nil {
				t.Errorf("%s: %v", typ, err)
			}
			continue
		}
		refusal, ok := errors.AsType[*fault.Error](err)
		if !ok || refusal.Code != "invalid_token" || !strings.Contains(refusal.Message, message) {
			t.Errorf("%s: got %v, want invalid_token: %s", typ, err, message)
		}
	}
}

func unhex(t *testing.T, digits string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
