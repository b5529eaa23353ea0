package main_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/event"
	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

// TestKillStartsNothingTwice kills the server while it starts the runs of many
// syncs of one second. Each starts all the same, and the same event never comes
// twice, let alone with other data.
func TestKillStartsNothingTwice(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	file := filepath.Join(dataDir, "syncs.db")
	bearer := token(t, dataDir)
	store, err := bolt.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	const many = 2000
	var group sync.WaitGroup
	due := time.Now().Add(5 * time.Second).Truncate(time.Second) // time to store them and to start
	for range many {                                             // at once, so that few commits store them
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
	last, _ := store.Head()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	started, data := map[string]bool{}, map[string]string{}
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
			started[e.Subject] = true
			if before, ok := data[e.ID]; ok {
				t.Fatalf("%s came twice: %s, %s", e.ID, before, e.Data)
			}
			data[e.ID] = string(e.Data)
		}
	}
	for kills := 0; kills < 3 && len(started) < many; kills++ {
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
	c := scheduler.Scheduler{Store: store, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if _, err := c.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	look()
	if len(started) != many {
		t.Errorf("%d of %d started", len(started), many)
	}
}

// TestKillLosesNoDelivery kills the server while it delivers the events of many
// syncs. After a restart each arrives, those of a sync in order, and no more than
// were under way arrive again.
func TestKillLosesNoDelivery(t *testing.T) {
	t.Parallel()
	const many, each, atOnce = 100, 3, 32
	var mu sync.Mutex
	arrived := map[string][]string{} // IDs by subject
	total := 0
	enough, all := make(chan struct{}), make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		subject, id := r.Header.Get("Ce-Subject"), r.Header.Get("Webhook-Id")
		if !slices.Contains(arrived[subject], id) {
			if total++; total == many*each/3 {
				close(enough)
			}
			if total == many*each {
				close(all)
			}
		}
		arrived[subject] = append(arrived[subject], id)
	}))
	t.Cleanup(endpoint.Close)
	dataDir := t.TempDir()
	store, err := bolt.Open(filepath.Join(dataDir, "syncs.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.AddPending(t.Context(), nil, 0); err != nil { // the webhook begins with the first event
		t.Fatal(err)
	}
	want := map[string][]string{}
	var events []event.Event
	for n := range many * each {
		subject := strconv.Itoa(n % many)
		e := event.Event{Kind: event.Due, ID: subject + "/" + strconv.Itoa(n), Subject: subject, Workspace: "demo", Time: time.Now(), Data: []byte(`{}`)}
		events, want[subject] = append(events, e), append(want[subject], e.ID)
	}
	if err := store.Publish(t.Context(), events, "test", 0); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	env := []string{"WEBHOOK_URL=" + endpoint.URL, "WEBHOOK_SECRET=0123456789012345678901234567890123456789"}
	s := serve(t, dataDir, env...)
	await := func(done chan struct{}) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("not enough was delivered: %s", s.log)
		}
	}
	await(enough)
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait() // it was killed
	s = serve(t, dataDir, env...)
	await(all)
	s.stop(t, os.Interrupt)
	mu.Lock()
	defer mu.Unlock()
	again := 0
	for subject, ids := range arrived {
		once := slices.Compact(slices.Clone(ids)) // one that comes again does so before the next one
		again += len(ids) - len(once)
		if diff := cmp.Diff(want[subject], once); diff != "" {
			t.Errorf("%s: %s", subject, diff)
		}
	}
	if again > atOnce {
		t.Errorf("%d events arrived again", again)
	}
	t.Logf("%d events arrived again", again)
}
