// Package oidc authenticates the caller of a request by its header
// "Authorization: Bearer …": it verifies JWTs with the keys of their OpenID Connect
// issuer. It knows RFC 6750 (bearer tokens), JWT and JWKS. It does not know routes,
// permissions or Lambda.
package oidc

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
)

// maxToken is the length of the longest token accepted, in bytes. API Gateway
// accepts 10,240 bytes for all headers together.
const maxToken = 8 << 10

// leeway is how far the issuer's clock may be ahead of ours where nbf or iat is
// compared. exp is compared without it: the issuer decides how long a token may be
// used, and clients renew tokens before they expire.
const leeway = 60 * time.Second

// Config holds the claims that a token must have.
type Config struct {
	Issuer         string // equal to iss, compared byte by byte
	Audience       string // one of aud
	WorkspaceClaim string // the name of the top-level claim that holds the workspace; dots are part of it
}

// Verifier authenticates callers by JWT. It caches the issuer's keys and the
// tokens that it has verified.
type Verifier struct {
	config Config
	keys   *keyring
	now    func() time.Time
	pool   jsonpool.Pool
	cache  tokenCache
}

// New returns a Verifier that reads the issuer's keys from source.
func New(config Config, source KeySource, now func() time.Time) *Verifier {
	return &Verifier{config: config, keys: newKeyring(source, now), now: now}
}

// Warm fetches the keys, so that the first request does not have to.
func (v *Verifier) Warm(ctx context.Context) error { return v.keys.warm(ctx) }

// Authenticator returns the caller that an Authorization header authenticates. It
// returns a fault.Unauthenticated for a missing or invalid token, and a
// fault.Unavailable if a token cannot be verified at the moment.
type Authenticator func(ctx context.Context, authorization string) (auth.Caller, error)

// ByPrefix returns an Authenticator that calls special with each token that starts
// with prefix, without the scheme, and usual with all other headers.
func ByPrefix(usual Authenticator, prefix string, special func(ctx context.Context, token string) (auth.Caller, error)) Authenticator {
	return func(ctx context.Context, authorization string) (auth.Caller, error) {
		if token, err := tokenOf(authorization); err == nil && strings.HasPrefix(token, prefix) {
			return special(ctx, token)
		}
		return usual(ctx, authorization)
	}
}

// tokenOf returns the token in an Authorization header. A header without a token
// has an error code of its own, as RFC 6750, section 3.1, answers it differently
// from an invalid token.
func tokenOf(authorization string) (string, error) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(authorization), " ")
	token = strings.TrimSpace(token)
	switch {
	case !strings.EqualFold(scheme, "Bearer") || token == "":
		return "", fault.New(fault.Unauthenticated, "token_missing", "a bearer token is required, in the header Authorization: Bearer <token>")
	case len(token) > maxToken:
		return "", invalid("the token has more than %d bytes", maxToken)
	}
	return token, nil
}

// Caller returns the caller that the header authenticates. It evaluates no claim
// before it has verified the signature.
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
	digest := sha256.Sum256([]byte(text))
	verified, ok := v.cache.get(digest, fetched)
	if !ok {
		if !slices.ContainsFunc(candidates, token.verify) {
			return auth.Caller{}, invalid("the token's signature does not match")
		}
		if verified, ok = v.readClaims(token.payload); !ok {
			return auth.Caller{}, invalid("the token's claims are malformed")
		}
		v.cache.put(digest, fetched, verified)
	}
	return v.caller(verified)
}

// caller compares the claims of a verified token with the Config and the time.
func (v *Verifier) caller(c claims) (auth.Caller, error) {
	now := v.now()
	refuse := func(format string, args ...any) (auth.Caller, error) {
		return auth.Caller{}, invalid(format, args...)
	}
	switch {
	case c.issuer != v.config.Issuer:
		return refuse("the token's issuer must be %s", v.config.Issuer)
	case !slices.Contains(c.audience, v.config.Audience):
		return refuse("the token's audience must be %s", v.config.Audience)
	case c.expiry.IsZero():
		return refuse("the token has no exp claim, so it would never expire")
	case !now.Before(c.expiry):
		return refuse("the token expired at %s", stamp(c.expiry))
	case now.Add(leeway).Before(c.notBefore):
		return refuse("the token is not valid before %s", stamp(c.notBefore))
	case now.Add(leeway).Before(c.issuedAt):
		return refuse("the token was issued in the future, at %s", stamp(c.issuedAt))
	case c.workspace != nil && !auth.ValidWorkspace(*c.workspace):
		return auth.Caller{}, fault.New(fault.Forbidden, "workspace_missing",
			"the token's claim %s must be a string of 1 to %d visible ASCII characters other than #", v.config.WorkspaceClaim, auth.MaxWorkspace)
	}
	who := auth.Caller{Subject: c.subject, Scopes: c.scopes}
	if c.workspace != nil { // package auth permits nothing to a caller without a workspace
		who.Workspace = *c.workspace
	}
	return who, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// invalid returns the error for an invalid token. The message is sent to the client
// and must not contain any part of the token.
func invalid(format string, args ...any) error {
	return fault.New(fault.Unauthenticated, "invalid_token", format, args...)
}
