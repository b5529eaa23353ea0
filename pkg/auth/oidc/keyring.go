package oidc

import (
	"context"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"syncplane/pkg/fault"
)

// When keys are fetched.
const (
	maxAge       = time.Hour       // a key that the issuer took back is gone after this
	staleAge     = 24 * time.Hour  // but an issuer that is down for a day stops nobody
	refetchAfter = time.Minute     // an unknown key ID makes us look again, this often at most
	retryAfter   = time.Second     // without any key we try again, this often at most
	comeBack     = 5 * time.Second // what a client is told
)

// key is a public key that can verify tokens.
type key struct {
	id      string
	named   bool                         // it has an ID, which may be ""
	methods map[string]jwt.SigningMethod // the algorithms that it may be used with
	public  any
}

// keyring holds the keys of an issuer. It has no goroutine of its own, which a
// Lambda would freeze: whoever needs keys fetches them.
type keyring struct {
	source KeySource
	now    func() time.Time

	turn    chan struct{} // holds one token: who has it may touch what follows
	keys    []key
	fetched time.Time // when keys came
	tried   time.Time // when they were last asked for
	failure error     // what came of that
}

func newKeyring(source KeySource, now func() time.Time) *keyring {
	return &keyring{source: source, now: now, turn: make(chan struct{}, 1)}
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
	case r.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return unavailable(context.Cause(ctx))
	}
}

func (r *keyring) unlock() { <-r.turn }

// find returns the keys that may have signed a token, and when they came. Where
// there is none it looks again, and where it cannot look it says so: a key that
// we cannot see is no proof against a token.
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
	var fitting []key
	for _, k := range candidates {
		if _, ok := k.methods[h.algorithm]; ok {
			fitting = append(fitting, k)
		}
	}
	if len(fitting) == 0 {
		return nil, time.Time{}, invalid("the token's signing key is not one of its issuer's")
	}
	return fitting, r.fetched, nil
}

// candidates are the keys of a token's ID, of which an issuer may have several
// (RFC 7517, section 4.5). A token may leave the ID out where the issuer has but
// one key (OpenID Connect Core 1.0, section 10.1).
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

// fetch asks the source. A caller who gives up does not spoil the answer for
// those who wait. Keys that are there stay if nothing better comes.
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
	return &fault.Error{
		Kind: fault.Unavailable, Code: "issuer_unavailable",
		Message:    "the token cannot be verified just now, as its issuer does not answer; please try again",
		RetryAfter: comeBack, Err: err,
	}
}
