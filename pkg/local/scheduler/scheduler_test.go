package scheduler_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// harness is a store on the disk and a Scheduler over it whose time the test sets.
type harness struct {
	t         *testing.T
	path      string
	now       time.Time
	store     *bolt.Store
	scheduler *scheduler.Scheduler
	log       bytes.Buffer
	batch     int // runs in one commit; 0 is the number of the Scheduler
	ids       int
	seen      uint64
	data      map[string]string // of each run that started, by the ID of its event
	late      map[string]bool   // of each valid event without its time: whether its run is late
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	r := &harness{t: t, path: filepath.Join(t.TempDir(), "syncs.db"), now: time.Date(2026, time.November, 24, 12, 0, 0, 0, time.UTC), data: map[string]string{}, late: map[string]bool{}}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *harness) open() {
	r.t.Helper()
	store, err := bolt.Open(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = store
	r.scheduler = &scheduler.Scheduler{Store: store, Now: func() time.Time { return r.now }, Log: app.Logger(&r.log, "")}
	r.scheduler.SetBatch(r.batch)
}

// inBatchesOf sets how many runs are in one commit, also after a restart.
func (r *harness) inBatchesOf(runs int) {
	r.batch = runs
	r.scheduler.SetBatch(runs)
}

func (r *harness) close() {
	r.t.Helper()
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

// restart replaces the scheduler by a new one, after a while.
func (r *harness) restart(down time.Duration) {
	r.t.Helper()
	r.close()
	r.now = r.now.Add(down)
	r.open()
}

// create stores a sync that runs every so many minutes, or by cron.
func (r *harness) create(minutes int64, cron string) syncs.Sync {
	r.t.Helper()
	s := r.sync(minutes, cron)
	if err := r.store.Create(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// sync returns a sync that is not stored.
func (r *harness) sync(minutes int64, cron string) syncs.Sync {
	r.t.Helper()
	s := storagetest.NewSync(r.t)
	r.ids++
	s.Workspace, s.ID = "acme", fmt.Sprintf("019ab0c4-0000-7000-8000-%012d", r.ids)
	s.SyncInterval, s.CronExpression = minutes, cron
	s.CreatedAt, s.UpdatedAt, s.ScheduledAt = r.now, r.now, r.now
	return s
}

func (r *harness) change(s syncs.Sync, edit func(*syncs.Sync)) syncs.Sync {
	r.t.Helper()
	s.Version++
	s.UpdatedAt = r.now
	edit(&s)
	if err := r.store.Replace(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// step has the clock do its work, and returns the runs that started: the number
// of the sync, the time, and a star if it is late.
func (r *harness) step() []string {
	r.t.Helper()
	if _, err := r.scheduler.Step(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	return r.started()
}

func (r *harness) started() []string {
	r.t.Helper()
	started := []string{}
	for {
		entries, err := r.store.Events(r.seen, 1000)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(entries) == 0 {
			slices.Sort(started)
			return started
		}
		for _, e := range entries {
			r.seen = e.Sequence
			if e.Kind != event.Due {
				continue
			}
			if before, ok := r.data[e.ID]; ok && before != string(e.Data) {
				r.t.Errorf("the event %s had the data %s, and has %s", e.ID, before, e.Data)
			}
			r.data[e.ID] = string(e.Data)
			text := e.Subject[len(e.Subject)-1:] + " " + e.Time.Format("15:04:05")
			if r.isLate(e.Event) {
				text += "*"
			}
			started = append(started, text)
		}
	}
}

// isLate reports whether a run is late, and checks its event. Events that differ only in
// their time are checked once, which is most of the time of a test otherwise.
func (r *harness) isLate(e event.Event) bool {
	r.t.Helper()
	text := e.Append(nil, "http://127.0.0.1")
	form := strings.ReplaceAll(string(text), e.Time.Format("2006-01-02T15:04:05"), "0000-00-00T00:00:00")
	late, known := r.late[form]
	if !known {
		late = eventtest.Check(r.t, text).Data["late"] == true
		r.late[form] = late
	}
	return late
}

// want advances the clock and compares the runs that start.
func (r *harness) want(after time.Duration, want ...string) {
	r.t.Helper()
	r.now = r.now.Add(after)
	if diff := cmp.Diff(append([]string{}, want...), r.step()); diff != "" {
		r.t.Errorf("at %s: %s", r.now.Format("15:04:05"), diff)
	}
}

func TestRunsStartOnTime(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.want(0)
	r.now = r.now.Add(10*time.Second + 300*time.Millisecond)
	r.create(1, "")
	r.create(7, "*/5 * * * *")
	r.want(0)
	r.want(59 * time.Second)
	r.want(700*time.Millisecond, "1 12:01:10")
	r.want(0)
	r.want(time.Minute, "1 12:02:10")
	r.want(59 * time.Second) // 12:03:09
	r.want(time.Second, "1 12:03:10")
	r.want(110*time.Second, "1 12:04:10", "2 12:05:00")
	r.want(10*time.Second, "1 12:05:10")
}

// TestChanges checks that a run follows the sync's schedule, and that a change of
// something else does not move it.
func TestChanges(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	s := r.create(10, "")
	r.want(5 * time.Minute)
	s = r.change(s, func(s *syncs.Sync) { s.StreamName = "else" })
	r.want(5*time.Minute, "1 12:10:00")
	s = r.change(s, func(s *syncs.Sync) { s.Status = syncs.Disabled })
	r.want(25 * time.Minute) // 12:35
	s = r.change(s, func(s *syncs.Sync) { s.Status = syncs.Pending })
	r.want(0) // what was due at 12:20 and 12:30 does not count
	r.want(5*time.Minute, "1 12:40:00")
	s = r.change(s, func(s *syncs.Sync) { s.SyncInterval, s.ScheduledAt = 3, r.now })
	r.want(2 * time.Minute)
	r.want(time.Minute, "1 12:43:00")
	if err := r.store.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	r.want(time.Hour)
}

// TestDown checks that one late run is started for all missed ones, and that
// none starts twice or not at all.
func TestDown(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.create(10, "")
	r.create(1, "0 * * * *")
	paused := r.create(1, "")
	r.want(0)
	r.change(paused, func(s *syncs.Sync) { s.Status = syncs.Disabled })
	r.want(10*time.Minute, "1 12:10:00")
	r.restart(35 * time.Minute) // 12:45
	r.want(0, "1 12:40:00*")
	r.want(0)
	r.want(5*time.Minute, "1 12:50:00")
	r.restart(time.Second)
	r.want(0)
	r.restart(2*time.Hour + 10*time.Minute) // 15:00:01
	r.want(0, "1 15:00:00*", "2 15:00:00*")
	r.restart(0)
	r.want(0)
	r.want(10*time.Minute, "1 15:10:00")
}

// TestCreatedWhileDown checks that a sync which was made just before the
// machine went down has its run.
func TestCreatedWhileDown(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.want(0)
	r.now = r.now.Add(time.Minute)
	r.create(2, "")
	r.restart(5 * time.Minute) // 12:06
	r.want(0, "1 12:05:00*")
	r.want(time.Minute, "1 12:07:00")
}

// TestResumedAndDown checks that a restart does not start what was due while
// the sync was paused.
func TestResumedAndDown(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	s := r.create(10, "")
	r.want(0)
	s = r.change(s, func(s *syncs.Sync) { s.Status = syncs.Disabled })
	r.want(15 * time.Minute)
	r.change(s, func(s *syncs.Sync) { s.Status = syncs.Pending })
	r.want(0)
	r.restart(time.Minute)
	r.want(0)
	r.want(4*time.Minute, "1 12:20:00")
}

// TestAsleep checks that one late run is started after the machine was suspended.
func TestAsleep(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.create(1, "")
	r.want(0)
	r.want(time.Minute, "1 12:01:00")
	r.want(90*time.Second, "1 12:02:00") // half a minute is not late
	r.want(time.Hour, "1 13:02:00*")
	r.want(30*time.Second, "1 13:03:00")
}

// TestManyAtOnce checks that more runs than fit in a commit are all started, once.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	const batch, many = 10, 21 // three commits
	r.inBatchesOf(batch)
	var group sync.WaitGroup
	for range many { // at once, so that few commits store them
		s := r.sync(1, "")
		group.Go(func() {
			if err := r.store.Create(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	r.want(0)
	r.now = r.now.Add(time.Minute)
	if got := len(r.step()); got != many {
		t.Errorf("%d runs started, want %d", got, many)
	}
	r.restart(0)
	r.want(0)
}

// TestStoreThatFails checks that a run that could not be stored is started later.
func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.create(1, "")
	r.want(0)
	r.now = r.now.Add(time.Minute)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, _ = r.scheduler.Step(ended) // the commit may win, and the run has started
	r.now = r.now.Add(30 * time.Second)
	started := slices.Compact(append(r.started(), r.step()...))
	if diff := cmp.Diff([]string{"1 12:01:00"}, started); diff != "" {
		t.Error(diff)
	}
	r.want(30*time.Second, "1 12:02:00")
}

// TestRun checks that Run starts a run when it is due.
func TestRun(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	started, shift := time.Now(), 59*time.Second
	r.scheduler.Now = func() time.Time { return r.now.Add(time.Since(started)) }
	s := r.create(1, "")
	s = r.change(s, func(s *syncs.Sync) { s.ScheduledAt = r.now.Add(-shift) }) // due in a second
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.scheduler.Run(ctx) }()
	for {
		head, changed := r.store.Head()
		if head >= 3 { // created, updated and due
			break
		}
		<-changed
	}
	cancel()
	<-done
	if got := r.started(); len(got) != 1 {
		t.Errorf("started: %v of %s", got, s.ID)
	}
}
