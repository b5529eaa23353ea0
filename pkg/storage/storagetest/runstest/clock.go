package runstest

import (
	"testing"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/storagetest"
)

// clocked is a service over a backend, with the runs of one sync.
type clocked struct {
	t       *testing.T
	b       Backend
	service *runs.Service
	key     runs.Key // of the sync; its time is not used
	caller  auth.Caller
}

func newClocked(t *testing.T, b Backend) clocked {
	t.Helper()
	s := storagetest.NewSync(t)
	must(t, b.Syncs.Create(t.Context(), s))
	return clocked{
		t: t, b: b, key: runs.Key{Workspace: s.Workspace, SyncID: s.ID},
		service: &runs.Service{Store: b.Runs, Syncs: b.Syncs, Now: b.Clock.Now, Retention: runs.DefaultRetention()},
		caller:  auth.Caller{Workspace: s.Workspace, Scopes: []string{string(auth.ReadSyncs), string(auth.WriteSyncs), string(auth.ExecuteRuns)}},
	}
}

// due records that a run is due now, and checks its status.
func (c clocked) due(want runs.Status) runs.Key {
	c.t.Helper()
	key := c.key
	key.Time = c.b.Clock.Now().Truncate(time.Second)
	run, created, err := c.service.Due(c.t.Context(), key, false)
	if err != nil || !created || run.Status != want {
		c.t.Errorf("a run that is due at %v: got %s %s, %v, %v, want %s", key.Time, run.Status, run.ErrorCode, created, err, want)
	}
	return key
}

func (c clocked) trigger() runs.Run {
	c.t.Helper()
	out, err := c.service.Trigger(c.t.Context(), c.caller, runs.TriggerRequest{SyncID: c.key.SyncID, Type: runs.General, Trigger: runs.ByAPI})
	if err != nil || !out.Created {
		c.t.Errorf("trigger: got %+v, %v", out, err)
	}
	return out.Run
}

func (c clocked) claim(key runs.Key) runs.Run {
	c.t.Helper()
	executor, lease := "worker", int64(300)
	run, _, err := c.service.Claim(c.t.Context(), c.caller, key, runs.ClaimRequest{Executor: &executor, LeaseSeconds: &lease})
	if err != nil {
		c.t.Errorf("claim %v: %v", key.Time, err)
	}
	return run
}

func (c clocked) finish(run runs.Run) runs.Run {
	c.t.Helper()
	fence, status := run.Fence(), string(runs.Success)
	ended, err := c.service.Finish(c.t.Context(), c.caller, run.Key, runs.Report{Fence: &fence, Status: &status})
	if err != nil {
		c.t.Errorf("finish %v: %v", run.Time, err)
	}
	return ended
}

// want checks the current state of a run.
func (c clocked) want(key runs.Key, status runs.Status, code string) {
	c.t.Helper()
	run, _, err := c.service.Read(c.t.Context(), c.caller, key)
	if err != nil || run.Status != status || run.ErrorCode != code {
		c.t.Errorf("the run at %v: got %s %q, %v, want %s %q", key.Time, run.Status, run.ErrorCode, err, status, code)
	}
}

// testLost checks that a sync runs again whose open or waiting run has expired while nothing
// was running that could end it, also if the run has been removed from the store.
func testLost(t *testing.T, b Backend) {
	for _, waiting := range []bool{false, true} {
		c := newClocked(t, b)
		first := c.due(runs.Queued)
		var second runs.Key
		if waiting {
			c.claim(first)
			second = c.trigger().Key
		}
		b.Clock.Advance(runs.DefaultRetention().Runs + time.Hour)
		if _, _, err := c.service.Expire(t.Context(), c.key.Workspace, c.key.SyncID); err != nil {
			t.Errorf("waiting %t: expire: %v", waiting, err)
		}
		if waiting {
			c.finish(c.claim(second))
		}
		c.finish(c.claim(c.due(runs.Queued)))
		c.finish(c.claim(c.trigger().Key))

		c = newClocked(t, b)
		removed := runs.Slot{Workspace: c.key.Workspace, SyncID: c.key.SyncID, Version: 1, Open: b.Clock.Now().Add(-time.Hour)}
		if waiting {
			removed.Waiting = removed.Open.Add(time.Minute)
		}
		must(t, b.Runs.Commit(t.Context(), runs.Change{Slot: &runs.SlotChange{After: &removed}}))
		if _, ok, err := c.service.Expire(t.Context(), c.key.Workspace, c.key.SyncID); ok || err != nil {
			t.Errorf("waiting %t: expire a run that is removed: %t, %v", waiting, ok, err)
		}
		c.finish(c.claim(c.due(runs.Queued)))
	}
}

