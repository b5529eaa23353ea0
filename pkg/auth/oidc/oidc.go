// Package bearer turns "Authorization: Bearer …" into an access.Caller: it
// verifies JWTs against the keys of their issuer. It knows RFC 6750, JWT and
// JWKS, and neither routes nor Lambda.
package oidc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
)

// maxToken is the longest token read, in bytes. API Gateway's bound on all
// headers is 10,240.
const maxToken = 8 << 10

// leeway is how far the issuer's clock may be ahead of ours when it says that
// a token is valid from now on. There is none at the end of a token's life:
// how long it may be used is the issuer's word, and clients renew in time.
const leeway = 60 * time.Second

// Config is what a token must say of itself.
type Config struct {
	Issuer         string // iss, to the letter
	Audience       string // one of aud
	WorkspaceClaim string // the claim that names the workspace; its own name, dots and all
}

// Verifier verifies JWTs.
type Verifier struct {
	config Config
	keys   *keyring
	now    func() time.Time
	pool   jsonpool.Pool
	seen   seen
}

// New returns a Verifier that takes the issuer's keys from source.
func New(config Config, source KeySource, now func() time.Time) *Verifier {
	return &Verifier{config: config, keys: newKeyring(source, now), now: now}
}

// Warm fetches the keys, so that the first request need not.
func (v *Verifier) Warm(ctx context.Context) error { return v.keys.warm(ctx) }

// Authenticator is a function that tells who sends an Authorization header. It
// returns a fault.Unauthenticated for a token that proves nothing, and a
// fault.Unavailable where that cannot be decided now.
type Authenticator func(ctx context.Context, authorization string) (auth.Caller, error)

// ByPrefix has tokens that begin with prefix told by special, which is given the
// bare token, and all others by usual.
func ByPrefix(usual Authenticator, prefix string, special func(ctx context.Context, token string) (auth.Caller, error)) Authenticator {
	return func(ctx context.Context, authorization string) (auth.Caller, error) {
		if token, err := tokenOf(authorization); err == nil && strings.HasPrefix(token, prefix) {
			return special(ctx, token)
		}
		return usual(ctx, authorization)
	}
}

// tokenOf is the token in an Authorization header. A header without one is
// told apart from a token that is no good: RFC 6750 answers it differently.
func tokenOf(authorization string) (string, error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	token = strings.TrimSpace(token)
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", &fault.Error{
			Kind: fault.Unauthenticated, Code: "token_missing",
			Message: "a bearer token is required, in the header Authorization: Bearer <token>",
		}
	case len(token) > maxToken:
		return "", invalid("the token has more than %d bytes", maxToken)
	}
	return token, nil
}

// Caller returns who sent the header. Nothing that the token says is believed
// before its signature has been verified.
func (v *Verifier) Caller(ctx context.Context, authorization string) (auth.Caller, error) {
	text, err := tokenOf(authorization)
	if err != nil {
		return auth.Caller{}, err
	}
	token, err := v.parse(text)
	if err != nil {
		return auth.Caller{}, err
	}
	candidates, fetched, err := v.keys.find(ctx, token.header)
	if err != nil {
		return auth.Caller{}, err
	}
	print := sha256.Sum256([]byte(text))
	said, known := v.seen.find(print, fetched)
	if !known {
		if !slices.ContainsFunc(candidates, token.verify) {
			return auth.Caller{}, invalid("the token's signature does not match")
		}
		var ok bool
		if said, ok = v.readClaims(token.payload); !ok {
			return auth.Caller{}, invalid("the token's claims are malformed")
		}
		v.seen.keep(print, fetched, said)
	}
	return v.caller(said)
}

// caller holds what a genuine token says against what it must say.
func (v *Verifier) caller(said claims) (auth.Caller, error) {
	now := v.now()
	refuse := func(format string, args ...any) (auth.Caller, error) {
		return auth.Caller{}, invalid(format, args...)
	}
	switch {
	case said.issuer != v.config.Issuer:
		return refuse("the token's issuer must be %s", v.config.Issuer)
	case !slices.Contains(said.audience, v.config.Audience):
		return refuse("the token's audience must be %s", v.config.Audience)
	case said.expiry.IsZero():
		return refuse("the token has no exp claim, so it would never expire")
	case !now.Before(said.expiry):
		return refuse("the token expired at %s", stamp(said.expiry))
	case now.Add(leeway).Before(said.notBefore):
		return refuse("the token is not valid before %s", stamp(said.notBefore))
	case now.Add(leeway).Before(said.issuedAt):
		return refuse("the token was issued in the future, at %s", stamp(said.issuedAt))
	case said.workspace != nil && !auth.ValidWorkspace(*said.workspace):
		return auth.Caller{}, &fault.Error{
			Kind: fault.Forbidden, Code: "workspace_missing",
			Message: fmt.Sprintf("the token's claim %s must be a string of 1 to %d visible ASCII characters other than #", v.config.WorkspaceClaim, auth.MaxWorkspace),
		}
	}
	who := auth.Caller{Subject: said.subject, Scopes: said.scopes}
	if said.workspace != nil { // without one, package access lets nobody do anything
		who.Workspace = *said.workspace
	}
	return who, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// invalid is the fault of a token that is no good. The reason goes to the
// client, and never holds a part of the token.
func invalid(format string, args ...any) error {
	return &fault.Error{Kind: fault.Unauthenticated, Code: "invalid_token", Message: fmt.Sprintf(format, args...)}
}
