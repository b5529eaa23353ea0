// Package oidc authenticates the caller of a request by its header "Authorization:
// Bearer …": it verifies JWTs with the keys of their OpenID Connect issuer, of one
// issuer or several. It knows RFC 6750 (bearer tokens), JWT and JWKS. It does not know
// routes, permissions or Lambda.
package oidc

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync"
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

// Verifier authenticates callers by JWT of one issuer or several.
type Verifier struct {
	issuers []*issuer
	now     func() time.Time
	pool    jsonpool.Pool
}

// issuer is an issuer whose tokens are accepted. It caches its keys and the tokens
// that they have verified, so that no key or token of it counts for another issuer.
type issuer struct {
	config Config
	nested map[string][]nestedClaim // those of config
	keys   *keyring
	cache  tokenCache
}

// New returns a Verifier of the tokens of one issuer, whose keys it reads from source.
func New(config Config, source KeySource, now func() time.Time) *Verifier {
	v := &Verifier{now: now}
	v.add(config, source)
	return v
}

// NewIssuers returns a Verifier of the tokens of several issuers. It reads their keys
// from where configs has them.
func NewIssuers(configs []Config, now func() time.Time) *Verifier {
	v := &Verifier{now: now}
	for _, config := range configs {
		v.add(config, config.source())
	}
	return v
}

func (v *Verifier) add(config Config, source KeySource) {
	complete := config.complete()
	v.issuers = append(v.issuers, &issuer{config: complete, nested: complete.nested(), keys: newKeyring(source, v.now)})
}

// Warm fetches the keys of all issuers, so that the first request does not have to.
func (v *Verifier) Warm(ctx context.Context) error {
	errs := make([]error, len(v.issuers))
	var fetching sync.WaitGroup
	for i, issuer := range v.issuers {
		fetching.Go(func() { errs[i] = issuer.keys.warm(ctx) })
	}
	fetching.Wait()
	return errors.Join(errs...)
}

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

// Caller returns the caller that the header authenticates. Before the signature is
// verified, it evaluates no claim but the issuer, which decides whose keys are tried.
func (v *Verifier) Caller(ctx context.Context, authorization string) (auth.Caller, error) {
	text, err := tokenOf(authorization)
	if err != nil {
		return auth.Caller{}, err
	}
	token, err := v.parse(text)
	if err != nil {
		return auth.Caller{}, err
	}
	from, err := v.issuerOf(token)
	if err != nil {
		return auth.Caller{}, err
	}
	candidates, fetched, err := from.keys.find(ctx, token.header)
	if err != nil {
		return auth.Caller{}, err
	}
	digest := sha256.Sum256([]byte(text))
	verified, ok := from.cache.get(digest, fetched)
	if !ok {
		if !slices.ContainsFunc(candidates, token.verify) {
			return auth.Caller{}, invalid("the token's signature does not match")
		}
		if verified, ok = v.readClaims(token.payload, from); !ok {
			return auth.Caller{}, invalid("the token's claims are malformed")
		}
		from.cache.put(digest, fetched, verified)
	}
	return from.config.caller(verified, v.now())
}

// issuerOf returns the issuer whose keys must have signed a token. With several
// issuers, it is the one that the unverified payload names; caller compares the name
// again after the verification. The error does not list the issuers, which may be
// those of other workspaces.
func (v *Verifier) issuerOf(t token) (*issuer, error) {
	if len(v.issuers) == 1 {
		return v.issuers[0], nil
	}
	name := v.readIssuer(t.payload)
	for _, issuer := range v.issuers {
		if issuer.config.Issuer == name {
			return issuer, nil
		}
	}
	return nil, invalid("the token's issuer is not one of those that this API accepts")
}

// caller compares the claims of a verified token with the Config and the time.
func (c *Config) caller(token claims, now time.Time) (auth.Caller, error) {
	refuse := func(format string, args ...any) (auth.Caller, error) {
		return auth.Caller{}, invalid(format, args...)
	}
	switch {
	case token.issuer != c.Issuer:
		return refuse("the token's issuer must be %s", c.Issuer)
	case !c.isAudience(token.audience):
		return refuse("the token's audience must be %s", c.audience())
	case token.aud != nil && !c.isAudience(token.aud):
		return refuse("the token's claim aud must be %s, or absent", c.audience())
	case token.other:
		return refuse("the token must be an access token, not an ID token or a refresh token")
	case token.matched != len(c.RequiredClaims):
		return refuse("the token lacks a claim that is required of its issuer, or has another value in it")
	case token.expiry.IsZero():
		return refuse("the token has no exp claim, so it would never expire")
	case !now.Before(token.expiry):
		return refuse("the token expired at %s", stamp(token.expiry))
	case now.Add(leeway).Before(token.notBefore):
		return refuse("the token is not valid before %s", stamp(token.notBefore))
	case now.Add(leeway).Before(token.issuedAt):
		return refuse("the token was issued in the future, at %s", stamp(token.issuedAt))
	}
	workspace, err := c.workspace(token)
	if err != nil {
		return auth.Caller{}, err
	}
	return auth.Caller{Workspace: workspace, Subject: token.subject, Scopes: token.scopes}, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// invalid returns the error for an invalid token. The message is sent to the client
// and must not contain any part of the token.
func invalid(format string, args ...any) error {
	return fault.New(fault.Unauthenticated, "invalid_token", format, args...)
}
