package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/fault"
)

// disagreement is a reason to differ from Wycheproof, and the test vectors of one
// file to which it applies.
type disagreement struct {
	reason string
	ids    []int
}

const (
	symmetric = "HS256, HS384 and HS512 are not accepted: a party that can verify such a token can also make one"
	encrypted = "encrypted tokens are not accepted, and no key for decryption is held"
	roca      = "keys are not examined for the prime generator of ROCA (CVE-2017-15361): the issuer's key set is trusted, and such keys came from smart cards"
	ps256     = "the token is signed with PS384 and the key's alg is PS256, which excludes it (RFC 7517, section 4.4); the figure in RFC 7520 has no alg"
	es521     = "the key's alg, ES521, is not an algorithm of RFC 7518 and so excludes ES512; the figure in RFC 7520 has no alg"
)

// disagreements lists all vectors whose result differs from ours. A vector that
// is not listed must have Wycheproof's result, and a listed one must not.
func disagreements() map[string][]disagreement {
	return map[string][]disagreement{
		"json_web_signature_test.json": {
			{symmetric, []int{1, 348, 352, 357, 358, 359, 372, 373, 376, 377}},
			{ps256, []int{346, 350}},
			{es521, []int{347, 351}},
		},
		"json_web_key_test.json": {
			{symmetric, []int{2, 13, 14, 15}},
			{roca, []int{7}},
		},
		"json_web_crypto_test.json": {
			{symmetric, []int{1, 48}},
			{encrypted, []int{50, 67}},
			{roca, []int{46}},
		},
	}
}

// vectors is a file of C2SP/wycheproof, in any of the schemas read here.
type vectors struct {
	NumberOfTests int           `json:"numberOfTests"` //nolint:tagliatelle // Wycheproof's own names
	TestGroups    []vectorGroup `json:"testGroups"`    //nolint:tagliatelle // likewise
}

type vectorGroup struct {
	Public    json.RawMessage `json:"public"`       // a JWK or a JWK Set
	Private   json.RawMessage `json:"private"`      // the same with the private members; alone where the key is a secret
	JWK       json.RawMessage `json:"publicKeyJwk"` //nolint:tagliatelle // likewise
	PublicKey struct {
		Curve        string `json:"curve"`
		Uncompressed string `json:"uncompressed"` // the point of SEC 1, in hexadecimal digits
	} `json:"publicKey"` //nolint:tagliatelle // likewise
	Tests []vector `json:"tests"`
}

type vector struct {
	ID        int             `json:"tcId"` //nolint:tagliatelle // likewise
	Comment   string          `json:"comment"`
	JWS       json.RawMessage `json:"jws"`
	JWE       json.RawMessage `json:"jwe"`
	Message   string          `json:"msg"` // hexadecimal digits
	Signature string          `json:"sig"` // likewise
	Result    string          `json:"result"`
}

// vectorFolder returns the folder of the test vectors, which are not in the repository:
// that of VECTORS, or shared/vectors next to the repository. If it is missing, the test
// is skipped; with CI=true it fails if the folder shared exists.
func vectorFolder(t *testing.T) string {
	t.Helper()
	shared := filepath.Join("..", "..", "..", "..", "shared") // next to the root of the repository
	folder := os.Getenv("VECTORS")
	required := folder != ""
	if !required {
		folder = filepath.Join(shared, "vectors")
		_, err := os.Stat(shared)
		required = os.Getenv("CI") == "true" && err == nil
	}
	if _, err := os.Stat(folder); err != nil {
		if required {
			t.Fatalf("the test vectors of Wycheproof are required; VECTORS names their folder: %v", err)
		}
		t.Skipf("SKIPPED, NOT TESTED: the test vectors of Wycheproof are missing; VECTORS names their folder: %v", err)
	}
	return folder
}

