package reconciler_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/awsfake"
)

// Between yields the syncs of a range.
func (tb *table) Between(_ context.Context, from, to string) iter.Seq2[syncs.Sync, error] {
	return func(yield func(syncs.Sync, error) bool) {
		tb.mu.Lock()
		all := slices.Collect(maps.Values(tb.rows))
		unreadable := slices.Clone(tb.unreadable)
		tb.mu.Unlock()
		for _, s := range all {
			if s.ID >= from && (to == "" || s.ID < to) && !yield(s, nil) {
				return
			}
		}
		for _, id := range unreadable {
			if id >= from && (to == "" || id < to) && !yield(syncs.Sync{}, fmt.Errorf("row %s: %w", id, syncs.ErrUnreadable)) {
				return
			}
		}
	}
}

// checkpoints is a checkpoint in memory.
type checkpoints struct {
	mu     sync.Mutex
	stored reconciler.Checkpoint
}

func (c *checkpoints) LoadCheckpoint(context.Context) (reconciler.Checkpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored, nil
}

func (c *checkpoints) SaveCheckpoint(_ context.Context, next reconciler.Checkpoint) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if next.Version != c.stored.Version+1 {
		return reconciler.ErrOvertaken
	}
	c.stored = next
	return nil
}

// round returns a Round with small windows and pages, which compares in full only what it
// must. A window has more than one page, and the syncs of a test take several windows.
func (h *harness) round() *reconciler.Round {
	h.server.PageSize = 25
	return &reconciler.Round{Reconciler: h.Reconciler, Table: h.table, Checkpoints: &checkpoints{}, Window: 30, Full: 1}
}

// year is the syncs that were created in the course of a year before end, by age, and a
// Server with their schedules.
type year struct {
	end    time.Time
	syncs  []syncs.Sync
	server *awsfake.Server
}

func newYear(t *testing.T) year {
	t.Helper()
	const count = 125
	h := newHarness()
	y := year{end: h.Now(), server: h.server}
	var now time.Time // of the server
	h.server.Now = func() time.Time { return now }
	for i := range count {
		s := storagetest.NewSync(t)
		at := y.end.Add(-(count - time.Duration(i)) * 365 * 24 * time.Hour / count).Truncate(time.Millisecond)
		hex := fmt.Sprintf("%012x", at.UnixMilli())
		s.ID = fmt.Sprintf("%s-%s-7%03x-8000-%012x", hex[:8], hex[8:], i%4096, i)
		s.Workspace, s.CronExpression = fmt.Sprint("w", i%7), ""
		if i%3 == 0 {
			s.CronExpression = "0 0 13 * FRI" // two schedules
		}
		s.CreatedAt, s.UpdatedAt, s.ScheduledAt = at, at, at
		h.table.put(s)
		now = at.Add(time.Second)
		h.reconcile(t, s)
		y.syncs = append(y.syncs, s)
	}
	return y
}

// past is the year before the test. Its hundreds of calls are made once.
var past struct {
	mu sync.Mutex
	year
}

// fill stores the newest n syncs of a year, each with its schedules, and returns them by
// age.
func (h *harness) fill(t *testing.T, n int) []syncs.Sync {
	t.Helper()
	past.mu.Lock()
	defer past.mu.Unlock()
	if past.syncs == nil {
		past.year = newYear(t)
	}
	return h.fillFrom(past.year, n)
}

func (h *harness) fillFrom(y year, n int) []syncs.Sync {
	all := slices.Clone(y.syncs[len(y.syncs)-n:])
	for _, s := range all {
		h.table.put(s)
	}
	h.server.CopySchedules(y.server, func(name string) bool { return name >= "sync-"+all[0].ID })
	h.server.Now = func() time.Time { return y.end }
	return all
}

