package runstest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// concurrent is how many callers do the same at once.
const concurrent = 8

// life is a sync with a service for its runs.
type life struct {
	t       *testing.T
	backend Backend
	service *runs.Service
	who     auth.Caller
	sync    syncs.Sync
}

func newLife(t *testing.T, b Backend) *life {
	t.Helper()
	l := &life{t: t, backend: b, who: auth.Caller{Workspace: "w-" + uuid.NewString(), Scopes: []string{
		string(auth.ReadSyncs), string(auth.WriteSyncs), string(auth.ExecuteRuns),
	}}}
	service := &syncs.Service{Store: b.Syncs, Now: b.Clock.Now, NewID: func() (string, error) { id, err := uuid.NewV7(); return id.String(), err }}
	var err error
	l.sync, err = service.Create(t.Context(), l.who, draft())
	must(t, err)
	l.service = &runs.Service{Store: b.Runs, Syncs: b.Syncs, Now: b.Clock.Now, Retention: runs.DefaultRetention()}
	return l
}

// key returns the key of the run at the present minute.
func (l *life) key() runs.Key {
	return runs.Key{Workspace: l.who.Workspace, SyncID: l.sync.ID, Time: l.backend.Clock.Now().Truncate(time.Minute)}
}

// due records the run of the next minute.
func (l *life) due() runs.Key {
	l.t.Helper()
	l.backend.Clock.Advance(time.Minute)
	run, created, err := l.service.Due(l.t.Context(), l.key(), false)
	if err != nil || !created {
		l.t.Fatalf("got created %v, %v", created, err)
	}
	return run.Key
}

func (l *life) claim(key runs.Key, executor string, lease time.Duration) runs.Run {
	l.t.Helper()
	run, _, err := l.service.Claim(l.t.Context(), l.who, key, runs.ClaimRequest{Executor: &executor, LeaseSeconds: new(int64(lease / time.Second))})
	must(l.t, err)
	return run
}

func (l *life) trigger() (runs.Triggered, error) {
	return l.service.Trigger(l.t.Context(), l.who, runs.TriggerRequest{SyncID: l.sync.ID, Type: runs.General, Trigger: runs.ByAPI})
}

func (l *life) finish(key runs.Key, fence int64, status runs.Status) (runs.Run, error) {
	return l.service.Finish(l.t.Context(), l.who, key, runs.Report{Fence: &fence, Status: new(string(status)), Counters: runs.Counters{TotalRows: new(int64(3))}})
}

func (l *life) beat(key runs.Key, fence int64) (runs.Run, error) {
	return l.service.Heartbeat(l.t.Context(), l.who, key, runs.HeartbeatRequest{Fence: &fence})
}

func (l *life) read(key runs.Key) runs.Run {
	l.t.Helper()
	run, _, err := l.service.Read(l.t.Context(), l.who, key)
	must(l.t, err)
	return run
}

// all returns all stored runs of the sync, newest first.
func (l *life) all() []runs.Run {
	l.t.Helper()
	all, _, err := l.backend.Truth.Runs(l.t.Context(), l.who.Workspace, l.sync.ID, time.Time{}, 1000)
	must(l.t, err)
	return all
}

// wantStatus checks the current status of a run and its code.
func (l *life) wantStatus(key runs.Key, want runs.Status, code string) {
	l.t.Helper()
	if run := l.read(key); run.Status != want || run.ErrorCode != code {
		l.t.Errorf("got %s %q, want %s %q", run.Status, run.ErrorCode, want, code)
	}
}

// wantSlot checks the open and the waiting run; a zero time is none.
func (l *life) wantSlot(open, waiting time.Time) {
	l.t.Helper()
	slot, ok, err := l.backend.Truth.Slot(l.t.Context(), l.who.Workspace, l.sync.ID)
	must(l.t, err)
	if ok == open.IsZero() || !slot.Open.Equal(open) || !slot.Waiting.Equal(waiting) {
		l.t.Errorf("got the slot %+v, %v, want %v open and %v waiting", slot, ok, open, waiting)
	}
}

// concurrently calls do from several goroutines and returns the errors.
func concurrently(do func(i int) error) []error {
	var group sync.WaitGroup
	failures := make([]error, concurrent)
	for i := range concurrent {
		group.Go(func() { failures[i] = do(i) })
	}
	group.Wait()
	return failures
}

// wantFenced checks that a request was refused because its lease is over.
func wantFenced(tb testing.TB, err error) {
	tb.Helper()
	if !fault.Is(err, fault.Conflict) || errorCode(err) != "fenced" {
		tb.Errorf("got %v, want the conflict fenced", err)
	}
}

