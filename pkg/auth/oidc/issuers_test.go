package oidc_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncplane/pkg/auth"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/fault"
)

// signRaw returns an Authorization header with a token of this header and payload.
func (s signer) signRaw(tb testing.TB, header map[string]any, payload string) string {
	tb.Helper()
	options := &jose.SignerOptions{}
	for name, value := range header {
		if name != "alg" {
			options = options.WithHeader(jose.HeaderKey(name), value)
		}
	}
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: s.algorithm, Key: s.private}, options)
	if err != nil {
		tb.Fatal(err)
	}
	signed, err := js.Sign([]byte(payload))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return "Bearer " + text
}

// issued is a minute after the tokens of the recipes were issued.
var issued = time.Unix(1795464060, 0)

// recipe is a section of docs/tokens.md.
type recipe struct {
	name    string
	issuer  map[string]any
	header  map[string]any
	payload string
	signer  signer
}

// recipes returns the recipes of docs/tokens.md, each with a key for its tokens.
func recipes(t *testing.T) []recipe {
	t.Helper()
	page, err := os.ReadFile("../../../docs/tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := regexp.MustCompile("(?s)\n### ([^\n]+)\n(?:[^`]|`[^`]|``[^`])*```json issuer\n(.*?)```\n\n```json token\n([^\n]+)\n(.*?)```")
	var all []recipe
	for _, match := range sections.FindAllStringSubmatch(string(page), -1) {
		r := recipe{name: match[1], payload: match[4]}
		if err := errors.Join(json.Unmarshal([]byte(match[2]), &r.issuer), json.Unmarshal([]byte(match[3]), &r.header)); err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		r.signer = newSigner(t, r.header["kid"].(string), jose.SignatureAlgorithm(r.header["alg"].(string)))
		all = append(all, r)
	}
	if want := strings.Count(string(page), "\n### "); len(all) != want {
		t.Fatalf("%d of %d recipes are complete", len(all), want)
	}
	return all
}

// configs returns the issuers of recipes as ParseConfigs reads them, with the keys of
// the recipes.
func configs(t *testing.T, all []recipe) []oidc.Config {
	t.Helper()
	issuers := []map[string]any{}
	for _, r := range all {
		issuer := maps.Clone(r.issuer)
		delete(issuer, "jwks_url")
		issuer["jwks"] = json.RawMessage(keySet(t, r.signer.public()))
		issuers = append(issuers, issuer)
	}
	text, err := json.Marshal(issuers)
	if err != nil {
		t.Fatal(err)
	}
	list, err := oidc.ParseConfigs("TOKEN_ISSUERS", string(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestRecipes verifies the token of each recipe in docs/tokens.md, with all recipes in
// one list, and refuses it with the key of any other recipe.
func TestRecipes(t *testing.T) {
	t.Parallel()
	all := recipes(t)
	want := map[string]auth.Caller{
		"Amazon Cognito":                     {Workspace: "acme", Subject: "1example23456789", Scopes: []string{"syncs:read", "syncs:write"}},
		"Auth0":                              {Workspace: "initech-eu", Subject: "uJ6kExampleClient@clients", Scopes: []string{"syncs:read", "syncs:write"}},
		"Microsoft Entra ID, v2 tokens":      {Workspace: "globex", Subject: "22223333-cccc-4444-dddd-5555eeee6666", Scopes: []string{"syncs:read", "syncs:write"}},
		"Microsoft Entra ID, v1 tokens":      {Workspace: "hooli", Subject: "44445555-eeee-6666-ffff-7777aaaa8888", Scopes: []string{"syncs:read"}},
		"Okta":                               {Workspace: "umbrella", Subject: "0oaExampleClient", Scopes: []string{"syncs:read", "runs:execute"}},
		"Keycloak":                           {Workspace: "stark", Subject: "5f2c9b9e-6f0e-4f0c-9d3f-3a6c7f0b1d2e", Scopes: []string{"email", "syncs:read", "syncs:write", "profile"}},
		"Keycloak, roles":                    {Workspace: "wonka-eu", Subject: "8a1d3f60-2f64-4f1b-9c5e-7d2b1a0e4c93", Scopes: []string{"syncs:read", "syncs:write"}},
		"Google service accounts, ID tokens": {Workspace: "wayne", Subject: "113258942105700140798", Scopes: []string{"syncs:read", "syncs:write"}},
		"Google service accounts, self-signed tokens": {Workspace: "tyrell", Subject: "deploy@project-id.iam.gserviceaccount.com", Scopes: []string{"syncs:read"}},
	}
	v := oidc.NewIssuers(configs(t, all), at(issued))
	got := map[string]auth.Caller{}
	for _, r := range all {
		caller, err := v.Caller(t.Context(), r.signer.signRaw(t, r.header, r.payload))
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
		}
		got[r.name] = caller
		for _, other := range all {
			if other.name == r.name {
				continue
			}
			_, err := v.Caller(t.Context(), other.signer.signRaw(t, r.header, r.payload))
			wantFault(t, err, fault.Unauthenticated, "invalid_token", "")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRecipesRefuse checks that the issuer of each recipe refuses tokens that it issues
// for other purposes.
func TestRecipesRefuse(t *testing.T) {
	t.Parallel()
	all := recipes(t)
	v := oidc.NewIssuers(configs(t, all), at(issued))
	const remove = "\x00"
	for name, edits := range map[string][]map[string]any{
		"Amazon Cognito": {
			{"token_use": "id", "aud": "1example23456789", "client_id": remove, "scope": remove, "cognito:username": "jane"},
			{"token_use": "id"},
			{"token_use": remove},
			{"client_id": "another"},
			{"client_id": remove, "aud": "1example23456789"},
			{"aud": "https://other.example.com"}, // bound to another resource
		},
		"Auth0":                         {{"aud": "uJ6kExampleClient"}, {"at_hash": "x"}, {"iss": "https://example.eu.auth0.com"}},
		"Microsoft Entra ID, v2 tokens": {{"azp": remove}, {"ver": "1.0"}, {"ver": remove}, {"aud": "api://00001111-aaaa-2222-bbbb-3333cccc4444"}},
		"Microsoft Entra ID, v1 tokens": {{"appid": remove}, {"ver": "2.0"}},
		"Okta":                          {{"aud": "0oaExampleClient", "at_hash": "fPlsvVszI29LU2UhDyJ9vg"}, {"aud": "https://umbrella.okta.com"}},
		"Keycloak":                      {{"typ": "ID"}, {"typ": "Refresh"}, {"typ": "Offline"}, {"typ": "Logout"}, {"aud": "account"}, {"aud": remove}},
		"Keycloak, roles":               {{"typ": "ID", "at_hash": "x"}, {"aud": "dashboard"}, {"resource_access": map[string]any{"syncplane": map[string]any{"roles": 5}}}},
		"Google service accounts, ID tokens": {
			{"at_hash": "x"}, // of a person
			{"aud": "32555940559.apps.googleusercontent.com"},
		},
		"Google service accounts, self-signed tokens": {{"aud": "https://oauth2.googleapis.com/token"}, {"exp": remove}},
	} {
		i := slices.IndexFunc(all, func(r recipe) bool { return r.name == name })
		for _, edit := range edits {
			var payload map[string]any
			dec := json.NewDecoder(strings.NewReader(all[i].payload))
			dec.UseNumber()
			if err := dec.Decode(&payload); err != nil {
				t.Fatal(err)
			}
			maps.Copy(payload, edit)
			maps.DeleteFunc(payload, func(_ string, value any) bool { return value == remove })
			text, err := json.Marshal(payload)
			if err != nil {
				t.Fatal(err)
			}
			if caller, err := v.Caller(t.Context(), all[i].signer.signRaw(t, all[i].header, string(text))); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("%s with %v: got %+v, %v", name, edit, caller, err)
			}
		}
	}
	// An account that workspace_map does not have.
	for name, edit := range map[string]string{
		"Google service accounts, ID tokens": `"sub": "113258942105700140798"`, "Amazon Cognito": `"sub": "1example23456789"`,
	} {
		i := slices.IndexFunc(all, func(r recipe) bool { return r.name == name })
		_, err := v.Caller(t.Context(), all[i].signer.signRaw(t, all[i].header, strings.Replace(all[i].payload, edit, `"sub": "1"`, 1)))
		if name == "Amazon Cognito" { // sub does not decide there
			if err != nil {
				t.Error(err)
			}
			continue
		}
		wantFault(t, err, fault.Forbidden, "workspace_missing", "belongs to no workspace")
	}
}

// TestDocumentedList parses the list of several issuers in docs/tokens.md.
func TestDocumentedList(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../docs/tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile("(?s)```json list\n(.*?)```").FindSubmatch(page)
	if match == nil {
		t.Fatal("no list")
	}
	got, err := oidc.ParseConfigs("TOKEN_ISSUERS", string(match[1]))
	want := []oidc.Config{
		{Issuer: "https://acme.okta.com/oauth2/default", Audiences: []string{"https://api.example.com"}, Workspaces: []string{"acme", "acme-*"}},
		{
			Issuer:    "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0",
			Audiences: []string{"00001111-aaaa-2222-bbbb-3333cccc4444"}, ScopeClaims: []string{"roles"}, Workspace: "globex",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	// The table lists every member.
	_, err = oidc.ParseConfigs("TOKEN_ISSUERS", `[{"unknown":1}]`)
	members := regexp.MustCompile(`the members are ([a-z_, ]+)`).FindStringSubmatch(fmt.Sprint(err))
	if members == nil {
		t.Fatal(err)
	}
	var listed []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|[^|]*\\|[^|]*\\|$").FindAllStringSubmatch(string(page), -1) {
		listed = append(listed, row[1])
	}
	accepted := strings.Split(members[1], ", ")
	slices.Sort(accepted)
	slices.Sort(listed)
	if diff := cmp.Diff(accepted, listed); diff != "" {
		t.Errorf("the parser (-) and docs/tokens.md (+) differ: %s", diff)
	}
}

// TestIssuersAreApart checks that a key of one issuer verifies no token of another,
// although both have a key with the same ID.
func TestIssuersAreApart(t *testing.T) {
	t.Parallel()
	a, b := newSigner(t, "k", jose.RS256), newSigner(t, "k", jose.RS256)
	v := oidc.NewIssuers([]oidc.Config{
		{Issuer: "https://a.example.com", Audiences: []string{"api"}, JWKS: string(keySet(t, a.public())), Workspaces: []string{"acme", "a-*"}},
		{Issuer: "https://b.example.com", Audiences: []string{"api"}, JWKS: string(keySet(t, b.public())), Workspaces: []string{"globex", "b-*"}},
	}, at(start))
	claims := func(issuer any, workspace string) map[string]any {
		return map[string]any{
			"iss": issuer, "aud": "api", "exp": start.Add(time.Hour).Unix(),
			"workspace_id": workspace, "scope": "syncs:read runs:execute runs:execute:all",
		}
	}
	for _, test := range []struct {
		name      string
		signer    signer
		issuer    any
		workspace string
		kind      fault.Kind // fault.Internal for none
		message   string
	}{
		{"a token of a", a, "https://a.example.com", "acme", fault.Internal, ""},
		{"a prefix", a, "https://a.example.com", "a-1", fault.Internal, ""},
		{"a token of b", b, "https://b.example.com", "globex", fault.Internal, ""},
		{"a's token with b's key", b, "https://a.example.com", "acme", fault.Unauthenticated, "signature does not match"},
		{"b's token with a's key", a, "https://b.example.com", "globex", fault.Unauthenticated, "signature does not match"},
		{"b names a's workspace", b, "https://b.example.com", "acme", fault.Forbidden, "may not name the workspace"},
		{"b names a's prefix", b, "https://b.example.com", "a-1", fault.Forbidden, "may not name the workspace"},
		{"a names b's workspace", a, "https://a.example.com", "globex", fault.Forbidden, "may not name the workspace"},
		{"a names a pattern", a, "https://a.example.com", "*", fault.Forbidden, "may not name the workspace"},
		{"another case", a, "https://a.example.com", "ACME", fault.Forbidden, "may not name the workspace"},
		{"a longer name", a, "https://a.example.com", "acme2", fault.Forbidden, "may not name the workspace"},
		{"an unknown issuer", a, "https://c.example.com", "acme", fault.Unauthenticated, "not one of those that this API accepts"},
		{"an issuer with a slash", a, "https://a.example.com/", "acme", fault.Unauthenticated, "not one of those"},
		{"two issuers", a, []string{"https://a.example.com", "https://b.example.com"}, "acme", fault.Unauthenticated, "not one of those"},
		{"no issuer", a, nil, "acme", fault.Unauthenticated, "not one of those"},
	} {
		caller, err := v.Caller(t.Context(), test.signer.sign(t, claims(test.issuer, test.workspace)))
		if test.kind != fault.Internal {
			code := "invalid_token"
			if test.kind == fault.Forbidden {
				code = "workspace_missing"
			}
			wantFault(t, err, test.kind, code, test.message)
			if strings.Contains(fmt.Sprint(err), "example.com") {
				t.Errorf("%s: the error names an issuer: %v", test.name, err)
			}
			continue
		}
		want := auth.Caller{Workspace: test.workspace, Scopes: []string{"syncs:read", "runs:execute"}}
		if diff := cmp.Diff(want, caller); diff != "" || err != nil {
			t.Errorf("%s: %v, %s", test.name, err, diff)
		}
	}

	// A second iss, a public key as a secret, and a token without a signature.
	payload := `{"iss":"https://a.example.com","iss":"https://b.example.com","aud":"api","exp":1795550400,"workspace_id":"globex"}`
	for _, s := range []signer{a, b} {
		_, err := v.Caller(t.Context(), s.signRaw(t, map[string]any{"kid": "k"}, payload))
		wantFault(t, err, fault.Unauthenticated, "invalid_token", "")
	}
	public, err := json.Marshal(b.public())
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Caller(t.Context(), signer{"k", jose.HS256, public}.sign(t, claims("https://b.example.com", "globex")))
	wantFault(t, err, fault.Unauthenticated, "invalid_token", "must be signed with")
	token := a.sign(t, claims("https://a.example.com", "acme"))
	_, err = v.Caller(t.Context(), token[:strings.LastIndexByte(token, '.')+1])
	wantFault(t, err, fault.Unauthenticated, "invalid_token", "")
}

// TestExecuteAll checks that only an issuer that may name every workspace grants the
// scope that acts in all of them.
func TestExecuteAll(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	for name, test := range map[string]struct {
		edit func(*oidc.Config)
		all  bool
	}{
		"no limit":         {func(*oidc.Config) {}, true},
		"any":              {func(c *oidc.Config) { c.Workspaces = []string{"acme", "*"} }, true},
		"some":             {func(c *oidc.Config) { c.Workspaces = []string{"acme", "a*"} }, false},
		"one":              {func(c *oidc.Config) { c.Workspace = "acme" }, false},
		"one with a star":  {func(c *oidc.Config) { c.Workspace = "*" }, false},
		"a map":            {func(c *oidc.Config) { c.WorkspaceMap = map[string]string{"acme": "acme"} }, false},
		"a map to a star":  {func(c *oidc.Config) { c.WorkspaceMap = map[string]string{"acme": "*"} }, false},
		"a prefix, no map": {func(c *oidc.Config) { c.ScopePrefix, c.ScopeClaims = "p/", []string{"prefixed"} }, true},
		"a prefix, some": {func(c *oidc.Config) {
			c.ScopePrefix, c.ScopeClaims, c.Workspaces = "p/", []string{"prefixed"}, []string{"acme"}
		}, false},
	} {
		c := config()
		test.edit(&c)
		claims := good()
		claims["scope"], claims["prefixed"] = "syncs:read runs:execute:all", []string{"p/syncs:read", "p/runs:execute:all", "runs:execute:all"}
		got, err := oidc.New(c, oidc.Static(keySet(t, s.public())), at(start)).Caller(t.Context(), s.sign(t, claims))
		if err != nil || slices.Contains(got.Scopes, "runs:execute:all") != test.all || !slices.Contains(got.Scopes, "syncs:read") {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// TestSettings checks each setting for what differs between issuers.
func TestSettings(t *testing.T) {
	t.Parallel()
	testSettings(t, map[string]settingTest{
		"a scope with a space in an array": {nil, map[string]any{"scope": "", "scp": []string{"x syncs:write"}}, []string{"x syncs:write"}, ""},
		"another claim for the audience":   {func(c *oidc.Config) { c.AudienceClaim = "cid" }, map[string]any{"cid": audience}, []string{"syncs:read", "syncs:write"}, ""},
		"that without aud":                 {func(c *oidc.Config) { c.AudienceClaim = "cid" }, map[string]any{"cid": audience, "aud": nil}, []string{"syncs:read", "syncs:write"}, ""},
		"that with another aud":            {func(c *oidc.Config) { c.AudienceClaim = "cid" }, map[string]any{"cid": audience, "aud": "other"}, nil, "claim aud must be syncplane, or absent"},
		"that with no aud in the array":    {func(c *oidc.Config) { c.AudienceClaim = "cid" }, map[string]any{"cid": audience, "aud": []string{}}, []string{"syncs:read", "syncs:write"}, ""},
		"that with a malformed aud":        {func(c *oidc.Config) { c.AudienceClaim = "cid" }, map[string]any{"cid": audience, "aud": 5}, nil, "malformed"},
		"that without the claim":           {func(c *oidc.Config) { c.AudienceClaim = "cid" }, nil, nil, "audience must be syncplane"},
		"several audiences":                {func(c *oidc.Config) { c.Audiences = []string{"a", audience} }, nil, []string{"syncs:read", "syncs:write"}, ""},
		"none of them":                     {func(c *oidc.Config) { c.Audiences = []string{"a", "b"} }, nil, nil, "audience must be a or b"},
		"another claim for scopes":         {func(c *oidc.Config) { c.ScopeClaims = []string{"permissions"} }, map[string]any{"permissions": []string{"syncs:read"}}, []string{"syncs:read"}, ""},
		"that as a string":                 {func(c *oidc.Config) { c.ScopeClaims = []string{"roles"} }, map[string]any{"roles": "syncs:read runs:execute"}, []string{"syncs:read", "runs:execute"}, ""},
		"that is absent":                   {func(c *oidc.Config) { c.ScopeClaims = []string{"roles"} }, nil, nil, ""},
		"that as an object":                {func(c *oidc.Config) { c.ScopeClaims = []string{"roles"} }, map[string]any{"roles": map[string]any{}}, nil, "malformed"},
		"scope as an array":                {nil, map[string]any{"scope": []string{"syncs:read"}}, nil, "malformed"},
		"a prefix":                         {func(c *oidc.Config) { c.ScopePrefix = "api://x/" }, map[string]any{"scope": "api://x/syncs:read syncs:write api://y/runs:execute"}, []string{"syncs:read"}, ""},
		"fixed scopes":                     {func(c *oidc.Config) { c.GrantScopes = []string{"syncs:read"} }, nil, []string{"syncs:read"}, ""},
		"a required claim":                 {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"hd": {"a", "b"}} }, map[string]any{"hd": "b"}, []string{"syncs:read", "syncs:write"}, ""},
		"that in an array":                 {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"hd": {"a", "b"}} }, map[string]any{"hd": []string{"x", "b"}}, []string{"syncs:read", "syncs:write"}, ""},
		"that of another value":            {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"hd": {"a", "b"}} }, map[string]any{"hd": "c"}, nil, "lacks a claim"},
		"that of another type":             {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"hd": {"*"}} }, map[string]any{"hd": 5}, nil, "lacks a claim"},
		"one of two":                       {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"hd": {"*"}, "x": {"*"}} }, map[string]any{"hd": "c"}, nil, "lacks a claim"},
		"a token for access":               {nil, map[string]any{"token_use": "access"}, []string{"syncs:read", "syncs:write"}, ""},
		"an ID token":                      {nil, map[string]any{"token_use": "id"}, nil, "must be an access token"},
		"a use of another type":            {nil, map[string]any{"token_use": 5}, nil, "must be an access token"},
		"an ID token with a hash":          {nil, map[string]any{"at_hash": "x"}, nil, "must be an access token"},
		"an ID token with a code":          {nil, map[string]any{"c_hash": "x"}, nil, "must be an access token"},
		"the fixed workspace":              {func(c *oidc.Config) { c.Workspace, c.WorkspaceClaim = "acme", "" }, map[string]any{"workspace_id": "globex"}, []string{"syncs:read", "syncs:write"}, ""},
		"a mapped workspace":               {func(c *oidc.Config) { c.WorkspaceMap = map[string]string{"tenant 1": "acme"} }, map[string]any{"workspace_id": "tenant 1"}, []string{"syncs:read", "syncs:write"}, ""},
		"a value that is a workspace":      {func(c *oidc.Config) { c.WorkspaceMap = map[string]string{"tenant 1": "acme"} }, map[string]any{"workspace_id": "acme"}, nil, "belongs to no workspace"},
		"a value of another type":          {func(c *oidc.Config) { c.WorkspaceMap = map[string]string{"5": "acme"} }, map[string]any{"workspace_id": 5}, nil, "belongs to no workspace"},
	})
}

