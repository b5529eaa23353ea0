package apikey

import (
	"context"
	"sync"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
)

// Store keeps keys. Its promises are tests in package keytest.
type Store interface {
	// CreateKey keeps k. It returns a fault.Conflict if there is a key of
	// that ID.
	CreateKey(ctx context.Context, k Key) error

	// Key returns the key of an ID, or a fault.NotFound.
	Key(ctx context.Context, id string) (Key, error)

	// Keys returns the keys of a workspace, those that may no longer be used
	// included, in the order of their IDs.
	Keys(ctx context.Context, workspace string) ([]Key, error)

	// RevokeKey ends a key of the workspace for good; one that has ended
	// stays as it is. It returns a fault.NotFound if there is none.
	RevokeKey(ctx context.Context, workspace, id string, now time.Time) error
}

// The bounds of what a Verifier remembers.
const (
	maxAge   = time.Minute // a revoked key works for this long at most
	maxCount = 1000        // keys
)

// Verifier turns the text of a key into who is calling.
type Verifier struct {
	store Store
	now   func() time.Time

	mu    sync.Mutex
	known map[string]known // by ID; only keys whose secret was shown
}

type known struct {
	key  Key
	read time.Time
}

// NewVerifier returns a Verifier.
func NewVerifier(store Store, now func() time.Time) *Verifier {
	return &Verifier{store: store, now: now, known: map[string]known{}}
}

// Caller returns whom the key stands for, a fault.Unauthenticated if it stands
// for nobody, or the store's fault.Unavailable.
func (v *Verifier) Caller(ctx context.Context, text string) (auth.Caller, error) {
	id, ok := ParseID(text)
	if !ok {
		return auth.Caller{}, invalid("the token is not an API key of ours; it may have been cut")
	}
	key, err := v.key(ctx, id, text)
	if err != nil {
		return auth.Caller{}, err
	}
	if why := key.Usable(v.now()); why != "" {
		return auth.Caller{}, invalid(why)
	}
	return auth.Caller{Workspace: key.Workspace, Subject: "key:" + key.ID, Scopes: key.Scopes}, nil
}

// key returns the key that text is, from memory where it was read lately.
func (v *Verifier) key(ctx context.Context, id, text string) (Key, error) {
	now := v.now()
	v.mu.Lock()
	found, ok := v.known[id]
	v.mu.Unlock()
	if !ok || now.Sub(found.read) >= maxAge {
		key, err := v.store.Key(ctx, id)
		if fault.Is(err, fault.NotFound) {
			return Key{}, invalid("there is no such API key")
		}
		if err != nil {
			return Key{}, err
		}
		found = known{key, now}
	}
	if !found.key.Matches(text) {
		return Key{}, invalid("there is no such API key") // the same words, so that an ID cannot be tried out
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxCount {
		clear(v.known) // rare, and cheaper than an order of use
	}
	v.known[id] = found
	return found.key, nil
}

func invalid(why string) error {
	return &fault.Error{Kind: fault.Unauthenticated, Code: "invalid_token", Message: why}
}