// MustHold1 checks that a scheduled time has one run, that a sync has at most one open
// and one waiting run, and that its slot refers to them.
func MustHold1(t *testing.T, b Backend) {
	l := newLife(t, b)
	l.backend.Clock.Advance(time.Minute)
	first := l.key()
	created := make([]bool, concurrent)
	for _, err := range concurrently(func(i int) (err error) {
		_, created[i], err = l.service.Due(t.Context(), first, i%2 == 1)
		return err
	}) {
		must(t, err)
	}
	count := 0
	for _, c := range created {
		if c {
			count++
		}
	}
	if all := l.all(); count != 1 || len(all) != 1 || all[0].Status != runs.Queued {
		t.Fatalf("%d of %d deliveries created a run; stored are %+v", count, concurrent, all)
	}
	l.wantSlot(first.Time, time.Time{})

	running := l.claim(first, "a", time.Hour)
	answers := make([]runs.Triggered, concurrent)
	for _, err := range concurrently(func(i int) (err error) {
		answers[i], err = l.trigger()
		return err
	}) {
		must(t, err)
	}
	waiting := answers[0].Run
	for _, answer := range answers {
		if answer.Run.Key != waiting.Key || answer.Run.Status != runs.Pending {
			t.Errorf("got %+v, want the run that waits, %+v", answer.Run, waiting)
		}
	}
	l.wantSlot(first.Time, waiting.Time)
	if all := l.all(); len(all) != 2 {
		t.Errorf("got %d runs, want one that is open and one that waits", len(all))
	}
	second := l.due()
	l.wantStatus(second, runs.Skipped, runs.CodeOverlap)
	old := first
	old.Time = first.Time.Add(-time.Minute)
	_, _, err := l.service.Due(t.Context(), old, false)
	must(t, err)
	l.wantStatus(old, runs.Skipped, runs.CodeSuperseded)
	l.wantSlot(first.Time, waiting.Time)
	_, err = l.finish(first, running.Fence(), runs.Success)
	must(t, err)
	l.wantStatus(waiting.Key, runs.Queued, "")
	l.wantSlot(waiting.Time, time.Time{})
	again := l.claim(waiting.Key, "a", time.Hour)
	_, err = l.finish(waiting.Key, again.Fence(), runs.Success)
	must(t, err)
	l.wantSlot(time.Time{}, time.Time{})
}

// MustHold2 checks that a run accepts one report, from the live fence.
func MustHold2(t *testing.T, b Backend) {
	l := newLife(t, b)
	key := l.due()
	first := l.claim(key, "a", runs.MinLease)
	l.backend.Clock.Advance(runs.MinLease)
	second := l.claim(key, "b", time.Hour)
	if second.Fence() <= first.Fence() {
		t.Fatalf("the fences are %d and then %d", first.Fence(), second.Fence())
	}
	_, err := l.finish(key, first.Fence(), runs.Failed)
	wantFenced(t, err)
	_, err = l.finish(key, second.Fence()+1, runs.Failed)
	wantFenced(t, err)
	l.wantStatus(key, runs.InProgress, "")

	status := func(i int) runs.Status { return runs.ReportStatuses()[i%len(runs.ReportStatuses())] }
	failures := concurrently(func(i int) error {
		_, err := l.finish(key, second.Fence(), status(i))
		return err
	})
	stored := l.read(key)
	if !stored.Reported || stored.Fence() != second.Fence() {
		t.Fatalf("no report was accepted: %+v", stored)
	}
	for i, err := range failures {
		switch {
		case status(i) == stored.Status: // the accepted report and its repetitions
			must(t, err)
		case errorCode(err) != "run_ended":
			t.Errorf("got %v, want the conflict run_ended", err)
		}
	}
}

// MustHold3 checks that every run ends: a queued one within an hour, one in progress
// within 24 hours in spite of its heartbeats, a canceled one within a lease.
func MustHold3(t *testing.T, b Backend) {
	ends := func(l *life, key runs.Key, within time.Duration, want runs.Status, code string) {
		t.Helper()
		l.backend.Clock.Advance(within - time.Millisecond)
		if run := l.read(key); run.Status.Final() {
			t.Errorf("the run ended before %v: %+v", within, run)
		}
		l.backend.Clock.Advance(time.Millisecond)
		l.wantStatus(key, want, code)
		_, open, err := l.service.Expire(t.Context(), l.who.Workspace, l.sync.ID)
		if err != nil || open {
			t.Errorf("got open %v, %v", open, err)
		}
		if stored, err := l.backend.Truth.Run(t.Context(), key); err != nil || stored.Status != want {
			t.Errorf("stored is %+v, %v", stored, err)
		}
		l.wantSlot(time.Time{}, time.Time{})
	}
	l := newLife(t, b)
	ends(l, l.due(), time.Hour, runs.Failed, runs.CodeNotClaimed)

	l = newLife(t, b)
	key := l.due()
	run := l.claim(key, "a", runs.MaxLease)
	begin := l.backend.Clock.Now()
	for range 4 { // the last one would extend it beyond the limit
		l.backend.Clock.Advance(5 * time.Hour)
		_, err := l.beat(key, run.Fence())
		must(t, err)
	}
	ends(l, key, begin.Add(24*time.Hour).Sub(l.backend.Clock.Now()), runs.Failed, runs.CodeTimedOut)

	l = newLife(t, b)
	key = l.due()
	for range runs.MaxAttempts - 1 { // each executor crashes
		l.claim(key, "a", runs.MinLease)
		l.backend.Clock.Advance(runs.MinLease)
		l.wantStatus(key, runs.Queued, "")
	}
	l.claim(key, "a", runs.MinLease)
	ends(l, key, runs.MinLease, runs.Failed, runs.CodeLeaseExpired)

	l = newLife(t, b)
	key = l.due()
	run = l.claim(key, "a", time.Hour)
	l.backend.Clock.Advance(30 * time.Minute)
	if _, underWay, err := l.service.Cancel(t.Context(), l.who, key, false); err != nil || !underWay {
		t.Fatalf("got %v, %v", underWay, err)
	}
	beat, err := l.beat(key, run.Fence())
	must(t, err)
	if beat.CancelRequestedAt.IsZero() || beat.DeadlineAt.After(l.backend.Clock.Now().Add(time.Hour)) {
		t.Errorf("the response to a heartbeat after a cancel is %+v", beat)
	}
	ends(l, key, beat.DeadlineAt.Sub(l.backend.Clock.Now()), runs.Canceled, "")
}