// damage makes every kind of drift that ListSchedules shows, and returns the IDs.
func (h *harness) damage(t *testing.T, all []syncs.Sync, every int) (drift []string) {
	t.Helper()
	remove := func(name string) {
		t.Helper()
		if _, err := h.Client.DeleteSchedule(t.Context(), &scheduler.DeleteScheduleInput{Name: &name, GroupName: aws.String(group)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(all); i += every {
		s := all[i]
		drift = append(drift, s.ID)
		switch (i / every) % 4 {
		case 0:
			remove("sync-" + s.ID)
		case 1:
			h.table.remove(s)
		case 2: // paused, and the event was lost
			s.Version, s.Status = 2, syncs.Disabled
			h.table.put(s)
		case 3: // rescheduled, and the event was lost
			s.Version, s.SyncInterval, s.CronExpression, s.ScheduledAt = 2, 77, "", s.ScheduledAt.Add(time.Hour)
			h.table.put(s)
		}
	}
	slices.Sort(drift)
	return drift
}

// finish calls Run until the round has ended, and returns the sum of the reports, the
// repaired IDs and the number of calls.
func finish(t *testing.T, round *reconciler.Round, limit time.Duration) (sum reconciler.Report, repaired []string, calls int) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		report, err := round.Run(ctx, calls > 0, func(id string) { repaired = append(repaired, id) })
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		calls++
		sum.Syncs += report.Syncs
		sum.Repaired += report.Repaired
		sum.Removed += report.Removed
		if report.Ended == report.Unfinished {
			t.Errorf("call %d: %+v", calls, report)
		}
		if !report.Unfinished {
			slices.Sort(repaired)
			return sum, repaired, calls
		}
		if calls > 300 {
			t.Fatalf("the round does not end: %+v", sum)
		}
	}
}

// wantEqual checks that the schedules match the syncs in every respect.
func (h *harness) wantEqual(t *testing.T) {
	t.Helper()
	drift, err := h.FindDrift(t.Context(), h.table, func(id string) { t.Errorf("sync %s differs", id) })
	if err != nil || drift.Repaired+drift.Removed > 0 {
		t.Errorf("got %+v, %v", drift, err)
	}
}

// TestRound checks that a round in windows repairs every drift that ListSchedules shows
// and compares few other syncs, whatever the order of the pages.
func TestRound(t *testing.T) {
	t.Parallel()
	for name, unordered := range map[string]bool{"in order": false, "in another order": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness()
			all := h.fill(t, 100)
			want := h.damage(t, all, 5)
			h.server.Unordered = unordered
			before := len(h.server.Calls())
			sum, got, calls := finish(t, h.round(), time.Hour)
			if diff := cmp.Diff(want, got); diff != "" || calls != 1 {
				t.Errorf("%d calls: %s", calls, diff)
			}
			if kept := len(all) - sum.Removed; sum.Syncs != kept || sum.Repaired+sum.Removed != len(want) {
				t.Errorf("got %+v", sum)
			}
			calls = 0
			made := map[string]int{}
			for _, c := range h.server.Calls()[before:] {
				made[c.Operation]++
				calls++
			}
			// A comparison of all makes 200 calls of GetSchedule. The days of the IDs decide how
			// many pages there are.
			listed, compared := made["ListSchedules"], made["GetSchedule"]
			if changed := calls - listed - compared; listed > 200 && !unordered || compared > 100 || changed > 30 {
				t.Errorf("a round over 100 syncs with 20 differences made the calls %v", made)
			}
			h.wantEqual(t)
		})
	}
}

