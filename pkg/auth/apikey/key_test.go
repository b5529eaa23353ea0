package apikey_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/fault"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

func TestNew(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^syn_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}$`)
	seen := map[string]bool{}
	for range 1000 {
		key, text := storagetest.NewKey(t)
		id, ok := apikey.ParseID(text)
		if !form.MatchString(text) || !ok || id != key.ID || !key.Matches(text) || !strings.HasSuffix(text, key.LastFour) {
			t.Fatalf("got %s, %+v", text, key)
		}
		if seen[key.ID] {
			t.Fatalf("%s twice", key.ID)
		}
		seen[key.ID] = true
		if strings.Contains(fmt.Sprintf("%+v", key), text[17:60]) {
			t.Fatal("the record holds the secret")
		}
	}
}

func TestNewWithoutRandomness(t *testing.T) {
	t.Parallel()
	if _, _, err := apikey.New(strings.NewReader("short"), "w", "n", nil, time.Time{}, time.Time{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

// TestParseIDRefuses changes each character of a key in turn.
func TestParseIDRefuses(t *testing.T) {
	t.Parallel()
	key, text := storagetest.NewKey(t)
	for i := range text {
		for _, c := range "aB0_-.é\x00" {
			edited := text[:i] + string(c) + text[i+1:]
			if id, ok := apikey.ParseID(edited); ok && edited != text {
				t.Errorf("%q is a key, of %s", edited, id)
			}
			if key.Matches(edited) != (edited == text) {
				t.Errorf("%q matches", edited)
			}
		}
	}
	for _, bad := range []string{"", "syn_", text[1:], text[:len(text)-1], text + "a", strings.ToUpper(text), " " + text} {
		if _, ok := apikey.ParseID(bad); ok {
			t.Errorf("%q is a key", bad)
		}
	}
}

// counting counts the reads of a store.
type counting struct {
	apikey.Store
	reads int
	err   error
}

func (c *counting) Key(ctx context.Context, id string) (apikey.Key, error) {
	c.reads++
	if c.err != nil {
		return apikey.Key{}, c.err
	}
	return c.Store.Key(ctx, id)
}

func TestVerifier(t *testing.T) {
	t.Parallel()
	key, text := storagetest.NewKey(t)
	store := &counting{Store: bolt.Keys{Path: t.TempDir() + "/keys.db"}}
	if err := store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	now := key.CreatedAt
	v := apikey.NewVerifier(store, func() time.Time { return now })
	want := auth.Caller{Workspace: key.Workspace, Subject: "key:" + key.ID, Scopes: key.Scopes}
	accept := func(reads int) {
		t.Helper()
		if got, err := v.Caller(t.Context(), text); err != nil || !cmp.Equal(got, want) || store.reads != reads {
			t.Errorf("got %+v, %v after %d reads, want %d", got, err, store.reads, reads)
		}
	}
	refuse := func(text, reason string) {
		t.Helper()
		_, err := v.Caller(t.Context(), text)
		got, ok := errors.AsType[*fault.Error](err)
		if !ok || got.Kind != fault.Unauthenticated || got.Code != "invalid_token" || !strings.Contains(got.Message, reason) {
			t.Errorf("got %v, want %s", err, reason)
		}
	}
	accept(1)
	now = now.Add(59 * time.Second)
	accept(1) // from the cache
	now = now.Add(time.Second)
	accept(2) // read again after a minute

	_, stranger := storagetest.NewKey(t)
	refuse(stranger, "there is no such API key")
	refuse("syn_x", "may have been truncated")

	// A known ID with another secret gets the same message as an unknown one.
	other, otherText, err := apikey.New(io.MultiReader(strings.NewReader(strings.Repeat("s", 32)), rand.Reader), "w", "n", nil, now, now)
	if err != nil {
		t.Fatal(err)
	}
	taken := key
	taken.ID = other.ID
	if err := store.CreateKey(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	refuse(otherText, "there is no such API key")

	// A revoked key is accepted until it is read again. An expired key is
	// refused at once.
	reads := store.reads
	accept(reads)
	if err := store.RevokeKey(t.Context(), key.Workspace, key.ID, now); err != nil {
		t.Fatal(err)
	}
	now = now.Add(59 * time.Second)
	accept(reads)
	now = now.Add(time.Second)
	refuse(text, "the key was revoked at 2026-11-23T20:07:00Z")

	fresh, freshText := storagetest.NewKey(t)
	if err := store.CreateKey(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	now = fresh.ExpiresAt.Add(-time.Second)
	if _, err := v.Caller(t.Context(), freshText); err != nil {
		t.Errorf("a second before it expires: %v", err)
	}
	now = fresh.ExpiresAt
	refuse(freshText, "the key expired at 2027-11-23T20:06:00Z")

	// While the store is unavailable a key is neither refused nor accepted.
	store.err = &fault.Error{Kind: fault.Unavailable, Code: "store_unavailable", Message: "down"}
	if _, err := v.Caller(t.Context(), stranger); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

// FuzzParseID checks that a text which is accepted has the form of a key.
func FuzzParseID(f *testing.F) {
	_, text := storagetest.NewKey(f)
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := apikey.ParseID(text); ok && (len(text) != 66 || !strings.HasPrefix(text, "syn_"+id+"_")) {
			t.Errorf("%q is accepted as the key %q", text, id)
		}
	})
}