// MustHold4 checks that a report is effective or kept, that the last attempt of a
// triggered run starts after the trigger, and that a final run does not change.
func MustHold4(t *testing.T, b Backend) {
	ctx := t.Context()
	l := newLife(t, b)
	key := l.due()
	running := l.claim(key, "a", time.Hour)
	at := l.backend.Clock.Now()
	answer, err := l.trigger()
	must(t, err)
	if answer.Run.Key == key {
		t.Fatal("a trigger got the run that had started before it")
	}
	l.backend.Clock.Advance(time.Second)
	_, err = l.finish(key, running.Fence(), runs.Success)
	must(t, err)
	if attempt := l.claim(answer.Run.Key, "a", time.Hour); attempt.StartedAt.Before(at) || attempt.Fence() <= running.Fence() {
		t.Errorf("the run of a trigger at %v started at %v", at, attempt.StartedAt)
	}

	// Each way to end, the fence of its executor, and whether the executor has
	// reported.
	for want, end := range map[runs.Status]func(t *testing.T, l *life) (key runs.Key, fence int64){
		runs.Success: func(t *testing.T, l *life) (runs.Key, int64) {
			t.Helper()
			run := l.claim(l.due(), "a", time.Hour)
			_, err := l.finish(run.Key, run.Fence(), runs.Success)
			must(t, err)
			return run.Key, run.Fence()
		},
		runs.Failed: func(t *testing.T, l *life) (runs.Key, int64) {
			t.Helper()
			run := l.claim(l.due(), "a", runs.MaxLease)
			l.backend.Clock.Advance(runs.RunWithin)
			for range runs.MaxAttempts { // what is left of the time limit
				_, _, err := l.service.Expire(ctx, l.who.Workspace, l.sync.ID)
				must(t, err)
			}
			return run.Key, run.Fence()
		},
		runs.Canceled: func(t *testing.T, l *life) (runs.Key, int64) {
			t.Helper()
			run := l.claim(l.due(), "a", time.Hour)
			_, _, err := l.service.Cancel(ctx, l.who, run.Key, true)
			must(t, err)
			return run.Key, run.Fence()
		},
	} {
		t.Run(string(want), func(t *testing.T) {
			l := newLife(t, b)
			key, fence := end(t, l)
			before, err := l.backend.Truth.Run(ctx, key)
			must(t, err)
			if before.Status != want {
				t.Fatalf("got %+v", before)
			}
			for _, status := range runs.ReportStatuses() {
				if status == want && before.Reported {
					continue // a repetition
				}
				_, err := l.finish(key, fence, status)
				wantKind(t, err, fault.Conflict)
				if kept, err := l.backend.Truth.Run(ctx, key); err != nil || kept.LateReport == nil || kept.LateReport.Status != status || *kept.LateReport.TotalRows != 3 {
					t.Errorf("the report %s is not kept: %+v, %v", status, kept.LateReport, err)
				}
			}
			_, err = l.beat(key, fence)
			wantKind(t, err, fault.Conflict)
			_, _, err = l.service.Claim(ctx, l.who, key, runs.ClaimRequest{Executor: new("b")})
			wantKind(t, err, fault.Conflict)
			_, _, err = l.service.Due(ctx, key, false)
			must(t, err)
			for _, force := range []bool{false, true} {
				_, _, err = l.service.Cancel(ctx, l.who, key, force)
				if want == runs.Canceled {
					must(t, err)
				} else {
					wantKind(t, err, fault.Conflict)
				}
			}
			must(t, l.service.Stop(context.WithoutCancel(ctx), key.Workspace, key.SyncID))
			after, err := l.backend.Truth.Run(ctx, key)
			must(t, err)
			after.LateReport, after.Version, after.UpdatedAt, after.Transition = before.LateReport, before.Version, before.UpdatedAt, before.Transition
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the final run changed: %s", diff)
			}
		})
	}
}
