package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/auth"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/fault"
)

const (
	issuer   = "https://issuer.example.com/"
	audience = "syncplane"
)

var start = time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)

// signer signs tokens with a key of an issuer.
type signer struct {
	id        string
	algorithm jose.SignatureAlgorithm
	private   any
}

// rsaKeys are RSA keys. With the race detector one takes a tenth of a second to generate,
// so tests share them, and their primes are pairs of those of a few. Within a test all
// keys are different.
type rsaKeys struct {
	mu     sync.Mutex
	keys   []*rsa.PrivateKey
	primes []*big.Int
	taken  map[string]int // by the name of the test, without subtests
}

var keys = rsaKeys{taken: map[string]int{}}

// next returns a key that the test and its subtests do not have yet.
func (k *rsaKeys) next(tb testing.TB) (*rsa.PrivateKey, error) {
	tb.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	name, _, _ := strings.Cut(tb.Name(), "/")
	if k.taken[name] == len(k.keys) {
		if err := k.generate(); err != nil {
			return nil, err
		}
	}
	key := k.keys[k.taken[name]]
	k.taken[name]++
	return key, nil
}

// generate adds a key with two new primes, and one for each pair of a new and an old
// prime.
func (k *rsaKeys) generate() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	k.keys = append(k.keys, key)
	for _, p := range key.Primes {
		for _, q := range k.primes {
			pair, err := keyOf(p, q)
			if err != nil {
				return err
			}
			k.keys = append(k.keys, pair)
		}
	}
	k.primes = append(k.primes, key.Primes...)
	return nil
}

// keyOf returns the RSA key of two primes.
func keyOf(p, q *big.Int) (*rsa.PrivateKey, error) {
	one, e := big.NewInt(1), 65537
	totient := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: e},
		D:         new(big.Int).ModInverse(big.NewInt(int64(e)), totient),
		Primes:    []*big.Int{p, q},
	}
	key.Precompute()
	return key, key.Validate()
}

func newSigner(tb testing.TB, id string, algorithm jose.SignatureAlgorithm) signer {
	tb.Helper()
	var private any
	var err error
	switch algorithm { //nolint:exhaustive // all others are RSA here
	case jose.ES256:
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		private, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		private, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		private, err = keys.next(tb)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return signer{id, algorithm, private}
}

func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.private.(crypto.Signer).Public(), KeyID: s.id, Use: "sig"}
}

func good() map[string]any {
	return map[string]any{
		"iss": issuer, "aud": audience, "sub": "ci", "exp": start.Add(time.Hour).Unix(),
		"workspace_id": "acme", "scope": "syncs:read syncs:write",
	}
}

// sign returns an Authorization header with a token that has these claims.
func (s signer) sign(tb testing.TB, claims any) string {
	tb.Helper()
	options := (&jose.SignerOptions{}).WithType("at+jwt")
	if s.id != "" {
		options = options.WithHeader("kid", s.id)
	}
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: s.algorithm, Key: s.private}, options)
	if err != nil {
		tb.Fatal(err)
	}
	token, err := jwt.Signed(js).Claims(claims).Serialize()
	if err != nil {
		tb.Fatal(err)
	}
	return "Bearer " + token
}

