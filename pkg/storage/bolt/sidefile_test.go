package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/storage/bolt"
)

// sideFileCalls are the calls on the keys and the dead letters in one file.
func sideFileCalls(t *testing.T, path string) map[string]func() error {
	t.Helper()
	keys, letters := bolt.Keys{Path: path}, bolt.DeadLetters{Path: path}
	now := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	n := 0
	return map[string]func() error{
		"read a key": func() error { _, err := keys.Key(t.Context(), "key-7"); return err },
		"list keys":  func() error { _, err := keys.Keys(t.Context(), "acme"); return err },
		"create key": func() error {
			n++
			return keys.CreateKey(t.Context(), apikey.Key{ID: fmt.Sprint("new-", n), Workspace: "acme"})
		},
		"revoke key":  func() error { return keys.RevokeKey(t.Context(), "acme", "key-7", now) },
		"list dead":   func() error { _, err := countLetters(t, letters); return err },
		"remove dead": func() error { return letters.Remove(t.Context(), 7) },
		"add dead": func() error {
			_, err := letters.Add(t.Context(), bolt.DeadLetter{Sequence: 1000, Event: event.Event{Kind: event.Created, ID: "e", Data: []byte("{}")}})
			return err
		},
	}
}

func countLetters(t *testing.T, letters bolt.DeadLetters) (n int, err error) {
	t.Helper()
	for _, err := range letters.All(t.Context()) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// copyKey stores a key under several other IDs, in few commits.
func copyKey(t *testing.T, path, id string, count int) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	for first := 1; err == nil && first <= count; first += 13 { // a page of bbolt
		err = db.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte("keys"))
			row := bytes.Clone(bucket.Get([]byte(id)))
			var errs error
			for i := first; i < min(first+13, count+1); i++ {
				errs = errors.Join(errs, bucket.Put(fmt.Append(nil, "key-", i), row))
			}
			return errs
		})
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// goodSideFile returns a file with several pages of keys and dead letters.
func goodSideFile(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "side.db")
	keys, letters := bolt.Keys{Path: path}, bolt.DeadLetters{Path: path}
	var all []bolt.DeadLetter
	if err := keys.CreateKey(t.Context(), apikey.Key{ID: "key-0", Workspace: "acme", Name: strings.Repeat("n", 300)}); err != nil {
		t.Fatal(err)
	}
	copyKey(t, path, "key-0", 39)
	for i := range 40 {
		all = append(all, bolt.DeadLetter{Sequence: uint64(i + 1), Event: event.Event{Kind: event.Created, ID: "e", Data: []byte(`"` + strings.Repeat("x", 300) + `"`)}})
	}
	if _, err := letters.Add(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return good
}

// TestDamagedSideFile checks that a damaged file of keys or dead letters is an error that
// names the remedy, and that another file in its place can be used at once: a server
// opens it for each request.
func TestDamagedSideFile(t *testing.T) {
	t.Parallel()
	good := goodSideFile(t)
	page, path := os.Getpagesize(), filepath.Join(t.TempDir(), "side.db")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	check := func(what string, damaged []byte) {
		t.Helper()
		for name, call := range sideFileCalls(t, path) {
			write(damaged)
			err := call()
			if err != nil && !fault.Is(err, fault.NotFound) {
				refused++
				if !strings.Contains(err.Error(), path+" is damaged or was not made by this program; replace it with a backup") {
					t.Errorf("%s, %s: %v", what, name, err)
				}
			}
			if len(damaged) == len(good) {
				continue
			}
			write(good)
			if err := call(); err != nil {
				t.Errorf("%s, %s, repaired: %v", what, name, err)
			}
		}
	}
	for i := range len(good) / page {
		filler := []byte{0, 0xff, 0x5a}[i%3]
		damaged := bytes.Clone(good)
		copy(damaged[i*page:], bytes.Repeat([]byte{filler}, page))
		check(fmt.Sprintf("page %d of %#x", i, filler), damaged)
		if i > 0 && i%4 == 0 {
			check(fmt.Sprintf("cut to %d pages", i), good[:i*page])
		}
	}
	check("text", bytes.Repeat([]byte("x"), 1<<16))
	check("a byte", []byte("x"))
	if refused < 50 {
		t.Errorf("%d calls were refused", refused)
	}
}

// TestNewSideFile checks that a file that is empty, or whose first use was interrupted, is
// one without keys and dead letters.
func TestNewSideFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "side.db")
	for name, prepare := range map[string]func() error{
		"empty": func() error { return os.WriteFile(path, nil, 0o600) },
		"without a bucket": func() error {
			db, err := bbolt.Open(path, 0o600, nil)
			return errors.Join(err, db.Close())
		},
		"missing": func() error { return nil },
	} {
		for call, do := range sideFileCalls(t, path) {
			if err := errors.Join(os.RemoveAll(path), prepare()); err != nil {
				t.Fatal(err)
			}
			if err := do(); err != nil && !fault.Is(err, fault.NotFound) {
				t.Errorf("%s: %s: %v", name, call, err)
			}
		}
	}
}

// TestUnreadableInSideFile checks that a key or a dead letter that another version wrote
// does not hide the others.
func TestUnreadableInSideFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "side.db")
	if err := os.WriteFile(path, goodSideFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(
			tx.Bucket([]byte("keys")).Put([]byte("key-11"), []byte("{")),
			tx.Bucket([]byte("dead_letters")).Put([]byte{0, 0, 0, 0, 0, 0, 0, 3}, []byte(`{"event":7}`)),
		)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if keys, err := (bolt.Keys{Path: path}).Keys(t.Context(), "acme"); len(keys) != 39 || err == nil || !strings.Contains(err.Error(), "key-11") {
		t.Errorf("got %d keys, %v", len(keys), err)
	}
	var unreadable []uint64
	n := 0
	for l, err := range (bolt.DeadLetters{Path: path}).All(t.Context()) {
		if err != nil {
			unreadable = append(unreadable, l.Sequence)
		} else {
			n++
		}
	}
	if n != 39 || len(unreadable) != 1 || unreadable[0] != 3 {
		t.Errorf("got %d dead letters, and %v cannot be read", n, unreadable)
	}
}
