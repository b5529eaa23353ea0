package runstest

import (
	"context"
	"testing"
	"time"

	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// hooked is a Store that calls before once, before the next commit.
type hooked struct {
	runs.Store
	before func()
}

// Commit calls before first.
func (h *hooked) Commit(ctx context.Context, change runs.Change) error {
	if before := h.before; before != nil {
		h.before = nil
		before()
	}
	return h.Store.Commit(ctx, change)
}

// testFencesGrow checks that a run is not executed after a newer one of its sync, even if
// that was triggered, claimed and finished while the older one was being claimed before
// its event had recorded it, or being recorded.
func testFencesGrow(t *testing.T, b Backend) {
	for name, recorded := range map[string]bool{"recorded": true, "claimed first": false} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, b)
			l.backend.Clock.Advance(time.Minute)
			key := runs.Key{Workspace: l.who.Workspace, SyncID: l.sync.ID, Time: b.Clock.Now()} // its first scheduled time
			l.backend.Clock.Advance(30 * time.Second)
			newer := func() {
				answer, err := l.trigger()
				must(t, err)
				run := l.claim(answer.Run.Key, "a", time.Hour)
				_, err = l.finish(run.Key, run.Fence(), runs.Success)
				must(t, err)
			}
			racing := *l.service
			racing.Store = &hooked{Store: b.Runs, before: newer}
			if recorded {
				_, _, err := racing.Due(t.Context(), key, false)
				must(t, err)
			}
			run, _, err := racing.Claim(t.Context(), l.who, key, runs.ClaimRequest{Executor: new("b")})
			if errorCode(err) != "run_ended" {
				t.Errorf("got %+v, %v, want the conflict run_ended", run, err)
			}
			if all := l.all(); len(all) != 2 || all[1].Attempt > 0 || !all[1].Status.Final() {
				t.Errorf("got %+v", all)
			}
			l.wantSlot(time.Time{}, time.Time{})
		})
	}
}

// testClaimAhead checks that a run which no event has recorded can be claimed at the times
// of the schedule, and not at times before the schedule was set: the sync did not run then.
func testClaimAhead(t *testing.T, b Backend) {
	for name, cron := range map[string]string{"interval": "", "cron": "* * * * *"} {
		t.Run(name, func(t *testing.T) {
			set := b.Clock.Now().Truncate(time.Minute).Add(time.Minute)
			b.Clock.Advance(set.Sub(b.Clock.Now()))
			l := newLife(t, b)
			if cron != "" {
				service := &syncs.Service{Store: b.Syncs, Now: b.Clock.Now}
				_, err := service.Change(t.Context(), l.who, l.sync.ID, syncs.Draft{CronExpression: &cron}, syncs.Precondition{})
				must(t, err)
			}
			b.Clock.Advance(10 * time.Second)
			for _, before := range []time.Duration{0, time.Minute, 29 * time.Minute, 59 * time.Minute} {
				key := runs.Key{Workspace: l.who.Workspace, SyncID: l.sync.ID, Time: set.Add(-before)}
				_, _, err := l.service.Claim(t.Context(), l.who, key, runs.ClaimRequest{Executor: new("a")})
				wantKind(t, err, fault.NotFound)
			}
			if all := l.all(); len(all) > 0 {
				t.Errorf("got %+v", all)
			}
			b.Clock.Advance(time.Minute)
			key := runs.Key{Workspace: l.who.Workspace, SyncID: l.sync.ID, Time: set.Add(time.Minute)}
			run := l.claim(key, "a", time.Minute)
			if run.Trigger != runs.BySchedule || run.Attempt != 1 {
				t.Errorf("got %+v", run)
			}
		})
	}
}
