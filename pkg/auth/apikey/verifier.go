package apikey

import (
	"context"
	"sync"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
)

// Store stores keys. Package storagetest tests its promises over every storage
// backend. A method returns a fault.Unavailable, and changes nothing, if its context has
// ended before the call.
type Store interface {
	// CreateKey writes k. It returns a fault.Conflict if there is a key with
	// that ID.
	CreateKey(ctx context.Context, k Key) error

	// Key returns the key with an ID, or a fault.NotFound.
	Key(ctx context.Context, id string) (Key, error)

	// Keys returns all keys of a workspace in the order of their IDs,
	// including revoked and expired ones. Keys that cannot be read are left out,
	// and are in the error.
	Keys(ctx context.Context, workspace string) ([]Key, error)

	// RevokeKey revokes a key of the workspace permanently; a key that is
	// revoked keeps its RevokedAt. It returns a fault.NotFound if the
	// workspace has no such key.
	RevokeKey(ctx context.Context, workspace, id string, now time.Time) error
}

// The bounds of a Verifier's cache.
const (
	maxAge   = time.Minute // for so long a revoked key may still be accepted
	maxCount = 1000        // keys
)

// Verifier authenticates callers by the text of their key. It caches keys.
type Verifier struct {
	store Store
	now   func() time.Time

	mu    sync.Mutex
	cache map[string]cached // by ID; only keys whose text was presented
}

type cached struct {
	key  Key
	read time.Time // from the store
}

// NewVerifier returns a Verifier of the keys in store.
func NewVerifier(store Store, now func() time.Time) *Verifier {
	return &Verifier{store: store, now: now, cache: map[string]cached{}}
}

// Caller returns the caller that a key belongs to, a fault.Unauthenticated if the
// key is malformed, unknown, revoked or expired, or the error of the store.
func (v *Verifier) Caller(ctx context.Context, text string) (auth.Caller, error) {
	id, ok := ParseID(text)
	if !ok {
		return auth.Caller{}, invalid("the token is not a valid API key; it may have been truncated")
	}
	key, err := v.key(ctx, id, text)
	if err != nil {
		return auth.Caller{}, err
	}
	if reason := key.Usable(v.now()); reason != "" {
		return auth.Caller{}, invalid(reason)
	}
	return auth.Caller{Workspace: key.Workspace, Subject: "key:" + key.ID, Scopes: key.Scopes}, nil
}

// key returns the key with a text, from the cache if it was read recently.
func (v *Verifier) key(ctx context.Context, id, text string) (Key, error) {
	now := v.now()
	v.mu.Lock()
	found, ok := v.cache[id]
	v.mu.Unlock()
	if !ok || now.Sub(found.read) >= maxAge {
		key, err := v.store.Key(ctx, id)
		if fault.Is(err, fault.NotFound) {
			return Key{}, invalid("there is no such API key")
		}
		if err != nil {
			return Key{}, err
		}
		found = cached{key, now}
	}
	if !found.key.Matches(text) {
		return Key{}, invalid("there is no such API key") // the same message as above, so that IDs cannot be probed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.cache) >= maxCount {
		clear(v.cache) // rare, and simpler than an eviction order
	}
	v.cache[id] = found
	return found.key, nil
}

func invalid(reason string) error {
	return fault.New(fault.Unauthenticated, "invalid_token", "%s", reason)
}
