// Package keytest holds the promises of apikey.Store as tests. Every engine
// runs them.
package keytest

import (
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/fault"
)

// New is a key of a new workspace, and its text.
func New(tb testing.TB) (key apikey.Key, text string) {
	tb.Helper()
	now := time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)
	key, text, err := apikey.New(rand.Reader, "w-"+uuid.NewString(), "CI", []string{"syncs:read", "syncs:write"}, now, now.AddDate(1, 0, 0))
	if err != nil {
		tb.Fatal(err)
	}
	return key, text
}

// Run holds the store that open returns to its promises.
func Run(t *testing.T, open func(t *testing.T) apikey.Store) {
	t.Helper()

	t.Run("what is read equals what was created", func(t *testing.T) {
		store := open(t)
		for name, edit := range map[string]func(k *apikey.Key){
			"every field":  func(*apikey.Key) {},
			"for ever":     func(k *apikey.Key) { k.ExpiresAt = time.Time{} },
			"without name": func(k *apikey.Key) { k.Name = "" },
			"no scope":     func(k *apikey.Key) { k.Scopes = []string{} },
		} {
			t.Run(name, func(t *testing.T) {
				want, _ := New(t)
				edit(&want)
				create(t, store, want)
				if diff := cmp.Diff(want, read(t, store, want.ID)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff([]apikey.Key{want}, list(t, store, want.Workspace)); diff != "" {
					t.Error(diff)
				}
			})
		}
	})

	t.Run("an id is taken once", func(t *testing.T) {
		store := open(t)
		key, _ := New(t)
		create(t, store, key)
		other := key
		other.Workspace += "2"
		wantKind(t, store.CreateKey(t.Context(), other), fault.Conflict)
		if diff := cmp.Diff(key, read(t, store, key.ID)); diff != "" {
			t.Error(diff)
		}
		if got := list(t, store, other.Workspace); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	})

	t.Run("a key that never was is not found", func(t *testing.T) {
		store := open(t)
		key, _ := New(t)
		_, err := store.Key(t.Context(), key.ID)
		wantKind(t, err, fault.NotFound)
		wantKind(t, store.RevokeKey(t.Context(), key.Workspace, key.ID, key.CreatedAt), fault.NotFound)
		if got := list(t, store, key.Workspace); len(got) != 0 {
			t.Errorf("got %v", got)
		}
	})

	t.Run("a key is revoked by its workspace, and stays so", func(t *testing.T) {
		store := open(t)
		key, _ := New(t)
		create(t, store, key)
		wantKind(t, store.RevokeKey(t.Context(), key.Workspace+"2", key.ID, key.CreatedAt), fault.NotFound)
		if diff := cmp.Diff(key, read(t, store, key.ID)); diff != "" {
			t.Error(diff)
		}
		want := key
		want.RevokedAt = key.CreatedAt.Add(time.Hour)
		for _, at := range []time.Time{want.RevokedAt, want.RevokedAt.Add(time.Hour)} {
			if err := store.RevokeKey(t.Context(), key.Workspace, key.ID, at); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, read(t, store, key.ID)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]apikey.Key{want}, list(t, store, key.Workspace)); diff != "" {
				t.Error(diff)
			}
		}
	})

	t.Run("a workspace lists its own", func(t *testing.T) {
		store := open(t)
		first, _ := New(t)
		second, _ := New(t)
		foreign, _ := New(t)
		second.Workspace, foreign.Workspace = first.Workspace, first.Workspace+"2"
		for _, key := range []apikey.Key{first, second, foreign} {
			create(t, store, key)
		}
		want := []apikey.Key{first, second}
		if second.ID < first.ID {
			want = []apikey.Key{second, first}
		}
		if diff := cmp.Diff(want, list(t, store, first.Workspace)); diff != "" {
			t.Error(diff)
		}
	})
}

func create(t *testing.T, store apikey.Store, key apikey.Key) {
	t.Helper()
	if err := store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, store apikey.Store, id string) apikey.Key {
	t.Helper()
	key, err := store.Key(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func list(t *testing.T, store apikey.Store, workspace string) []apikey.Key {
	t.Helper()
	keys, err := store.Keys(t.Context(), workspace)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func wantKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if !fault.Is(err, want) {
		t.Errorf("got %v, want a fault of kind %d", err, want)
	}
}