func keySet(tb testing.TB, keys ...jose.JSONWebKey) []byte {
	tb.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func config() oidc.Config {
	return oidc.Config{Issuer: issuer, Audiences: []string{audience}, WorkspaceClaim: "workspace_id"}
}

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func wantFault(tb testing.TB, err error, kind fault.Kind, code, message string) {
	tb.Helper()
	got, ok := errors.AsType[*fault.Error](err)
	if !ok || got.Kind != kind || got.Code != code || !strings.Contains(got.Message, message) {
		tb.Errorf("got %v, want kind %v %s: %s", err, kind, code, message)
	}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	} {
		s := newSigner(t, "k", algorithm)
		v := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start))
		got, err := v.Caller(t.Context(), s.sign(t, good()))
		want := auth.Caller{Workspace: "acme", Subject: "ci", Scopes: []string{"syncs:read", "syncs:write"}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", algorithm, err, diff)
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	v := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start))
	token := strings.TrimPrefix(s.sign(t, good()), "Bearer ")
	for header, code := range map[string]string{
		"Bearer " + token:                       "",
		"bearer " + token:                       "",
		"BEARER   " + token:                     "",
		" Bearer " + token:                      "",
		"":                                      "token_missing",
		"Bearer":                                "token_missing",
		"Bearer ":                               "token_missing",
		"Basic dXNlcjpwYXNz":                    "token_missing",
		token:                                   "token_missing",
		"Bearer x":                              "invalid_token",
		"Bearer ..":                             "invalid_token",
		"Bearer " + token + " " + token:         "invalid_token",
		"Bearer " + token + ", Bearer " + token: "invalid_token",
		"Bearer " + token + ".a.b":              "invalid_token",
		"Bearer " + token[:len(token)-10]:       "invalid_token",
		"Bearer " + strings.Repeat("a", 8193):   "invalid_token",
	} {
		_, err := v.Caller(t.Context(), header)
		if code == "" && err != nil {
			t.Errorf("%.40s: %v", header, err)
		}
		if code != "" {
			wantFault(t, err, fault.Unauthenticated, code, "")
			if got, ok := errors.AsType[*fault.Error](err); ok && len(header) > 20 && strings.Contains(got.Message, header[10:20]) {
				t.Errorf("the message contains a part of the token: %s", got.Message)
			}
		}
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	v := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start))
	seconds := func(n int64) int64 { return start.Unix() + n }
	for name, test := range map[string]struct {
		claim   string
		value   any // nil removes the claim
		message string
	}{
		"another issuer":         {"iss", "https://evil.example.com/", "the token's issuer must be " + issuer},
		"a truncated issuer":     {"iss", strings.TrimSuffix(issuer, "/"), "issuer must be"},
		"no issuer":              {"iss", nil, "issuer must be"},
		"another audience":       {"aud", "other", "the token's audience must be syncplane"},
		"no audience":            {"aud", nil, "audience must be"},
		"one of many audiences":  {"aud", []string{"other", audience}, ""},
		"none of many audiences": {"aud", []string{"a", "b"}, "audience must be"},
		"no expiry":              {"exp", nil, "the token has no exp claim"},
		"a second left":          {"exp", seconds(1), ""},
		"none left":              {"exp", seconds(0), "the token expired at 2026-11-23T20:06:00Z"},
		"expiry of another type": {"exp", "soon", "claims are malformed"},
		"valid in 60 seconds":    {"nbf", seconds(60), ""},
		"valid in 61 seconds":    {"nbf", seconds(61), "the token is not valid before 2026-11-23T20:07:01Z"},
		"issued in 60 seconds":   {"iat", seconds(60), ""},
		"issued in 61 seconds":   {"iat", seconds(61), "the token was issued in the future, at 2026-11-23T20:07:01Z"},
		"a scope of a number":    {"scope", 5, "claims are malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := good()
			claims[test.claim] = test.value
			maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
			_, err := v.Caller(t.Context(), s.sign(t, claims))
			if test.message == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantFault(t, err, fault.Unauthenticated, "invalid_token", test.message)
		})
	}
}