// TestNestedClaims checks the settings that name a claim with a JSON Pointer, and that
// a name with dots or slashes is the name of a member of the payload.
func TestNestedClaims(t *testing.T) {
	t.Parallel()
	testSettings(t, map[string]settingTest{
		"a nested claim for scopes": {func(c *oidc.Config) { c.ScopeClaims = []string{"/realm_access/roles"} }, map[string]any{
			"realm_access": map[string]any{"other": 5, "roles": []string{"syncs:read", "admin"}}, "roles": []string{"syncs:write"},
		}, []string{"syncs:read", "admin"}, ""},
		"that with characters of the notation": {func(c *oidc.Config) { c.ScopeClaims = []string{"/https:~1~1x.example.com~1a~01/ro.les"} }, map[string]any{
			"https://x.example.com/a~1": map[string]any{"ro.les": "syncs:read"},
		}, []string{"syncs:read"}, ""},
		"several, in the order of the payload": {func(c *oidc.Config) {
			c.ScopeClaims = []string{"/resource_access/syncplane/roles", "scope", "/realm_access/roles", "/resource_access/other/roles"}
		}, map[string]any{
			"realm_access": map[string]any{"roles": []string{"a"}}, "scope": "syncs:read",
			"resource_access": map[string]any{"syncplane": map[string]any{"roles": []string{"b"}}, "x": map[string]any{"roles": []string{"c"}}},
		}, []string{"a", "b", "syncs:read"}, ""},
		"a nested claim with a prefix": {func(c *oidc.Config) { c.ScopeClaims, c.ScopePrefix = []string{"/a/b"}, "p/" }, map[string]any{
			"a": map[string]any{"b": []string{"p/syncs:read", "syncs:write"}},
		}, []string{"syncs:read"}, ""},
		"that of another type":      {func(c *oidc.Config) { c.ScopeClaims = []string{"/a/b"} }, map[string]any{"a": map[string]any{"b": 5}}, nil, "malformed"},
		"that in a text":            {func(c *oidc.Config) { c.ScopeClaims = []string{"/a/b"} }, map[string]any{"a": "b"}, nil, ""},
		"that in an array":          {func(c *oidc.Config) { c.ScopeClaims = []string{"/a/0"} }, map[string]any{"a": []string{"syncs:read"}}, nil, ""},
		"that in an object below":   {func(c *oidc.Config) { c.ScopeClaims = []string{"/a/b"} }, map[string]any{"a": map[string]any{"a": map[string]any{"b": "syncs:read"}}}, nil, ""},
		"a pointer as a name":       {func(c *oidc.Config) { c.ScopeClaims = []string{"/a/b"} }, map[string]any{"/a/b": "syncs:read", "a/b": "syncs:read"}, nil, ""},
		"a pointer to a claim":      {func(c *oidc.Config) { c.ScopeClaims = []string{"/roles"} }, map[string]any{"roles": "syncs:read", "/roles": "syncs:write"}, []string{"syncs:read"}, ""},
		"a name with a first slash": {func(c *oidc.Config) { c.ScopeClaims = []string{"/~1roles"} }, map[string]any{"/roles": "syncs:read", "roles": "syncs:write"}, []string{"syncs:read"}, ""},
		"a name with dots":          {func(c *oidc.Config) { c.ScopeClaims = []string{"a.b"} }, map[string]any{"a.b": "syncs:read", "a": map[string]any{"b": "syncs:write"}}, []string{"syncs:read"}, ""},
		"a name that is an address": {func(c *oidc.Config) { c.ScopeClaims = []string{"https://x.example.com/roles"} }, map[string]any{
			"https://x.example.com/roles": []string{"syncs:read"},
		}, []string{"syncs:read"}, ""},
		"a nested audience":                      {func(c *oidc.Config) { c.AudienceClaim = "/app/aud" }, map[string]any{"app": map[string]any{"aud": []string{audience}}, "aud": nil}, []string{"syncs:read", "syncs:write"}, ""},
		"that with another top-level aud":        {func(c *oidc.Config) { c.AudienceClaim = "/app/aud" }, map[string]any{"app": map[string]any{"aud": audience}, "aud": "other"}, nil, "claim aud must be syncplane, or absent"},
		"that which is absent":                   {func(c *oidc.Config) { c.AudienceClaim = "/app/aud" }, map[string]any{"app": map[string]any{}}, nil, "audience must be syncplane"},
		"a nested claim that is required":        {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"/a/b": {"c"}} }, map[string]any{"a": map[string]any{"b": []string{"x", "c"}}}, []string{"syncs:read", "syncs:write"}, ""},
		"that with another value":                {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"/a/b": {"c"}} }, map[string]any{"a": map[string]any{"b": "d"}}, nil, "lacks a claim"},
		"that in the name":                       {func(c *oidc.Config) { c.RequiredClaims = map[string][]string{"/a/b": {"c"}} }, map[string]any{"/a/b": "c"}, nil, "lacks a claim"},
		"a nested workspace":                     {func(c *oidc.Config) { c.WorkspaceClaim = "/tenant/id" }, map[string]any{"tenant": map[string]any{"id": "acme"}, "workspace_id": "globex"}, []string{"syncs:read", "syncs:write"}, ""},
		"that of a type that is no text":         {func(c *oidc.Config) { c.WorkspaceClaim = "/tenant/id" }, map[string]any{"tenant": map[string]any{"id": []string{"acme"}}}, nil, "the token's claim /tenant/id must be a string"},
		"that in a map":                          {func(c *oidc.Config) { c.WorkspaceClaim, c.WorkspaceMap = "/tenant/id", map[string]string{"1": "acme"} }, map[string]any{"tenant": map[string]any{"id": "1"}}, []string{"syncs:read", "syncs:write"}, ""},
		"a registered claim below another":       {nil, map[string]any{"nested": map[string]any{"iss": "x", "exp": "y", "aud": 5, "token_use": "id", "at_hash": "x"}}, []string{"syncs:read", "syncs:write"}, ""},
		"a pointer to a registered claim":        {func(c *oidc.Config) { c.WorkspaceClaim, c.WorkspaceMap = "/sub", map[string]string{"ci": "acme"} }, nil, []string{"syncs:read", "syncs:write"}, ""},
		"a nested claim with the name of a type": {func(c *oidc.Config) { c.ScopeClaims = []string{"/a/scope"} }, map[string]any{"a": map[string]any{"scope": []string{"syncs:read"}}}, []string{"syncs:read"}, ""},
	})
}