// testSetBack checks that runs continue with the corrected clock after it was set back: it was
// ahead when earlier runs began.
func testSetBack(t *testing.T, b Backend) {
	for _, ahead := range []time.Duration{10 * time.Minute, 2 * time.Hour, 10 * 365 * 24 * time.Hour} {
		back := func() { b.Clock.Advance(-ahead) }
		begin := func() clocked { b.Clock.Advance(ahead); return newClocked(t, b) }

		c := begin() // the runs before it have ended
		c.finish(c.claim(c.due(runs.Queued)))
		b.Clock.Advance(time.Minute)
		c.finish(c.claim(c.trigger().Key))
		back()
		c.finish(c.claim(c.due(runs.Queued)))
		b.Clock.Advance(time.Minute)
		triggered := c.trigger()
		if now := b.Clock.Now(); triggered.Time.After(now) {
			t.Errorf("ahead %v: a run that was triggered at %v is at %v", ahead, now, triggered.Time)
		}
		c.finish(c.claim(triggered.Key))
		b.Clock.Advance(time.Minute)
		c.finish(c.claim(c.due(runs.Queued)))

		c = begin() // one is queued, which no executor claims
		queued := c.due(runs.Queued)
		b.Clock.Advance(5 * time.Minute)
		back()
		c.due(runs.Skipped) // overlap
		b.Clock.Advance(runs.ClaimWithin)
		c.want(queued, runs.Failed, runs.CodeNotClaimed)
		c.due(runs.Queued)

		c = begin() // one is in progress, and its executor dies
		taken := c.due(runs.Queued)
		c.claim(taken)
		b.Clock.Advance(time.Minute)
		back()
		c.due(runs.Skipped)
		b.Clock.Advance(5 * time.Minute)
		c.want(taken, runs.Queued, "")

		c = begin() // one is in progress, and its executor lives
		taken = c.due(runs.Queued)
		run := c.claim(taken)
		back()
		for range 3 {
			b.Clock.Advance(4 * time.Minute)
			fence := run.Fence()
			beaten, err := c.service.Heartbeat(t.Context(), c.caller, taken, runs.HeartbeatRequest{Fence: &fence})
			if err != nil || beaten.EndBy.After(b.Clock.Now().Add(runs.RunWithin)) {
				t.Errorf("ahead %v: heartbeat: it may run until %v, %v", ahead, beaten.EndBy, err)
			}
		}
		ended := c.finish(run)
		if took, ok := ended.Duration(); !ok || took < 0 || took > time.Hour {
			t.Errorf("ahead %v: the run took %v, %v", ahead, took, ok)
		}

		c = begin() // one is in progress, and ignores a request to stop
		taken = c.due(runs.Queued)
		run = c.claim(taken)
		if _, _, err := c.service.Cancel(t.Context(), c.caller, taken, false); err != nil {
			t.Error(err)
		}
		back()
		fence := run.Fence()
		for range 2 {
			b.Clock.Advance(2 * time.Minute)
			_, _ = c.service.Heartbeat(t.Context(), c.caller, taken, runs.HeartbeatRequest{Fence: &fence})
		}
		b.Clock.Advance(3 * time.Minute)
		c.want(taken, runs.Canceled, "")
	}
}

// testFarAhead checks that a clock that was ahead for a moment, by more than runs are kept,
// leaves no run that is open without the slot of its sync: two could then be executed at
// once, and the report of the first one would never be accepted or refused.
func testFarAhead(t *testing.T, b Backend) {
	ctx := t.Context()
	for _, ahead := range []time.Duration{runs.RunWithin, runs.DefaultRetention().Runs + time.Hour, 10 * 365 * 24 * time.Hour} {
		c := newClocked(t, b)
		run := c.claim(c.due(runs.Queued))
		b.Clock.Advance(time.Minute)
		c.trigger()
		b.Clock.Advance(ahead)
		if _, _, err := c.service.Expire(ctx, c.key.Workspace, c.key.SyncID); err != nil {
			t.Errorf("ahead %v: expire: %v", ahead, err)
		}
		b.Clock.Advance(-ahead)

		fence, status := run.Fence(), string(runs.Success)
		if _, err := c.service.Heartbeat(ctx, c.caller, run.Key, runs.HeartbeatRequest{Fence: &fence}); !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
			t.Errorf("ahead %v: the heartbeat of a run whose lease has expired: %v", ahead, err)
		}
		if _, err := c.service.Finish(ctx, c.caller, run.Key, runs.Report{Fence: &fence, Status: &status}); !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
			t.Errorf("ahead %v: the report of a run whose lease has expired: %v", ahead, err)
		}
		slot, _, err := b.Truth.Slot(ctx, c.key.Workspace, c.key.SyncID)
		if err != nil {
			t.Fatal(err)
		}
		all, _, err := b.Truth.Runs(ctx, c.key.Workspace, c.key.SyncID, time.Time{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			if !r.Status.Final() && !r.Time.Equal(slot.Open) && !r.Time.Equal(slot.Waiting) {
				t.Errorf("ahead %v: the run at %v is %s, and the slot of its sync is %+v", ahead, r.Time, r.Status, slot)
			}
		}
	}
}

// testSkew checks that a run has no end before its start, if the clock of the machine that
// ends it is behind that of the one that began it.
func testSkew(t *testing.T, b Backend) {
	c := newClocked(t, b)
	run := c.claim(c.due(runs.Queued))
	b.Clock.Advance(-20 * time.Millisecond)
	if took, ok := c.finish(run).Duration(); !ok || took < 0 {
		t.Errorf("a run that was reported took %v, %v", took, ok)
	}
	b.Clock.Advance(time.Minute)
	run = c.claim(c.due(runs.Queued))
	b.Clock.Advance(-2 * time.Second)
	canceled, _, err := c.service.Cancel(t.Context(), c.caller, run.Key, true)
	if took, ok := canceled.Duration(); err != nil || !ok || took < 0 {
		t.Errorf("a run that was canceled took %v, %v, %v", took, ok, err)
	}
}

// testUnset checks that a machine whose clock is not set when it starts changes nothing of a
// lease, and triggers no run of the past.
func testUnset(t *testing.T, b Backend) {
	c := newClocked(t, b)
	taken := c.due(runs.Queued)
	run := c.claim(taken)
	since := b.Clock.Now().Sub(time.Unix(5, 0))
	b.Clock.Advance(-since)
	if _, _, err := c.service.Expire(t.Context(), c.key.Workspace, c.key.SyncID); err != nil {
		t.Error(err)
	}
	if waiting := c.trigger(); !waiting.Time.After(taken.Time) {
		t.Errorf("a run was triggered at %v", waiting.Time)
	}
	b.Clock.Advance(since + time.Minute)
	c.want(taken, runs.InProgress, "")
	c.finish(run)
}
