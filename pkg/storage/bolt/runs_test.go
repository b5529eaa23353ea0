package bolt_test

import (
	"bytes"
	"errors"
	"flag"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"syncplane/pkg/auth"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/storage/storagetest/runstest"
)

func backend(store *bolt.Store) runstest.Backend {
	clock := runstest.NewClock()
	all := bolt.Runs{Store: store, Now: clock.Now}
	return runstest.Backend{Runs: all, Syncs: store, Truth: all, Clock: clock}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	runstest.Run(t, func(t *testing.T) runstest.Backend {
		return backend(open(t, filepath.Join(t.TempDir(), "syncs.db")))
	})
}

func TestMustHold1OneRunPerTimeOneOpenOneWaiting(t *testing.T) {
	t.Parallel()
	runstest.MustHold1(t, backend(open(t, filepath.Join(t.TempDir(), "syncs.db"))))
}

func TestMustHold2OneReportFromTheLiveFence(t *testing.T) {
	t.Parallel()
	runstest.MustHold2(t, backend(open(t, filepath.Join(t.TempDir(), "syncs.db"))))
}

func TestMustHold3EveryRunEnds(t *testing.T) {
	t.Parallel()
	runstest.MustHold3(t, backend(open(t, filepath.Join(t.TempDir(), "syncs.db"))))
}

func TestMustHold4ReportsAreKeptAndFinalIsFinal(t *testing.T) {
	t.Parallel()
	runstest.MustHold4(t, backend(open(t, filepath.Join(t.TempDir(), "syncs.db"))))
}

// `make soak` sets these.
var (
	soak = flag.Duration("soak", 0, "how long TestRunModel runs; 0 is a few sequences of operations")
	seed = flag.Uint64("seed", 1, "the seed of the first round of TestRunModel, with -soak")
)

func TestRunModel(t *testing.T) {
	if *soak > 0 {
		runstest.Soak{Duration: *soak, Seed: *seed, Checks: 200, Open: func(t *testing.T, _ uint64) func(*rapid.T) runstest.Backend {
			t.Helper()
			store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
			t.Cleanup(func() { closeStore(t, store) })
			return func(*rapid.T) runstest.Backend { return backend(store) }
		}}.Run(t)
		return
	}
	runstest.Limit(t, 30)
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	var figures runstest.Figures
	rapid.Check(t, runstest.Check(func(*rapid.T) runstest.Backend {
		return backend(store)
	}, &figures))
	t.Logf("%+v", figures)
}

// TestExpiredRunsAreRemoved checks that new runs remove those that have expired, also if
// no request has an idempotency key, so that the file of a sync that runs each minute does
// not grow for as long as the server exists.
func TestExpiredRunsAreRemoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "syncs.db")
	store := open(t, path)
	b := backend(store)
	s := storagetest.NewSync(t)
	if err := b.Syncs.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	service := &runs.Service{Store: b.Runs, Syncs: b.Syncs, Now: b.Clock.Now, Retention: runs.DefaultRetention()}
	who := auth.Caller{Workspace: s.Workspace, Scopes: []string{string(auth.ExecuteRuns)}}
	executor, status := "worker", string(runs.Failed)
	run := func(n int) {
		t.Helper()
		for range n {
			key := runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: b.Clock.Now()}
			_, _, due := service.Due(t.Context(), key, false)
			claimed, _, err := service.Claim(t.Context(), who, key, runs.ClaimRequest{Executor: &executor})
			fence := claimed.Fence()
			_, reported := service.Finish(t.Context(), who, key, runs.Report{Fence: &fence, Status: &status, FailedRecords: []runs.Record{{PrimaryKey: "1"}}})
			if err := errors.Join(due, err, reported); err != nil {
				t.Fatal(err)
			}
			b.Clock.Advance(time.Minute)
		}
	}
	run(12)
	b.Clock.Advance(service.Retention.Runs)
	run(8)
	closeStore(t, store)

	file, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	count := map[string]int{}
	err = file.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
			return bucket.ForEach(func(key, _ []byte) error {
				for _, kind := range []string{"RUN#", "ROWS#"} {
					if bytes.HasPrefix(key, []byte(s.Workspace+"#"+s.ID+"\x00"+kind)) {
						count[kind]++
					}
				}
				return nil
			})
		})
	})
	if err != nil || count["RUN#"] != 8 || count["ROWS#"] != 8 {
		t.Errorf("got %v, %v, want the 8 runs that have not expired", count, err)
	}
}

// TestUnreadableRuns writes values that no version of ours does.
func TestUnreadableRuns(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	var log bytes.Buffer
	store.Log = slog.New(slog.NewJSONHandler(&log, nil))
	spoil := func(t *testing.T, key string) {
		t.Helper()
		if err := store.Spoil(key, `{"version":"1"}`); err != nil {
			t.Fatal(err)
		}
	}
	b := backend(store)
	runstest.Unreadable(t, b, runstest.Spoiler{
		Run: func(t *testing.T, key runs.Key) {
			t.Helper()
			spoil(t, key.Workspace+"#"+key.SyncID+"\x00RUN#"+key.Time.Format(time.RFC3339))
		},
		Slot: func(t *testing.T, workspace, syncID string) { t.Helper(); spoil(t, workspace+"\x00OPEN#"+syncID) },
	})
	if !strings.Contains(log.String(), `"msg":"unreadable run"`) {
		t.Errorf("the log is %s", &log)
	}
	count := 0
	for slot, err := range (bolt.Runs{Store: store, Now: b.Clock.Now}).AllSlots(t.Context()) {
		if err != nil || slot.Open.IsZero() {
			t.Errorf("got %+v, %v", slot, err)
		}
		count++
	}
	if count != 4 {
		t.Errorf("AllSlots yields %d slots, want 4", count)
	}
}
