package bearer_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"syncplane/pkg/bearer"
	"syncplane/pkg/fault"
)

// TestKeysWithOneThingWrong holds that a key which is not what RFC 7517 and RFC
// 7518 say verifies nothing, and spoils no other.
func TestKeysWithOneThingWrong(t *testing.T) {
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
		"RSA":                          {rsa, func(map[string]any) {}, true},
		"EC":                           {curve, func(map[string]any) {}, true},
		"OKP":                          {edwards, func(map[string]any) {}, true},
		"members of no meaning":        {curve, func(k map[string]any) { k["x5t"] = "a"; k["exp"] = 1 }, true},
		"no use":                       {curve, func(k map[string]any) { delete(k, "use") }, true},
		"operations":                   {curve, func(k map[string]any) { k["key_ops"] = []string{"verify"} }, true},
		"other operations":             {curve, func(k map[string]any) { k["key_ops"] = []string{"encrypt"} }, false},
		"no operations":                {curve, func(k map[string]any) { k["key_ops"] = []string{} }, false},
		"no type":                      {curve, func(k map[string]any) { delete(k, "kty") }, false},
		"another type":                 {curve, func(k map[string]any) { k["kty"] = "RSA" }, false},
		"another curve":                {curve, func(k map[string]any) { k["crv"] = "P-384" }, false},
		"a point not on the curve":     {curve, func(k map[string]any) { k["y"] = k["x"] }, false},
		"a short coordinate":           {curve, func(k map[string]any) { k["x"] = cut(k["x"].(string)) }, false},
		"base64 with padding":          {curve, func(k map[string]any) { k["x"] = k["x"].(string) + "=" }, false},
		"a coordinate of another type": {curve, func(k map[string]any) { k["y"] = 5 }, false},
		"no coordinate":                {curve, func(k map[string]any) { delete(k, "y") }, false},
		"a short modulus":              {rsa, func(k map[string]any) { k["n"] = "AQAB" }, false},
		"no modulus":                   {rsa, func(k map[string]any) { delete(k, "n") }, false},
		"exponent 1":                   {rsa, func(k map[string]any) { k["e"] = "AQ" }, false},
		"exponent 2^32":                {rsa, func(k map[string]any) { k["e"] = "AQAAAAA" }, false},
		"a huge exponent":              {rsa, func(k map[string]any) { k["e"] = k["n"] }, false},
		"a short public key":           {edwards, func(k map[string]any) { k["x"] = cut(k["x"].(string)) }, false},
		"X25519":                       {edwards, func(k map[string]any) { k["crv"] = "X25519" }, false},
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
			v := bearer.New(config(), bearer.Static(set), at(start))
			if _, err := v.Caller(t.Context(), other.sign(t, good())); err != nil {
				t.Errorf("the key beside it: %v", err)
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

// TestGenuineHeaders holds tokens that are truly signed to what their headers
// say.
func TestGenuineHeaders(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.EdDSA)
	v := bearer.New(config(), bearer.Static(keySet(t, s.public())), at(start))
	claims, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	for header, message := range map[string]string{
		`{"alg":"EdDSA","kid":"k"}`:                          "",
		`{"alg":"EdDSA","kid":"k","x":{"alg":"none"}}`:       "",
		`{"alg":"EdDSA"}`:                                    "",
		`{"alg":"EdDSA","kid":"k","crit":["x"],"x":1}`:       "crit",
		`{"alg":"EdDSA","kid":"k","crit":["b64"],"b64":0}`:   "crit",
		`{"alg":"none","kid":"k","alg":"EdDSA"}`:             "not a signed JWT",
		`{"alg":"EdDSA","kid":5}`:                            "not a signed JWT",
		`{"alg":["EdDSA"],"kid":"k"}`:                        "not a signed JWT",
		`{"alg":"EdDSA","kid":"k"}{}`:                        "not a signed JWT",
		`["EdDSA"]`:                                          "not a signed JWT",
		`{"ALG":"EdDSA","kid":"k"}`:                          "RS256, PS256, ES256 or EdDSA",
		`{"alg":"ES256","kid":"k"}`:                          "signing key",
		"{\"alg\":\"EdDSA\",\"kid\":\"k\",\"typ\":\"\xff\"}": "not a signed JWT",
	} {
		signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(claims)
		signature := ed25519.Sign(s.private.(ed25519.PrivateKey), []byte(signed))
		_, err := v.Caller(t.Context(), "Bearer "+signed+"."+base64.RawURLEncoding.EncodeToString(signature))
		if message == "" {
			if err != nil {
				t.Errorf("%s: %v", header, err)
			}
			continue
		}
		wantFault(t, err, fault.Unauthenticated, "invalid_token", message)
	}
}