// settingTest is a Config and a good token with changes, and the scopes of its caller
// or the message of the fault.
type settingTest struct {
	edit    func(*oidc.Config)
	claims  map[string]any // nil removes a claim
	scopes  []string
	message string
}

func testSettings(t *testing.T, tests map[string]settingTest) {
	t.Helper()
	s := newSigner(t, "k", jose.ES256)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config()
			if test.edit != nil {
				test.edit(&c)
			}
			claims := good()
			maps.Copy(claims, test.claims)
			maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
			v := oidc.New(c, oidc.Static(keySet(t, s.public())), at(start))
			for range 2 { // the second time from the cache
				got, err := v.Caller(t.Context(), s.sign(t, claims))
				if test.message != "" {
					if !strings.Contains(fmt.Sprint(err), test.message) {
						t.Errorf("got %+v, %v, want %q", got, err, test.message)
					}
					continue
				}
				want := auth.Caller{Workspace: "acme", Subject: "ci", Scopes: test.scopes}
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("%v, %s", err, diff)
				}
			}
		})
	}
}

// TestFailingIssuer checks that an issuer that does not respond affects its own tokens
// only, and that only its tokens cause a fetch of its keys.
func TestFailingIssuer(t *testing.T) {
	t.Parallel()
	a, b := newSigner(t, "a", jose.ES256), newSigner(t, "b", jose.ES256)
	up, down := newFakeIssuer(t, keySet(t, a.public())), newFakeIssuer(t, nil)
	down.set(500, nil)
	v := oidc.NewIssuers([]oidc.Config{
		{Issuer: up.URL, Audiences: []string{audience}},
		{Issuer: "b", JWKSURL: down.URL, Audiences: []string{audience}, Workspaces: []string{"b"}},
	}, at(start))
	if err := v.Warm(t.Context()); !strings.Contains(fmt.Sprint(err), "status 500") {
		t.Errorf("got %v", err)
	}
	claims := good()
	claims["iss"] = up.URL
	if _, err := v.Caller(t.Context(), a.sign(t, claims)); err != nil {
		t.Error(err)
	}
	claims["iss"] = "b"
	_, err := v.Caller(t.Context(), b.sign(t, claims))
	wantFault(t, err, fault.Unavailable, "issuer_unavailable", "")
	before := [2]int32{up.requests.Load(), down.requests.Load()}
	claims["iss"] = "https://c.example.com"
	for range 3 {
		_, err := v.Caller(t.Context(), b.sign(t, claims))
		wantFault(t, err, fault.Unauthenticated, "invalid_token", "")
	}
	if after := [2]int32{up.requests.Load(), down.requests.Load()}; before != after {
		t.Errorf("a token of an unknown issuer caused a fetch: %v, %v", before, after)
	}
}

