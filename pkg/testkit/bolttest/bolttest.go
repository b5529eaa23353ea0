// Package bolttest gives tests a bbolt store in a temporary file.
package bolttest

import (
	"path/filepath"
	"testing"

	"syncplane/pkg/storage/bolt"
)

// Open returns an empty store, which is closed when the test ends.
func Open(tb testing.TB) *bolt.Store {
	tb.Helper()
	return OpenFile(tb, filepath.Join(tb.TempDir(), "syncs.db"))
}

// OpenFile is Open for a file that may exist.
func OpenFile(tb testing.TB, path string) *bolt.Store {
	tb.Helper()
	store, err := bolt.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return store
}
