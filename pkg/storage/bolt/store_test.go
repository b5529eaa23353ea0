package bolt_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/fault"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
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
	storagetest.RunSyncs(t, func(t *testing.T) syncs.Store {
		store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
		t.Cleanup(func() { closeStore(t, store) })
		return store
	})
}

// TestUnreadable writes values that no version of ours does.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "syncs.db")
	store := open(t, path)
	var log bytes.Buffer
	store.Log = slog.New(slog.NewJSONHandler(&log, nil))
	defer closeStore(t, store)
	values := []string{"", "{", "[]", "{}", "null", `{"id":"x","version":1}`, `{"id":"ID","version":"1"}`, `{"id":"ID","version":0}`, `{"id":"ID","version":1,"created_at":"yesterday"}`}
	n := 0
	storagetest.RunUnreadable(t, store, func(t *testing.T, s syncs.Sync) {
		t.Helper()
		value := strings.ReplaceAll(values[n%len(values)], "ID", s.ID)
		n++
		if err := store.Spoil(s.Workspace+"\x00SYNC#"+s.ID, value); err != nil {
			t.Fatal(err)
		}
	})
	if n == 0 || !strings.Contains(log.String(), `"msg":"unreadable sync"`) {
		t.Errorf("the log is %s", &log)
	}
	read := 0
	for _, err := range store.All() {
		if err != nil {
			t.Error(err)
		}
		read++
	}
	if read != 3 {
		t.Errorf("All yields %d syncs, want 3", read)
	}
}