// TestWarmInParallel checks that the keys of all issuers are fetched concurrently.
func TestWarmInParallel(t *testing.T) {
	t.Parallel()
	var waiting atomic.Int32
	release := make(chan struct{})
	source := func(context.Context) ([]byte, error) {
		if waiting.Add(1) == 3 {
			close(release)
		}
		<-release
		return nil, errors.New("no keys")
	}
	v := oidc.NewSources(at(start), source, source, source)
	if err := v.Warm(t.Context()); err == nil {
		t.Error("no error")
	}
}

func TestParseConfigs(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.ES256)
	keys := string(keySet(t, s.public()))
	text := `[{"issuer":"https://a.example.com","audience":["x","y"],"audience_claim":"cid","scope_claims":"roles","scope_prefix":"p/",
		"workspace_claim":"w","workspaces":["a","b-*"],"required_claims":{"c":"d","e":["f","*"]},"jwks":` + keys + `},
		{"issuer":"b","audience":"x","jwks_url":"https://b.example.com/k","grant_scopes":["syncs:read"],"workspace":"a","shares_workspaces":true},
		{"issuer":"https://c.example.com","audience":"x","workspace_map":{"1":"c","2":"d"},"shares_workspaces":false}]`
	got, err := oidc.ParseConfigs("X", text)
	want := []oidc.Config{
		{
			Issuer: "https://a.example.com", Audiences: []string{"x", "y"}, AudienceClaim: "cid", ScopeClaims: []string{"roles"}, ScopePrefix: "p/",
			WorkspaceClaim: "w", Workspaces: []string{"a", "b-*"}, RequiredClaims: map[string][]string{"c": {"d"}, "e": {"f", "*"}}, JWKS: keys,
		},
		{Issuer: "b", Audiences: []string{"x"}, JWKSURL: "https://b.example.com/k", GrantScopes: []string{"syncs:read"}, Workspace: "a", SharesWorkspaces: true},
		{Issuer: "https://c.example.com", Audiences: []string{"x"}, WorkspaceMap: map[string]string{"1": "c", "2": "d"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}

	const one = `"issuer":"https://a.example.com","audience":"x"`
	for text, want := range map[string][]string{
		"":                                {"X must be a JSON array of issuers"},
		"x":                               {"X must be a JSON array of issuers"},
		"[":                               {"X must be a JSON array of issuers"},
		"{}":                              {"X must be one JSON array of one issuer or more"},
		"[]":                              {"X must be one JSON array of one issuer or more"},
		"[{" + one + "}] 5":               {"X must be one JSON array"},
		"[{" + one + `,"issuer":"b"}]`:    {"X must be a JSON array of issuers: ", "duplicate"},
		"[5]":                             {"X[0] must be an object, got 5"},
		"[{}]":                            {"X[0].issuer is missing", "X[0].audience is missing"},
		`[{"issuer":"a","audience":"x"}]`: {`X[0].issuer must be an http or https address, got "a"`},
		`[{"Issuer":"https://a.example.com","audience":"x"}]`:        {`X[0] has the unknown member "Issuer"; the members are issuer, `, "X[0].issuer is missing"},
		`[{"issuer":"","audience":""}]`:                              {"X[0].issuer must be a string that is not empty", "X[0].audience must be a string or an array"},
		`[{"issuer":5,"audience":[]}]`:                               {"X[0].issuer must be a string that is not empty, got 5", "X[0].audience must be a string or an array"},
		"[{" + one + `,"scope_claims":["a","a"]}]`:                   {`X[0].scope_claims has "a" twice`},
		"[{" + one + `,"scope_claims":[5]}]`:                         {"X[0].scope_claims must be a string or an array"},
		"[{" + one + `,"grant_scopes":["syncs:reed"]}]`:              {`X[0].grant_scopes must be some of [syncs:read`},
		"[{" + one + `,"jwks":{"keys":[]}}]`:                         {"X[0].jwks must be a JSON Web Key Set"},
		"[{" + one + `,"jwks":"` + "x" + `"}]`:                       {"X[0].jwks must be a JSON Web Key Set"},
		"[{" + one + `,"jwks_url":"ftp://x"}]`:                       {`X[0].jwks_url must be an http or https address, got "ftp://x"`},
		"[{" + one + `,"jwks_url":"https://x","jwks":` + keys + `}]`: {"X[0].jwks and jwks_url exclude each other"},
		"[{" + one + `,"workspace":"a b"}]`:                          {"X[0].workspace must name a workspace"},
		"[{" + one + `,"workspace":"*"}]`:                            {"X[0].workspace must name a workspace"},
		"[{" + one + `,"workspaces":["a*b"]}]`:                       {"X[0].workspaces must name a workspace"},
		"[{" + one + `,"workspaces":["**"]}]`:                        {"X[0].workspaces must name a workspace"},
		"[{" + one + `,"workspaces":["a#b*"]}]`:                      {"X[0].workspaces must name a workspace"},
		"[{" + one + `,"workspace_map":{}}]`:                         {"X[0].workspace_map must be an object of one member or more"},
		"[{" + one + `,"workspace_map":{"":"a"}}]`:                   {"X[0].workspace_map must be an object of one member or more"},
		"[{" + one + `,"workspace_map":{"a":"*"}}]`:                  {"X[0].workspace_map must name a workspace"},
		"[{" + one + `,"workspace_map":["a"]}]`:                      {"X[0].workspace_map must be an object"},
		"[{" + one + `,"required_claims":{"a":5}}]`:                  {"X[0].required_claims must be a string or an array"},
		"[{" + one + `,"scope_claims":["/realm_access/roles","https://a/b.c","/~1a~0b"],"workspace_claim":"/a","audience_claim":"/a/b","required_claims":{"/a/b":"c"}}]`: nil,
		"[{" + one + `,"scope_claims":["/a/","x"]}]`:      {`X[0].scope_claims must be the name of a claim, or a JSON Pointer such as /realm_access/roles to a nested one, in which ~1 stands for / and ~0 for ~, got "/a/"`},
		"[{" + one + `,"scope_claims":"/"}]`:              {`X[0].scope_claims must be the name of a claim, or a JSON Pointer`},
		"[{" + one + `,"workspace_claim":"//a"}]`:         {`X[0].workspace_claim must be the name of a claim, or a JSON Pointer`},
		"[{" + one + `,"audience_claim":"/a~"}]`:          {`X[0].audience_claim must be the name of a claim, or a JSON Pointer`},
		"[{" + one + `,"required_claims":{"/a/~2":"b"}}]`: {`X[0].required_claims must be the name of a claim, or a JSON Pointer`},
		"[{" + one + `,"shares_workspaces":1}]`:           {"X[0].shares_workspaces must be true or false, got 1"},
		"[{" + one + `,"workspace":"a","workspaces":["b"],"workspace_claim":"c","workspace_map":{"a":"b"}}]`: {
			"X[0].workspace and workspace_claim exclude", "X[0].workspace and workspace_map exclude", "X[0].workspace and workspaces exclude", "X[0].workspace_map and workspaces exclude",
		},
		"[{" + one + `,"grant_scopes":["syncs:read"],"scope_prefix":"x","scope_claims":"y"}]`: {"grant_scopes and scope_claims exclude", "grant_scopes and scope_prefix exclude"},
		"[{" + one + `,"grant_scopes":["runs:execute:all"],"workspace":"a"}]`:                 {"X[0].grant_scopes must not have runs:execute:all"},
		"[{" + one + `},{"issuer":"https://b.example.com","audience":"x"}]`:                   {"X[0].workspaces is missing", "X[1].workspaces is missing"},
		"[{" + one + `,"workspaces":["a"]},{` + one + `,"workspaces":["b"]}]`:                 {"X[1].issuer is that of [0] too"},
		"[{" + one + `,"workspaces":["a","b-*"]},{"issuer":"https://b.example.com","audience":"x","workspace":"b-1"}]`: {
			"X[1].workspaces must have no workspace of another issuer unless one of the two has shares_workspaces; b-1 is in b-* of [0]",
		},
		"[{" + one + `,"workspaces":["a"]},{"issuer":"https://b.example.com","audience":"x","workspaces":["*"]}]`:                          {"X[1].workspaces must have no workspace"},
		"[{" + one + `,"workspaces":["ab-*"]},{"issuer":"https://b.example.com","audience":"x","workspaces":["a*"]}]`:                      {"X[1].workspaces must have no workspace"},
		"[{" + one + `,"workspaces":["ab"]},{"issuer":"https://b.example.com","audience":"x","workspace_map":{"1":"ab"}}]`:                 {"X[1].workspaces must have no workspace"},
		"[{" + one + `,"workspaces":["a"]},{"issuer":"https://b.example.com","audience":"x","workspaces":["A","ab","a-*"]}]`:               nil,
		"[{" + one + `,"workspaces":["*"],"shares_workspaces":true},{"issuer":"https://b.example.com","audience":"x","workspaces":["a"]}]`: nil,
		"[{" + one + `,"workspaces":["*"],"grant_scopes":["runs:execute:all"]}]`:                                                           nil,
	} {
		_, err := oidc.ParseConfigs("X", text)
		if (err == nil) != (want == nil) {
			t.Errorf("%s: got %v", text, err)
			continue
		}
		for _, part := range want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: got %v, want %q", text, err, part)
			}
		}
		if err != nil && !strings.Contains(err.Error(), "JSON array") && strings.Count(err.Error(), "\n")+1 != len(want) {
			t.Errorf("%s: got %v, want %d faults", text, err, len(want))
		}
	}
}