func TestWorkspaceAndScopes(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	c := config()
	c.WorkspaceClaim = "https://example.com/workspace"
	v := oidc.New(c, oidc.Static(keySet(t, s.public())), at(start))
	for name, test := range map[string]struct {
		claims map[string]any
		want   auth.Caller
		fails  bool
	}{
		"a claim name with dots": {map[string]any{c.WorkspaceClaim: "acme"}, auth.Caller{Workspace: "acme"}, false},
		"none":                   {map[string]any{"workspace_id": "acme"}, auth.Caller{}, false},
		"a number":               {map[string]any{c.WorkspaceClaim: 5}, auth.Caller{}, true},
		"empty":                  {map[string]any{c.WorkspaceClaim: ""}, auth.Caller{}, true},
		"with a #":               {map[string]any{c.WorkspaceClaim: "a#b"}, auth.Caller{}, true},
		"with a space":           {map[string]any{c.WorkspaceClaim: "a b"}, auth.Caller{}, true},
		"of 128":                 {map[string]any{c.WorkspaceClaim: strings.Repeat("w", 128)}, auth.Caller{Workspace: strings.Repeat("w", 128)}, false},
		"of 129":                 {map[string]any{c.WorkspaceClaim: strings.Repeat("w", 129)}, auth.Caller{}, true},
		"scp as a list":          {map[string]any{"scp": []string{"a", "b"}}, auth.Caller{Scopes: []string{"a", "b"}}, false},
		"scp as a string":        {map[string]any{"scp": "a b"}, auth.Caller{Scopes: []string{"a", "b"}}, false},
		"both":                   {map[string]any{"scp": []string{"b"}, "scope": " a "}, auth.Caller{Scopes: []string{"a", "b"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slices.Sort(test.want.Scopes)
			claims := map[string]any{"iss": issuer, "aud": audience, "exp": start.Add(time.Hour).Unix()}
			maps.Copy(claims, test.claims)
			got, err := v.Caller(t.Context(), s.sign(t, claims))
			slices.Sort(got.Scopes)
			if test.fails {
				wantFault(t, err, fault.Forbidden, "workspace_missing", "must be a string")
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v, %s", err, diff)
			}
		})
	}
}

// TestAttacks checks that a token which no key of the issuer signed is refused.
func TestAttacks(t *testing.T) {
	t.Parallel()
	trusted := newSigner(t, "k", jose.RS256)
	evil := newSigner(t, "k", jose.RS256)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weakSigner := signer{"weak", jose.RS256, weak}
	encrypting := newSigner(t, "enc", jose.ES256)
	enc := encrypting.public()
	enc.Use = "enc"
	pinned := newSigner(t, "pinned", jose.RS256)
	pinnedKey := pinned.public()
	pinnedKey.Algorithm = string(jose.PS256)
	v := oidc.New(config(), oidc.Static(keySet(t, trusted.public(), weakSigner.public(), enc, pinnedKey,
		jose.JSONWebKey{Key: []byte("secret"), KeyID: "oct"})), at(start))
	if _, err := v.Caller(t.Context(), trusted.sign(t, good())); err != nil {
		t.Fatal(err)
	}

	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	claims, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(trusted.sign(t, good()), ".")
	hmacOf := func(id string, secret []byte) string {
		return signer{id, jose.HS256, secret}.sign(t, good())
	}
	embedded := func() string {
		js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: evil.private}, &jose.SignerOptions{EmbedJWK: true})
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(js).Claims(good()).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	public, err := json.Marshal(trusted.public())
	if err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]string{
		"another key with the same ID": evil.sign(t, good()),
		"none":                         "Bearer " + encode(`{"alg":"none"}`) + "." + encode(string(claims)) + ".",
		"None":                         "Bearer " + encode(`{"alg":"None","kid":"k"}`) + "." + encode(string(claims)) + ".",
		"the public key as a secret":   hmacOf("k", public),
		"a secret in the key set":      hmacOf("oct", []byte("secret-secret-secret-secret-secret")),
		"a key in the token's header":  embedded(),
		"an unknown key":               signer{"other", jose.RS256, trusted.private}.sign(t, good()),
		"no key ID, and several keys":  signer{"", jose.RS256, trusted.private}.sign(t, good()),
		"a weak key":                   weakSigner.sign(t, good()),
		"a key for encryption":         encrypting.sign(t, good()),
		"a key for another algorithm":  pinned.sign(t, good()),
		"the public key, HS512":        signer{"k", jose.HS512, public}.sign(t, good()),
		"another payload":              parts[0] + "." + encode(strings.Replace(string(claims), "acme", "evil", 1)) + "." + parts[2],
		"another header":               "Bearer " + encode(`{"alg":"RS256","kid":"k","typ":"x"}`) + "." + parts[1] + "." + parts[2],
		"a critical header":            "Bearer " + encode(`{"alg":"RS256","kid":"k","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2],
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"an encrypted token":           "Bearer " + encode(`{"alg":"RSA-OAEP","enc":"A256GCM"}`) + ".a.b.c.d",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := v.Caller(t.Context(), header)
			wantFault(t, err, fault.Unauthenticated, "invalid_token", "")
			if got.Workspace != "" {
				t.Errorf("accepted as %+v", got)
			}
		})
	}
	if _, err := v.Caller(t.Context(), signer{"pinned", jose.PS256, pinned.private}.sign(t, good())); err != nil {
		t.Errorf("a key with its own algorithm: %v", err)
	}
}

// TestNoKeyID checks that a token may leave out the key ID if there is one key.
func TestNoKeyID(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "", jose.ES256)
	named := s.public()
	named.KeyID = "k"
	v := oidc.New(config(), oidc.Static(keySet(t, named)), at(start))
	if _, err := v.Caller(t.Context(), s.sign(t, good())); err != nil {
		t.Error(err)
	}
}

// TestFlippedBits checks that a token with any character changed is refused, also
// where only the unused bits of the last character differ.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.EdDSA)
	v := oidc.New(config(), oidc.Static(keySet(t, s.public())), at(start))
	header := s.sign(t, good())
	for i := len("Bearer "); i < len(header); i++ {
		flipped := []byte(header)
		if flipped[i] == 'A' {
			flipped[i] = 'Q'
		} else {
			flipped[i] = 'A'
		}
		if got, err := v.Caller(t.Context(), string(flipped)); err == nil {
			t.Errorf("character %d: accepted as %+v", i, got)
		}
	}
}

// fakeIssuer is an HTTP server with the metadata and keys of an issuer.
type fakeIssuer struct {
	*httptest.Server
	mu       sync.Mutex
	status   int
	body     []byte
	requests atomic.Int32
}

func newFakeIssuer(t *testing.T, body []byte) *fakeIssuer {
	t.Helper()
	o := &fakeIssuer{status: http.StatusOK, body: body}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.requests.Add(1)
		o.mu.Lock()
		defer o.mu.Unlock()
		w.WriteHeader(o.status)
		if r.URL.Path == "/.well-known/openid-configuration" {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, o.URL, o.URL+"/keys")
			return
		}
		_, _ = w.Write(o.body)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *fakeIssuer) set(status int, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.body = status, body
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	o := newFakeIssuer(t, keySet(t, s.public()))
	claims := good()
	claims["iss"] = o.URL
	c := config()
	c.Issuer = o.URL
	if _, err := oidc.New(c, oidc.Discover(o.URL), at(start)).Caller(t.Context(), s.sign(t, claims)); err != nil {
		t.Error(err)
	}
	// The metadata of another issuer is refused.
	_, err := oidc.New(c, oidc.Discover(o.URL+"/"), at(start)).Caller(t.Context(), s.sign(t, claims))
	wantFault(t, err, fault.Unavailable, "issuer_unavailable", "")
}

// TestMetadataNames checks that the members of the issuer's metadata are
// case-sensitive and unique, as those of a key set are.
func TestMetadataNames(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	set := keySet(t, s.public())
	for text, ok := range map[string]bool{
		`{"issuer":"URL","jwks_uri":"URL/keys"}`:                                   true,
		`{"issuer":"URL","jwks_uri":"URL/keys","ISSUER":"x","Jwks_uri":"x","a":1}`: true,
		`{"Issuer":"URL","jwks_uri":"URL/keys"}`:                                   false,
		`{"issuer":"URL","JWKS_URI":"URL/keys"}`:                                   false,
		`{"issuer":"x","issuer":"URL","jwks_uri":"URL/keys"}`:                      false,
		`{"issuer":"URL","jwks_uri":"x","jwks_uri":"URL/keys"}`:                    false,
		`{"issuer":"URL","jwks_uri":"URL/keys","a":1,"a":1}`:                       false,
		`{"issuer":"URL","jwks_uri":["URL/keys"]}`:                                 false,
		`{"issuer":"URL"}`:                         false,
		`[{"issuer":"URL","jwks_uri":"URL/keys"}]`: false,
	} {
		mux := http.NewServeMux()
		server := httptest.NewServer(mux)
		defer server.Close()
		mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
		mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.ReplaceAll(text, "URL", server.URL)))
		})
		if err := oidc.New(config(), oidc.Discover(server.URL), at(start)).Warm(t.Context()); (err == nil) != ok {
			t.Errorf("%s: got %v, want success: %t", text, err, ok)
		}
	}
}

// TestKeyRotation checks when keys are fetched, over a day in which the issuer
// rotates them and fails.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	first, second, third := newSigner(t, "1", jose.ES256), newSigner(t, "2", jose.ES256), newSigner(t, "3", jose.ES256)
	o := newFakeIssuer(t, keySet(t, first.public()))
	now := start
	v := oidc.New(config(), oidc.URL(o.URL), func() time.Time { return now })
	claims := good()
	claims["exp"] = start.AddDate(1, 0, 0).Unix()
	step := func(after time.Duration, s signer, kind fault.Kind, requests int32) {
		t.Helper()
		now = now.Add(after)
		_, err := v.Caller(t.Context(), s.sign(t, claims))
		if got := o.requests.Load(); got != requests {
			t.Errorf("%d requests, want %d", got, requests)
		}
		switch {
		case kind == fault.Internal && err != nil:
			t.Error(err)
		case kind != fault.Internal && !fault.Is(err, kind):
			t.Errorf("got %v, want kind %v", err, kind)
		}
	}
	const ok = fault.Internal
	if err := v.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	step(0, first, ok, 1)
	step(time.Second, second, fault.Unauthenticated, 1) // unknown, and the keys were fetched a second ago
	o.set(200, keySet(t, first.public(), second.public()))
	step(59*time.Second, second, ok, 2) // after a minute
	step(0, first, ok, 2)
	step(time.Minute, third, fault.Unauthenticated, 3)
	step(time.Second, third, fault.Unauthenticated, 3) // once a minute at most

	o.set(500, nil)
	step(time.Minute, third, fault.Unavailable, 4) // the token may be valid
	step(time.Second, third, fault.Unavailable, 4) // no fetch, as the last one was a second ago
	step(0, first, ok, 4)                          // known keys stay valid
	step(time.Hour, first, ok, 5)                  // even if fetching them again fails
	step(time.Second, first, ok, 5)
	step(25*time.Hour, first, fault.Unavailable, 6) // for a day

	o.set(200, keySet(t, second.public()))
	step(time.Minute, second, ok, 7)
	step(0, first, fault.Unauthenticated, 7) // its key is no longer in the set
}

// TestTokenCache checks that a cached token is not accepted for longer than it would
// be without the cache.
func TestTokenCache(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.EdDSA)
	o := newFakeIssuer(t, keySet(t, s.public()))
	now := start
	v := oidc.New(config(), oidc.URL(o.URL), func() time.Time { return now })
	use := func(header string) error {
		_, err := v.Caller(t.Context(), header)
		return err
	}
	short, long := good(), good()
	short["exp"], long["exp"] = start.Add(time.Minute).Unix(), start.AddDate(0, 0, 1).Unix()
	brief, lasting := s.sign(t, short), s.sign(t, long)
	for range 2 {
		if err := errors.Join(use(brief), use(lasting)); err != nil {
			t.Fatal(err)
		}
	}
	parts := strings.Split(lasting, ".")
	forged := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, ed25519.SignatureSize))
	wantFault(t, use(forged), fault.Unauthenticated, "invalid_token", "signature")
	now = now.Add(time.Minute)
	wantFault(t, use(brief), fault.Unauthenticated, "invalid_token", "expired")
	// More tokens than the cache holds.
	for i := range 1100 {
		short["jti"], short["exp"] = i, start.Add(time.Hour).Unix()
		if err := use(s.sign(t, short)); err != nil {
			t.Fatal(err)
		}
	}
	if err := use(lasting); err != nil {
		t.Error(err)
	}
	// The issuer replaces the key by another one with the same ID.
	o.set(200, keySet(t, newSigner(t, "k", jose.EdDSA).public()))
	now = now.Add(time.Hour)
	wantFault(t, use(lasting), fault.Unauthenticated, "invalid_token", "signature")
}

func TestUnavailableIssuer(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	o := newFakeIssuer(t, nil)
	for name, body := range map[string]string{
		"empty": "", "not JSON": "<html>", "no keys": `{"keys":[]}`, "unusable keys": `{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"new"},5]}`,
		"too large": `{"keys":[],"x":"` + strings.Repeat("x", 1<<20) + `"}`,
	} {
		o.set(200, []byte(body))
		_, err := oidc.New(config(), oidc.URL(o.URL), at(start)).Caller(t.Context(), s.sign(t, good()))
		wantFault(t, err, fault.Unavailable, "issuer_unavailable", "")
		if got, ok := errors.AsType[*fault.Error](err); !ok || got.RetryAfter <= 0 {
			t.Errorf("%s: no RetryAfter: %v", name, err)
		}
	}
	_, err := oidc.New(config(), oidc.URL("http://127.0.0.1:1/"), at(start)).Caller(t.Context(), s.sign(t, good()))
	wantFault(t, err, fault.Unavailable, "issuer_unavailable", "")

	// The keys are fetched once a second, not for every request.
	o.set(500, nil)
	before := o.requests.Load()
	now := start
	v := oidc.New(config(), oidc.URL(o.URL), func() time.Time { return now })
	for range 5 {
		_, err := v.Caller(t.Context(), s.sign(t, good()))
		wantFault(t, err, fault.Unavailable, "issuer_unavailable", "")
	}
	o.set(200, keySet(t, s.public()))
	now = now.Add(time.Second)
	if _, err := v.Caller(t.Context(), s.sign(t, good())); err != nil || o.requests.Load()-before != 2 {
		t.Errorf("%v, %d requests", err, o.requests.Load()-before)
	}
}

func TestNoRedirectFromHTTPSToHTTP(t *testing.T) {
	t.Parallel()
	plain := newFakeIssuer(t, nil)
	safe := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusFound))
	defer safe.Close()
	// The certificate is not trusted either; in no case may a request reach
	// the plain server.
	_ = oidc.New(config(), oidc.URL(safe.URL), at(start)).Warm(t.Context())
	if plain.requests.Load() != 0 {
		t.Error("the keys were requested over plain HTTP")
	}
}

// TestIssuerOverTLS checks that the keys are fetched only from a server that the roots of
// the system verify.
func TestIssuerOverTLS(t *testing.T) {
	if _, err := x509.SystemCertPool(); err != nil { // it is read once, before SSL_CERT_FILE changes
		t.Fatal(err)
	}
	s := newSigner(t, "k", jose.ES256)
	safe := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keySet(t, s.public())) }))
	defer safe.Close()
	safe.Config.ErrorLog = log.New(io.Discard, "", 0)
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	t.Setenv("SSL_CERT_FILE", bundle)
	fetch := func(address string) error {
		_, err := oidc.New(config(), oidc.URL(address), at(start)).Caller(t.Context(), s.sign(t, good()))
		return err
	}
	refused := func(address string) {
		t.Helper()
		err := fetch(address)
		wantFault(t, err, fault.Unavailable, "issuer_unavailable", "")
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Errorf("got %v, want a CertificateVerificationError", err)
		}
	}
	refused(safe.URL)
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: safe.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fetch(safe.URL); err != nil {
		t.Error(err)
	}
	refused(strings.Replace(safe.URL, "127.0.0.1", "localhost", 1)) // the certificate has another name
}

// TestOneFetch checks that concurrent requests share one fetch, also if the context
// of one of them is cancelled.
func TestOneFetch(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	keys, header := keySet(t, s.public()), s.sign(t, good())
	var fetches atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	v := oidc.New(config(), func(context.Context) ([]byte, error) {
		if fetches.Add(1) == 1 {
			close(entered)
		}
		<-release
		return keys, nil
	}, at(start))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := v.Caller(context.WithoutCancel(t.Context()), header); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := v.Caller(ctx, header)
	wantFault(t, err, fault.Unavailable, "issuer_unavailable", "")
	close(release)
	all.Wait()
	if fetches.Load() != 1 {
		t.Errorf("%d fetches", fetches.Load())
	}
}

func TestByPrefix(t *testing.T) {
	t.Parallel()
	usual := func(context.Context, string) (auth.Caller, error) { return auth.Caller{Subject: "usual"}, nil }
	special := func(_ context.Context, token string) (auth.Caller, error) {
		return auth.Caller{Subject: token}, nil
	}
	both := oidc.ByPrefix(usual, "syn_", special)
	for header, want := range map[string]string{
		"Bearer syn_a_b": "syn_a_b", "bearer  syn_": "syn_", "Bearer a.b.c": "usual", "": "usual", "Basic syn_a": "usual", "Bearer xsyn_a": "usual",
	} {
		if got, err := both(t.Context(), header); err != nil || got.Subject != want {
			t.Errorf("%q: got %+v, %v", header, got, err)
		}
	}
}

// FuzzCaller checks that no header is accepted whose token the issuer did not sign.
func FuzzCaller(f *testing.F) {
	s := newSigner(f, "k", jose.EdDSA)
	v := oidc.New(config(), oidc.Static(keySet(f, s.public())), at(start))
	header := s.sign(f, good())
	signed := header[:strings.LastIndex(header, ".")]
	f.Add(header)
	f.Add("Bearer eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := v.Caller(t.Context(), text); err == nil && !strings.Contains(text, strings.TrimPrefix(signed, "Bearer ")) {
			t.Errorf("%q is accepted as %+v", text, got)
		}
	})
}

func BenchmarkCaller(b *testing.B) {
	for _, algorithm := range []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA, jose.RS256} {
		b.Run(string(algorithm), func(b *testing.B) {
			s := newSigner(b, "k", algorithm)
			v := oidc.New(config(), oidc.Static(keySet(b, s.public())), at(start))
			header := s.sign(b, good())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Caller(b.Context(), header); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