// TestWycheproof verifies the tokens and signatures of C2SP/wycheproof.
func TestWycheproof(t *testing.T) {
	t.Parallel()
	folder := vectorFolder(t)
	for name, verified := range map[string]func(t *testing.T, g vectorGroup, v vector) bool{
		"json_web_signature_test.json":           tokenVerified,
		"json_web_key_test.json":                 tokenVerified,
		"json_web_crypto_test.json":              tokenVerified,
		"ecdsa_secp256r1_sha256_p1363_test.json": signatureVerified("ES256"),
		"ecdsa_secp384r1_sha384_p1363_test.json": signatureVerified("ES384"),
		"ecdsa_secp521r1_sha512_p1363_test.json": signatureVerified("ES512"),
		"ed25519_test.json":                      signatureVerified("EdDSA", "Ed25519"),
		"rsa_pss_2048_sha256_mgf1_32_test.json":  signatureVerified("PS256"),
		"rsa_pss_3072_sha256_mgf1_32_test.json":  signatureVerified("PS256"),
	} {
		t.Run(strings.TrimSuffix(name, "_test.json"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			var file vectors
			if err := json.Unmarshal(text, &file); err != nil {
				t.Fatal(err)
			}
			reasons := map[int]string{}
			for _, d := range disagreements()[name] {
				for _, id := range d.ids {
					reasons[id] = d.reason
				}
			}
			count := 0
			for _, group := range file.TestGroups {
				for _, vector := range group.Tests {
					count++
					want := vector.Result == "valid"
					reason, listed := reasons[vector.ID]
					delete(reasons, vector.ID)
					switch got := verified(t, group, vector); {
					case got != want && !listed:
						t.Errorf("%d %s: verified: %t, want %t", vector.ID, vector.Comment, got, want)
					case got == want && listed:
						t.Errorf("%d %s: listed as a disagreement (%s), but the results agree", vector.ID, vector.Comment, reason)
					}
				}
			}
			for id, reason := range reasons {
				t.Errorf("%d: listed (%s), but not in the file", id, reason)
			}
			if count == 0 || count != file.NumberOfTests {
				t.Errorf("%d vectors, want %d", count, file.NumberOfTests)
			}
		})
	}
}

// tokenVerified sends the vector's token as a client does. The payloads are not
// valid claims, so a token with a valid signature is refused for its claims.
func tokenVerified(t *testing.T, g vectorGroup, v vector) bool {
	t.Helper()
	set := g.Public
	if set == nil {
		set = g.Private
	}
	if !strings.Contains(string(set), `"keys"`) {
		set = fmt.Appendf(nil, `{"keys":[%s]}`, set)
	}
	var compact string
	text := slices.Concat(v.JWS, v.JWE)
	if json.Unmarshal(text, &compact) != nil {
		compact = string(text) // the JSON serialization is an object
	}
	_, err := oidc.New(config(), oidc.Static(set), at(start)).Caller(t.Context(), "Bearer "+compact)
	return signatureHolds(t, err)
}

// signatureHolds reports whether err, if any, is about the claims, which are
// evaluated after the signature.
func signatureHolds(t *testing.T, err error) bool {
	t.Helper()
	refusal, ok := errors.AsType[*fault.Error](err)
	if err != nil && (!ok || refusal.Kind != fault.Unauthenticated && refusal.Code != "issuer_unavailable") {
		t.Errorf("got %v, want a fault of the token or the key set", err)
	}
	return err == nil || ok && (refusal.Message == "the token's claims are malformed" || strings.HasPrefix(refusal.Message, "the token's issuer must be "))
}

// signatureVerified verifies the vector's signature under each of the names of
// its algorithm, which must agree.
func signatureVerified(algorithms ...string) func(t *testing.T, g vectorGroup, v vector) bool {
	return func(t *testing.T, g vectorGroup, v vector) bool {
		t.Helper()
		message, signature := unhex(t, v.Message), unhex(t, v.Signature)
		set := fmt.Appendf(nil, `{"keys":[%s]}`, g.jwk(t))
		verified := map[bool][]string{}
		for _, algorithm := range algorithms {
			ok := oidc.VerifySignature(set, algorithm, string(message), signature) == nil
			verified[ok] = append(verified[ok], algorithm)
		}
		if len(verified) > 1 {
			t.Errorf("%d %s: verified: %v", v.ID, v.Comment, verified)
		}
		return len(verified[true]) > 0
	}
}

// jwk returns the group's key, made of its point if the group has no JWK.
func (g vectorGroup) jwk(t *testing.T) []byte {
	t.Helper()
	if g.JWK != nil {
		return g.JWK
	}
	names := map[string]string{"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
	point := unhex(t, g.PublicKey.Uncompressed)[1:]
	x, y := point[:len(point)/2], point[len(point)/2:]
	return fmt.Appendf(nil, `{"kty":"EC","crv":%q,"x":%q,"y":%q}`, names[g.PublicKey.Curve],
		base64.RawURLEncoding.EncodeToString(x), base64.RawURLEncoding.EncodeToString(y))
}
