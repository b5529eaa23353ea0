package bolt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/apikey"
	"syncplane/pkg/apikey/keytest"
	"syncplane/pkg/bolt"
	"syncplane/pkg/fault"
	"syncplane/pkg/quota"
	"syncplane/pkg/quota/quotatest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/syncs/storetest"
)

func open(t *testing.T, path string) *bolt.Store {
	t.Helper()
	store, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func closeStore(t *testing.T, store *bolt.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) syncs.Store {
		store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
		t.Cleanup(func() { closeStore(t, store) })
		return store
	})
}

func TestStoreOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "syncs.db")
	want := storetest.Good(t)
	store := open(t, path)
	if err := store.Create(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	closeStore(t, store)

	store = open(t, path)
	defer closeStore(t, store)
	got, err := store.Read(t.Context(), want.Workspace, want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestOneBadWriteSpoilsNoOther has conflicts and good writes share commits.
func TestOneBadWriteSpoilsNoOther(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	taken := storetest.Good(t)
	if err := store.Create(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			s, want := taken, fault.Conflict
			if i%2 == 0 {
				s.ID, want = fmt.Sprint("id-", i), fault.Internal
			}
			err := store.Create(context.WithoutCancel(t.Context()), s)
			if i%2 == 0 && err != nil || i%2 == 1 && fault.KindOf(err) != want {
				t.Errorf("write %d: %v", i, err)
			}
		})
	}
	all.Wait()
	for i := 0; i < 200; i += 2 {
		if _, err := store.Read(t.Context(), taken.Workspace, fmt.Sprint("id-", i)); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken := filepath.Join(dir, "syncs.db")
	store := open(t, taken)
	defer closeStore(t, store)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("not a database, and long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		taken:                         "is in use by another process",
		filepath.Join(file, "sub.db"): "make the data directory",
		file:                          "open " + file,
	} {
		if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

func TestWriteAfterClose(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	closeStore(t, store)
	if err := store.Create(t.Context(), storetest.Good(t)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	keytest.Run(t, func(t *testing.T) apikey.Store { return bolt.Keys{Path: filepath.Join(t.TempDir(), "keys.db")} })
}

func TestQuota(t *testing.T) {
	t.Parallel()
	quotatest.Run(t, func(t *testing.T) quota.Store {
		store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
		t.Cleanup(func() { closeStore(t, store) })
		return store
	})
}