// TestRoundFindsAll checks that a difference that ListSchedules does not show is found
// within four weeks, and at once in a small stack.
func TestRoundFindsAll(t *testing.T) {
	t.Parallel()
	h := newHarness()
	all := h.fill(t, 50)
	edit := func() {
		for _, s := range all[:20] {
			h.server.Now = func() time.Time { return s.ScheduledAt.Add(2 * time.Second) }
			name := "sync-" + s.ID
			current, err := h.Client.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: &name, GroupName: aws.String(group)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Client.UpdateSchedule(t.Context(), &scheduler.UpdateScheduleInput{
				Name: &name, GroupName: aws.String(group), ScheduleExpression: aws.String("rate(7 minutes)"), State: types.ScheduleStateEnabled,
				FlexibleTimeWindow: current.FlexibleTimeWindow, Target: current.Target,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	edit()
	now := h.Now()
	h.Now = func() time.Time { return now }
	round, found := h.round(), 0
	round.Window = 0 // one window; TestRound has several
	for range 28 {
		sum, _, _ := finish(t, round, time.Hour)
		found += sum.Repaired
		now = now.Add(24 * time.Hour)
	}
	if found != 20 {
		t.Errorf("of 20 schedules that were edited %d were repaired", found)
	}
	h.wantEqual(t)
	edit()
	round.Window, round.Full = 0, 0 // as deployed
	if sum, _, _ := finish(t, round, time.Hour); sum.Repaired != 20 {
		t.Errorf("got %+v", sum)
	}
}

// TestRoundGoesOn checks that a round stops before its deadline at any rate, continues
// there, and handles each sync.
func TestRoundGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness()
		all := h.fillFrom(newYear(t), 125) // by the clock of the bubble
		want := h.damage(t, all, 5)
		h.Rate = &reconciler.Rate{PerSecond: 40}
		round := h.round()
		begin := time.Now()
		sum, got, calls := finish(t, round, 5*time.Second) // 4 s to work
		spent := time.Since(begin)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if calls < 3 || spent > time.Duration(calls)*5*time.Second {
			t.Errorf("%d calls of 4 s took %v", calls, spent)
		}
		if sum.Syncs < len(all)-len(want)/4 {
			t.Errorf("got %+v", sum)
		}
		h.Rate = nil
		h.wantEqual(t)
		if report, err := round.Run(t.Context(), true, func(string) {}); err != nil || report != (reconciler.Report{}) {
			t.Errorf("a call that only continues got %+v, %v", report, err)
		}
	})
}

// TestRoundsAtOnce checks that concurrent rounds, and syncs that change during them,
// leave the schedules as the syncs are.
func TestRoundsAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness()
	all := h.fill(t, 65)
	h.damage(t, all, 4)
	round := h.round()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if _, err := round.Run(t.Context(), false, func(string) {}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Go(func() { // as the relay does
		for i, s := range all {
			switch i % 8 {
			case 1:
				h.table.remove(s)
			case 2:
				s.Version, s.SyncInterval, s.CronExpression = 9, 45, ""
				h.table.put(s)
			case 3:
				s.ID = strings.Replace(s.ID, "-8000-", "-8001-", 1) // a new one
				h.table.put(s)
			default:
				continue
			}
			if _, err := h.Reconcile(t.Context(), s.Workspace, s.ID); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	finish(t, round, time.Hour)
	h.wantEqual(t)
}

// TestRoundWithUnreadableRows checks that a row that cannot be read stops no other, keeps
// its schedule, and is reported.
func TestRoundWithUnreadableRows(t *testing.T) {
	t.Parallel()
	h := newHarness()
	all := h.fill(t, 100)
	bad := all[25].ID
	h.table.unreadable = []string{bad}
	h.table.remove(all[25])
	want := h.damage(t, all[50:], 12)
	var got []string
	round := h.round()
	_, err := round.Run(t.Context(), false, func(id string) { got = append(got, id) })
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("%v: %s", err, diff)
	}
	if !slices.Contains(h.server.Schedules(group), "sync-"+bad) {
		t.Error("the schedule of the unreadable row is gone")
	}
}

// TestRoundFails checks that an error of Scheduler is returned, and that the next call
// continues after the windows that were done.
func TestRoundFails(t *testing.T) {
	t.Parallel()
	h := newHarness()
	all := h.fill(t, 125)
	want := h.damage(t, all, 12)
	lists := 0
	h.server.Refuse = func(c awsfake.Call) *awsfake.Error {
		if c.Operation == "ListSchedules" {
			if lists++; lists == 9 {
				return &awsfake.Error{Status: 500, Code: "InternalServerException"}
			}
		}
		return nil
	}
	round := h.round()
	var got []string
	first, err := round.Run(t.Context(), false, func(id string) { got = append(got, id) })
	if err == nil || first.Syncs == 0 || first.Syncs == len(all) {
		t.Fatalf("got %+v, %v", first, err)
	}
	second, err := round.Run(t.Context(), true, func(id string) { got = append(got, id) })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" || second.Syncs >= len(all) {
		t.Errorf("%+v: %s", second, diff)
	}
	h.wantEqual(t)
}
