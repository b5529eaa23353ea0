package storagetest

import (
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/fault"
)

// NewKey returns an API key of a new workspace, and its text.
func NewKey(tb testing.TB) (key apikey.Key, text string) {
	tb.Helper()
	now := time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)
	key, text, err := apikey.New(rand.Reader, "w-"+uuid.NewString(), "CI", []string{"syncs:read", "syncs:write"}, now, now.AddDate(1, 0, 0))
	if err != nil {
		tb.Fatal(err)
	}
	return key, text
}

// RunKeys tests the promises of apikey.Store.
func RunKeys(t *testing.T, open func(t *testing.T) apikey.Store) {
	t.Helper()
	runAll(t, open, []test[apikey.Store]{
		{"a key is read as it was created", testKeyRead},
		{"a second key with the same ID is a conflict", testKeyDuplicateID},
		{"an unknown key is not found", testKeyUnknown},
		{"a key is revoked by its workspace, and stays revoked", testKeyRevoked},
		{"a workspace lists its own keys", testKeyList},
		{"a cancelled context is Unavailable", testKeyCancelled},
	})
}

func testKeyRead(t *testing.T, store apikey.Store) {
	for name, edit := range map[string]func(k *apikey.Key){
		"every field": func(*apikey.Key) {},
		"no expiry":   func(k *apikey.Key) { k.ExpiresAt = time.Time{} },
		"no name":     func(k *apikey.Key) { k.Name = "" },
		"no scope":    func(k *apikey.Key) { k.Scopes = []string{} },
	} {
		t.Run(name, func(t *testing.T) {
			want, _ := NewKey(t)
			edit(&want)
			createKey(t, store, want)
			if diff := cmp.Diff(want, readKey(t, store, want.ID)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]apikey.Key{want}, listKeys(t, store, want.Workspace)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func testKeyDuplicateID(t *testing.T, store apikey.Store) {
	key, _ := NewKey(t)
	createKey(t, store, key)
	other := key
	other.Workspace += "2"
	wantKind(t, store.CreateKey(t.Context(), other), fault.Conflict)
	if diff := cmp.Diff(key, readKey(t, store, key.ID)); diff != "" {
		t.Error(diff)
	}
	if got := listKeys(t, store, other.Workspace); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func testKeyUnknown(t *testing.T, store apikey.Store) {
	key, _ := NewKey(t)
	_, err := store.Key(t.Context(), key.ID)
	wantKind(t, err, fault.NotFound)
	wantKind(t, store.RevokeKey(t.Context(), key.Workspace, key.ID, key.CreatedAt), fault.NotFound)
	if got := listKeys(t, store, key.Workspace); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func testKeyRevoked(t *testing.T, store apikey.Store) {
	key, _ := NewKey(t)
	createKey(t, store, key)
	wantKind(t, store.RevokeKey(t.Context(), key.Workspace+"2", key.ID, key.CreatedAt), fault.NotFound)
	if diff := cmp.Diff(key, readKey(t, store, key.ID)); diff != "" {
		t.Error(diff)
	}
	want := key
	want.RevokedAt = key.CreatedAt.Add(time.Hour)
	for _, at := range []time.Time{want.RevokedAt, want.RevokedAt.Add(time.Hour)} {
		if err := store.RevokeKey(t.Context(), key.Workspace, key.ID, at); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, readKey(t, store, key.ID)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]apikey.Key{want}, listKeys(t, store, key.Workspace)); diff != "" {
			t.Error(diff)
		}
	}
}

func testKeyList(t *testing.T, store apikey.Store) {
	first, _ := NewKey(t)
	second, _ := NewKey(t)
	foreign, _ := NewKey(t)
	second.Workspace, foreign.Workspace = first.Workspace, first.Workspace+"2"
	for _, key := range []apikey.Key{first, second, foreign} {
		createKey(t, store, key)
	}
	want := []apikey.Key{first, second}
	if second.ID < first.ID {
		want = []apikey.Key{second, first}
	}
	if diff := cmp.Diff(want, listKeys(t, store, first.Workspace)); diff != "" {
		t.Error(diff)
	}
}

func testKeyCancelled(t *testing.T, store apikey.Store) {
	want, _ := NewKey(t)
	created, _ := NewKey(t)
	created.Workspace = want.Workspace
	createKey(t, store, want)
	WantRefused(t, map[string]func(ctx context.Context) error{
		"CreateKey": func(ctx context.Context) error { return store.CreateKey(ctx, created) },
		"Key":       func(ctx context.Context) error { _, err := store.Key(ctx, want.ID); return err },
		"Keys":      func(ctx context.Context) error { _, err := store.Keys(ctx, want.Workspace); return err },
		"RevokeKey": func(ctx context.Context) error { return store.RevokeKey(ctx, want.Workspace, want.ID, want.CreatedAt) },
	})
	if diff := cmp.Diff([]apikey.Key{want}, listKeys(t, store, want.Workspace)); diff != "" {
		t.Error(diff)
	}
}

func createKey(t *testing.T, store apikey.Store, key apikey.Key) {
	t.Helper()
	if err := store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

func readKey(t *testing.T, store apikey.Store, id string) apikey.Key {
	t.Helper()
	key, err := store.Key(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func listKeys(t *testing.T, store apikey.Store, workspace string) []apikey.Key {
	t.Helper()
	keys, err := store.Keys(t.Context(), workspace)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
