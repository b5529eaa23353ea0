package main_test

import (
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

// TestKillBeginsNothingTwice kills the server while it begins the runs of many
// syncs of one second. Each begins all the same, and the same event never comes
// twice, let alone with other data.
func TestKillBeginsNothingTwice(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	file := filepath.Join(dataDir, "syncs.db")
	bearer := token(t, dataDir)
	store, err := bolt.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	const many = 4000
	var group sync.WaitGroup
	due := time.Now().Add(2 * time.Second).Truncate(time.Second)
	for range many { // at once, so that few commits store them
		s := storagetest.NewSync(t)
		s.Workspace, s.CronExpression, s.SyncInterval = "demo", "", 1
		s.ScheduledAt = due.Add(-time.Minute)
		group.Go(func() {
			if err := store.Create(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	last, _ := store.Last()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	begun, data := map[string]bool{}, map[string]string{}
	look := func() {
		t.Helper()
		entries, err := store.Events(last, 1_000_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			last = e.Sequence
			if e.Kind != event.Due {
				continue
			}
			begun[e.Subject] = true
			if before, ok := data[e.ID]; ok {
				t.Fatalf("%s came twice: %s, %s", e.ID, before, e.Data)
			}
			data[e.ID] = string(e.Data)
		}
	}
	for kills := 0; kills < 3 && len(begun) < many; kills++ {
		s := serve(t, dataDir)
		next := s.events(t, bearer, strconv.FormatUint(last, 10))
		next()
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // killed, so never without an error
		if store, err = bolt.Open(file); err != nil {
			t.Fatal(err)
		}
		look()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}

	if store, err = bolt.Open(file); err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // only read from
	c := scheduler.Clock{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if _, err := c.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	look()
	if len(begun) != many {
		t.Errorf("%d of %d began", len(begun), many)
	}
}
