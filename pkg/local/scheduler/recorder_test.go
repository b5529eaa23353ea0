package scheduler_test

import (
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/auth"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// recorderHarness is a recorder over a file, with a clock of its own.
type recorderHarness struct {
	t        *testing.T
	path     string
	now      time.Time
	store    *bolt.Store
	runs     *runs.Service
	recorder *scheduler.Recorder
}

func newRecorder(t *testing.T) *recorderHarness {
	t.Helper()
	h := &recorderHarness{t: t, path: filepath.Join(t.TempDir(), "syncs.db"), now: time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)}
	h.open()
	t.Cleanup(func() { _ = h.store.Close() })
	h.step()
	return h
}

func (h *recorderHarness) open() {
	h.t.Helper()
	store, err := bolt.Open(h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	now := func() time.Time { return h.now }
	h.store = store
	h.runs = &runs.Service{Store: bolt.Runs{Store: store, Now: now}, Syncs: store, Now: now, Retention: runs.DefaultRetention()}
	h.recorder = &scheduler.Recorder{Store: store, Runs: h.runs, Now: now, Log: app.Logger(io.Discard, "")}
}

// restart replaces the recorder by a new one, which knows only what is stored.
func (h *recorderHarness) restart() {
	h.t.Helper()
	if err := h.store.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

// step works until there is nothing to do, and returns for how long.
func (h *recorderHarness) step() time.Duration {
	h.t.Helper()
	for {
		before, _ := h.store.Head()
		wait, err := h.recorder.Step(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if after, _ := h.store.Head(); wait > 0 && before == after {
			return wait
		}
	}
}

func (h *recorderHarness) sync() syncs.Sync {
	h.t.Helper()
	s := storagetest.NewSync(h.t)
	if err := h.store.Create(h.t.Context(), s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// syncs creates n syncs at once, so that few commits store them.
func (h *recorderHarness) syncs(n int) []syncs.Sync {
	h.t.Helper()
	all := make([]syncs.Sync, n)
	var group sync.WaitGroup
	for i := range all {
		all[i] = storagetest.NewSync(h.t)
		group.Go(func() {
			if err := h.store.Create(h.t.Context(), all[i]); err != nil {
				h.t.Error(err)
			}
		})
	}
	group.Wait()
	return all
}

// due publishes that a run of s is due at the present.
func (h *recorderHarness) due(s syncs.Sync, late bool) runs.Key {
	h.t.Helper()
	h.publish(event.OfRun(&s, h.now, late))
	return runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: h.now}
}

// dueAll is due for each of several syncs, in one commit.
func (h *recorderHarness) dueAll(all []syncs.Sync) []runs.Key {
	h.t.Helper()
	events, keys := make([]event.Event, len(all)), make([]runs.Key, len(all))
	for i, s := range all {
		events[i] = event.OfRun(&s, h.now, false)
		keys[i] = runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: h.now}
	}
	h.publish(events...)
	return keys
}

func (h *recorderHarness) publish(events ...event.Event) {
	h.t.Helper()
	if err := h.store.Publish(h.t.Context(), events, "test", 0); err != nil {
		h.t.Fatal(err)
	}
}

func (h *recorderHarness) claim(key runs.Key) runs.Run {
	h.t.Helper()
	executor, lease := "worker", int64(60)
	run, _, err := h.runs.Claim(h.t.Context(), executorOf(key), key, runs.ClaimRequest{Executor: &executor, LeaseSeconds: &lease})
	if err != nil {
		h.t.Fatal(err)
	}
	return run
}

func executorOf(key runs.Key) auth.Caller {
	return auth.Caller{Workspace: key.Workspace, Scopes: []string{"runs:execute", "syncs:read", "syncs:write"}}
}

// stored returns the status of a run as it is in the store, whatever the time.
func (h *recorderHarness) stored(key runs.Key) string {
	h.t.Helper()
	run, err := h.runs.Store.Run(h.t.Context(), key)
	if fault.KindOf(err) == fault.NotFound && err != nil {
		return ""
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSuffix(string(run.Status)+" "+run.ErrorCode, " ")
}

func (h *recorderHarness) want(key runs.Key, status string) {
	h.t.Helper()
	if diff := cmp.Diff(status, h.stored(key)); diff != "" {
		h.t.Error(diff)
	}
}

// TestRecorder follows a run that no executor claims, one whose executor dies, and
// what is skipped in between, each step also after a restart.
func TestRecorder(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		h := newRecorder(t)
		step := func() time.Duration {
			if restarts {
				h.restart()
			}
			return h.step()
		}
		s := h.sync()
		first := h.due(s, false)
		step()
		h.want(first, "queued")

		h.now = h.now.Add(30 * time.Minute)
		second := h.due(s, false)
		step()
		h.want(second, "skipped overlap")

		h.now = h.now.Add(30*time.Minute - time.Millisecond)
		if wait := step(); wait > time.Millisecond {
			t.Errorf("waits %v, want to look at the run in a millisecond", wait)
		}
		h.want(first, "queued")
		h.now = h.now.Add(time.Millisecond)
		step()
		h.want(first, "failed not_claimed")

		third := h.due(s, true)
		step()
		h.want(third, "queued")
		for attempt := 1; attempt <= runs.MaxAttempts; attempt++ {
			h.claim(third)
			step()
			h.want(third, "in_progress")
			h.now = h.now.Add(time.Minute)
			step()
			if attempt < runs.MaxAttempts {
				h.want(third, "queued")
			}
		}
		h.want(third, "failed lease_expired")
		if run, _, err := h.runs.Read(t.Context(), executorOf(third), third); err != nil || !run.Late {
			t.Errorf("got %+v, %v", run, err)
		}
		got, err := h.store.Read(t.Context(), s.Workspace, s.ID)
		if err != nil || got.Status != syncs.Failed {
			t.Errorf("the sync is %s, %v", got.Status, err)
		}
	}
}

// TestRecorderHeartbeats checks that a run whose lease is extended is not ended at
// its first deadline.
func TestRecorderHeartbeats(t *testing.T) {
	t.Parallel()
	h := newRecorder(t)
	key := h.due(h.sync(), false)
	h.step()
	fence := h.claim(key).Fence()
	for range 10 {
		h.step()
		h.now = h.now.Add(59 * time.Second)
		if _, err := h.runs.Heartbeat(t.Context(), executorOf(key), key, runs.HeartbeatRequest{Fence: &fence}); err != nil {
			t.Fatal(err)
		}
	}
	h.step()
	h.want(key, "in_progress")
	h.now = h.now.Add(time.Minute)
	h.step()
	h.want(key, "queued")
}

// TestRecorderStops checks what a pause and a delete do to runs.
func TestRecorderStops(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		claim  bool
		change func(h *recorderHarness, s syncs.Sync) error
		want   string
	}{
		"a pause of a queued run": {false, (*recorderHarness).pause, "canceled"},
		"a pause of a run":        {true, (*recorderHarness).pause, "in_progress"},
		"a delete of a queued":    {false, (*recorderHarness).remove, "canceled"},
		"a delete of a run":       {true, (*recorderHarness).remove, "in_progress"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newRecorder(t)
			s := h.sync()
			key := h.due(s, false)
			h.step()
			if test.claim {
				h.claim(key)
			}
			if err := test.change(h, s); err != nil {
				t.Fatal(err)
			}
			h.step()
			h.want(key, test.want)
			run, err := h.runs.Store.Run(t.Context(), key)
			if err != nil || test.claim && strings.Contains(name, "delete") == run.CancelRequestedAt.IsZero() {
				t.Errorf("got %+v, %v", run, err)
			}
		})
	}
}

func (h *recorderHarness) pause(s syncs.Sync) error {
	s.Version, s.Status = s.Version+1, syncs.Disabled
	return h.store.Replace(h.t.Context(), s)
}

func (h *recorderHarness) remove(s syncs.Sync) error { return h.store.Delete(h.t.Context(), s) }

// TestRecorderManySyncs checks that all runs due in one second are recorded, in
// order for each sync, after a restart in between.
func TestRecorderManySyncs(t *testing.T) {
	t.Parallel()
	h := newRecorder(t)
	all := h.syncs(50)
	var last []runs.Key
	for round := range 3 {
		last = append(last, h.dueAll(all)...)
		if round == 1 {
			ctx, cancel := context.WithCancel(t.Context())
			_, changed := h.store.Head()
			go func() { defer cancel(); <-changed }()
			_, _ = h.recorder.Step(ctx) // some of it is done
			<-changed
			h.restart()
		}
		h.step()
		h.now = h.now.Add(time.Minute)
	}
	for i, key := range last {
		want := "queued"
		if i >= len(all) {
			want = "skipped overlap"
		}
		h.want(key, want)
	}
}

// TestRecorderStartsNow checks that a file with events of before has no runs made
// of them.
func TestRecorderStartsNow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "syncs.db")
	h := &recorderHarness{t: t, path: path, now: time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)}
	h.open()
	t.Cleanup(func() { _ = h.store.Close() })
	s := h.sync()
	old := h.due(s, false)
	h.step()
	h.want(old, "")
	h.now = h.now.Add(time.Minute)
	h.due(s, false)
	h.restart()
	h.step()
	h.want(runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: h.now}, "queued")
}

// TestRecorderCheckpoint checks that creates cost no commit of the recorder's, and
// that its checkpoint follows all the same.
func TestRecorderCheckpoint(t *testing.T) {
	t.Parallel()
	h := newRecorder(t)
	checkpoint := func() uint64 {
		t.Helper()
		at, ok, err := h.store.Checkpoint(bolt.RecorderCheckpoint)
		if err != nil || !ok {
			t.Fatalf("%v, %v", ok, err)
		}
		return at
	}
	s := storagetest.NewSync(t)
	created := event.Event{Kind: event.Created, ID: s.ID + "/1", Subject: s.ID, Workspace: s.Workspace, Time: s.CreatedAt, Data: []byte("{}")}
	h.publish(slices.Repeat([]event.Event{created}, 999)...)
	h.step()
	if got := checkpoint(); got != 0 {
		t.Errorf("after 999 events the checkpoint is %d", got)
	}
	h.sync()
	h.step()
	if got := checkpoint(); got != 1000 {
		t.Errorf("after 1,000 events the checkpoint is %d", got)
	}
}