// TestUnreadableRecords checks that an event or an idempotency record which
// cannot be read stands in the way of no other.
func TestUnreadableRecords(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	s := storagetest.NewSync(t)
	key := storagetest.NewIdempotencyKey("k")
	if _, err := store.CreateOnce(t.Context(), s, key); err != nil {
		t.Fatal(err)
	}
	if err := store.Spoil(s.Workspace+"\x00ONCE#k", "{"); err != nil {
		t.Fatal(err)
	}
	later := storagetest.NewIdempotencyKey("another")
	later.Now, later.Expires = key.Expires.Add(time.Second), key.Expires.Add(time.Hour)
	for _, name := range []string{"a", "b"} {
		next := storagetest.NewSync(t)
		next.Workspace, later.Key = s.Workspace, name
		if first, err := store.CreateOnce(t.Context(), next, later); err != nil || first != next {
			t.Errorf("got %v, %v", first, err)
		}
	}
	if err := store.SpoilEvent(2, "{"); err != nil {
		t.Fatal(err)
	}
	for limit := 1; limit < 4; limit++ {
		var got []uint64
		for after := uint64(0); ; {
			entries, err := store.Events(after, limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				after = e.Sequence
				got = append(got, after)
			}
		}
		if diff := cmp.Diff([]uint64{1, 3}, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
}

func TestStoreOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "syncs.db")
	want := storagetest.NewSync(t)
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

// TestInvalidWriteInBatch has conflicts and good writes share commits.
func TestInvalidWriteInBatch(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	taken := storagetest.NewSync(t)
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
			if i%2 == 0 && err != nil || i%2 == 1 && !fault.Is(err, want) {
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

func TestOpenErrors(t *testing.T) {
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
		filepath.Join(file, "sub.db"): "create the data directory",
		file:                          "is damaged or was not made by this program; replace it with a backup",
	} {
		if _, err := bolt.Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}

// TestDamaged checks that a file with damaged pages, or that was cut, is an error
// and never a panic: when it is opened, read or written to.
func TestDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "syncs.db")
	store := open(t, path)
	var all []syncs.Sync
	var group sync.WaitGroup
	for range 50 {
		s := storagetest.NewSync(t)
		all = append(all, s)
		group.Go(func() {
			if _, err := store.CreateOnce(t.Context(), s, storagetest.NewIdempotencyKey(s.ID)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	closeStore(t, store)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	use := func(t *testing.T, damaged []byte) (refused bool) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "syncs.db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		store, err := bolt.Open(path)
		if err != nil {
			if !strings.Contains(err.Error(), "replace it with a backup") || strings.Contains(err.Error(), "goroutine") {
				t.Errorf("got %v", err)
			}
			return true
		}
		for _, s := range all { // what is there may be used, and no use ends the process
			_, _ = store.Read(t.Context(), s.Workspace, s.ID)
		}
		for _, err := range store.All() {
			_ = err // the data may be used, and no use ends the process
		}
		for range 2 {
			_ = store.Create(t.Context(), storagetest.NewSync(t))
		}
		select { // on a slow machine the damage is found after Open has returned
		case _, refused = <-store.Damaged():
		case <-time.After(10 * time.Second):
			t.Error("the pages were not verified")
		}
		_ = store.Close()
		return refused
	}
	const page = 4096
	pages, refused := 0, 0
	for at := 0; at < len(good); at += page {
		if bytes.Count(good[at:at+page], []byte{0}) == page {
			continue // was never used
		}
		pages++
		damaged := bytes.Clone(good)
		copy(damaged[at:], bytes.Repeat([]byte{[]byte{0, 0xff, 0x5a}[pages%3]}, page))
		if use(t, damaged) {
			refused++
		}
	}
	t.Logf("of %d pages %d are refused", pages, refused)
	if refused < pages/4 {
		t.Errorf("of %d pages only %d are refused", pages, refused)
	}
	for _, size := range []int{1, 100, page, 2*page + 1, 4 * page, pages / 4 * page, pages / 2 * page} {
		if !use(t, good[:size]) {
			t.Errorf("a file cut to %d of %d bytes was opened", size, len(good))
		}
	}
}

func TestWriteAfterClose(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	closeStore(t, store)
	if err := store.Create(t.Context(), storagetest.NewSync(t)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

// TestCancelledInCommit cancels the contexts of writes while they wait for their commit.
// The commit goes on, and sets the results of the calls that have returned.
func TestCancelledInCommit(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	policy := ratelimit.Policy{Quota: 1000, Window: time.Hour}
	at := time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)
	for i := range 30 {
		ctx, cancel := context.WithCancel(t.Context())
		s := storagetest.NewSync(t)
		var calls sync.WaitGroup
		calls.Go(cancel)
		calls.Go(func() {
			got, err := store.CreateOnce(ctx, s, storagetest.NewIdempotencyKey("k"))
			if want := (syncs.Sync{}); err == nil && got != s || err != nil && (got != want || !fault.Is(err, fault.Unavailable)) {
				t.Errorf("create %d: got %+v, %v", i, got, err)
			}
		})
		calls.Go(func() {
			tat, ok, err := store.Take(ctx, s.Workspace, policy, at)
			if want := at.Add(policy.EmissionInterval()); err == nil && (!ok || !tat.Equal(want)) || err != nil && (ok || !tat.IsZero() || !fault.Is(err, fault.Unavailable)) {
				t.Errorf("take %d: got %v, %t, %v", i, tat, ok, err)
			}
		})
		calls.Wait()
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	storagetest.RunKeys(t, func(t *testing.T) apikey.Store { return bolt.Keys{Path: filepath.Join(t.TempDir(), "keys.db")} })
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	storagetest.RunRateLimits(t, func(t *testing.T) ratelimit.Store {
		store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
		t.Cleanup(func() { closeStore(t, store) })
		return store
	})
}

// TestRateLimitAfterRestart checks that a clock which was set back while the server
// was down makes no client wait for longer than a window.
func TestRateLimitAfterRestart(t *testing.T) {
	t.Parallel()
	path, now := filepath.Join(t.TempDir(), "syncs.db"), time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC)
	limit := &ratelimit.Limiter{Policy: ratelimit.Policy{Quota: 2, Window: time.Minute}, Now: func() time.Time { return now }}
	for _, want := range []fault.Kind{fault.Internal, fault.Internal, fault.Throttled} { // Internal is no error
		store := open(t, path)
		limit.Store = store
		if _, err := limit.Take(t.Context(), "acme"); (err == nil) != (want == fault.Internal) || err != nil && !fault.Is(err, want) {
			t.Errorf("got %v", err)
		}
		closeStore(t, store)
	}
	now = now.Add(-2 * time.Hour)
	for i, want := range []bool{false, true} {
		store := open(t, path)
		limit.Store = store
		allowance, err := limit.Take(t.Context(), "acme")
		if (err == nil) != want || allowance.Next > 30*time.Second {
			t.Errorf("%d: got %+v, %v", i, allowance, err)
		}
		closeStore(t, store)
		now = now.Add(allowance.Next)
	}
}
