package oidc

import (
	"context"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"syncplane/pkg/fault"
)

// When keys are fetched. Our own choices.
const (
	maxAge       = time.Hour       // keys are fetched again after this, so that a revoked key is dropped
	staleAge     = 24 * time.Hour  // keys are used for this long while the issuer does not respond
	refetchAfter = time.Minute     // the shortest time between two fetches for an unknown key ID
	retryAfter   = time.Second     // the shortest time between two fetches while there are no keys
	clientRetry  = 5 * time.Second // the Retry-After of a fault.Unavailable
)

// key is a public key that can verify tokens.
type key struct {
	id      string
	named   bool                         // it has an ID, which may be ""
	methods map[string]jwt.SigningMethod // the algorithms that it may be used with, by name
	public  any
}

// keyring caches the keys of an issuer. It has no goroutine of its own, which
// Lambda would freeze between requests: the request that needs keys fetches them.
type keyring struct {
	source KeySource
	now    func() time.Time

	mutex   chan struct{} // guards the following fields; a channel, so that a context can end the wait
	keys    []key
	fetched time.Time // when keys were last fetched successfully
	tried   time.Time // when the last fetch started
	failure error     // the error of the last fetch
}

func newKeyring(source KeySource, now func() time.Time) *keyring {
	return &keyring{source: source, now: now, mutex: make(chan struct{}, 1)}
}

func (r *keyring) warm(ctx context.Context) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	r.fetch(ctx)
	return r.failure
}

func (r *keyring) lock(ctx context.Context) error {
	select {
	case r.mutex <- struct{}{}:
		return nil
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
}

func (r *keyring) unlock() { <-r.mutex }

// find returns the keys that may have signed a token with header h, and when they
// were fetched. It fetches the keys again if none matches. If that fails it returns
// a fault.Unavailable, since the token may be valid.
func (r *keyring) find(ctx context.Context, h header) ([]key, time.Time, error) {
	if err := r.lock(ctx); err != nil {
		return nil, time.Time{}, err
	}
	defer r.unlock()
	now := r.now()
	candidates := r.candidates(h)
	wait := refetchAfter
	if len(r.keys) == 0 {
		wait = retryAfter
	}
	if (len(candidates) == 0 || now.Sub(r.fetched) >= maxAge) && (r.tried.IsZero() || now.Sub(r.tried) >= wait) {
		r.fetch(ctx)
		candidates = r.candidates(h)
	}
	if now.Sub(r.fetched) >= staleAge {
		candidates = nil
	}
	if len(candidates) == 0 && r.failure != nil {
		return nil, time.Time{}, unavailable(r.failure)
	}
	var matching []key
	for _, k := range candidates {
		if _, ok := k.methods[h.algorithm]; ok {
			matching = append(matching, k)
		}
	}
	if len(matching) == 0 {
		return nil, time.Time{}, invalid("the token's signing key is not one of its issuer's keys")
	}
	return matching, r.fetched, nil
}

// candidates returns the keys with the key ID in h, of which an issuer may have
// several (RFC 7517, section 4.5). A token may leave the ID out if the issuer has
// only one key (OpenID Connect Core 1.0, section 10.1).
func (r *keyring) candidates(h header) []key {
	if !h.named {
		if len(r.keys) == 1 {
			return r.keys
		}
		return nil
	}
	var found []key
	for _, k := range r.keys {
		if k.named && k.id == h.keyID {
			found = append(found, k)
		}
	}
	return found
}

// fetch fetches the keys. It continues after ctx is cancelled, since other requests
// wait for the result. If it fails, the present keys stay.
func (r *keyring) fetch(ctx context.Context) {
	r.tried = r.now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	text, err := r.source(ctx)
	if err == nil {
		var keys []key
		if keys, err = parseKeys(text); err == nil {
			r.keys, r.fetched = keys, r.tried
		}
	}
	r.failure = err
}

func unavailable(err error) error {
	unavailable := fault.New(fault.Unavailable, "issuer_unavailable", "the token cannot be verified now, as its issuer does not respond; please try again")
	unavailable.RetryAfter, unavailable.Err = clientRetry, err
	return unavailable
}
