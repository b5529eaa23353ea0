package runstest

import (
	"context"
	"testing"
	"time"

	"syncplane/pkg/runs"
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