// FuzzParseConfigs checks that a list which is accepted has issuers with an audience,
// and that no two of them have a workspace in common by accident.
func FuzzParseConfigs(f *testing.F) {
	f.Add(`[{"issuer":"https://a.example.com","audience":"x","workspaces":["a-*"]},{"issuer":"https://b.example.com","audience":"x","workspace":"b"}]`, "a-1")
	f.Fuzz(func(t *testing.T, text, workspace string) {
		list, err := oidc.ParseConfigs("X", text)
		if err != nil {
			return
		}
		able, shared := 0, false
		for _, c := range list {
			if c.Issuer == "" || len(c.Audiences) == 0 {
				t.Errorf("%s: accepted as %+v", text, list)
			}
			shared = shared || c.SharesWorkspaces
			if oidc.MayName(c, workspace) {
				able++
			}
		}
		if able > 1 && !shared {
			t.Errorf("%s: %d issuers may name %q", text, able, workspace)
		}
	})
}

// BenchmarkIssuers measures a cached token with five issuers.
func BenchmarkIssuers(b *testing.B) {
	s := newSigner(b, "k", jose.ES256)
	var list []oidc.Config
	for i := range 5 {
		c := config()
		c.Issuer, c.JWKS, c.Workspaces = fmt.Sprintf("%s%d", issuer, i), string(keySet(b, s.public())), []string{fmt.Sprint(i)}
		list = append(list, c)
	}
	v := oidc.NewIssuers(list, at(start))
	claims := good()
	claims["iss"], claims["workspace_id"] = issuer+"4", "4"
	header := s.sign(b, claims)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Caller(b.Context(), header); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPointers checks with random names that a JSON Pointer finds the claim at its path,
// and that a name which is no pointer finds the member of that name.
func TestPointers(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k", jose.EdDSA)
	keys := oidc.Static(keySet(t, s.public()))
	part := rapid.StringMatching(`[a-z/~.01" \\é]{1,6}`)
	rapid.Check(t, func(r *rapid.T) {
		path := rapid.SliceOfN(part, 1, 4).Draw(r, "path")
		path[0] = rapid.SampledFrom([]string{"z", "/z", "~z"}).Draw(r, "first") + path[0] // no registered claim
		var pointer jsontext.Pointer
		for _, name := range path {
			pointer = pointer.AppendToken(name)
		}
		var value any = []string{"syncs:read"}
		for i := len(path) - 1; i > 0; i-- {
			value = map[string]any{path[i]: value, "x" + path[i]: map[string]any{path[i]: "runs:execute"}}
		}
		claims := good()
		delete(claims, "scope")
		claims[string(pointer)] = "syncs:write" // its name is the pointer
		claims[path[0]] = value
		name, want := string(pointer), []string{"syncs:read"}
		if rapid.Bool().Draw(r, "a name") && !strings.HasPrefix(path[0], "/") {
			claims[path[0]], name = []string{"syncs:read"}, path[0]
		}
		c := config()
		c.ScopeClaims = []string{name}
		if err := oidc.CheckClaim(name); err != nil {
			r.Fatal(err)
		}
		got, err := oidc.New(c, keys, at(start)).Caller(t.Context(), s.sign(t, claims))
		if err != nil || !slices.Equal(got.Scopes, want) {
			r.Errorf("%q in %v: got %v, %v", name, claims, got.Scopes, err)
		}
	})
}
