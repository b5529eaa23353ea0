package scheduler_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// due returns the syncs that have run, sorted.
func (r *harness) due() []string {
	r.t.Helper()
	entries, err := r.store.Events(0, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	var ids []string
	for _, e := range entries {
		if e.Kind == event.Due {
			ids = append(ids, e.Subject)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// TestEarlierSyncs checks that syncs of an early version, which a create would
// refuse today, keep running.
func TestEarlierSyncs(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.close()
	r.path, r.now = storagetest.StoredFile(t), time.Date(2026, time.November, 25, 13, 0, 0, 0, time.UTC)
	r.open()
	var want []string
	for id := range storagetest.Stored() {
		want = append(want, id)
	}
	slices.Sort(want)
	for range 8 { // days: one has a run a week
		if _, err := r.scheduler.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.now = r.now.Add(24 * time.Hour)
	}
	if diff := cmp.Diff(want, r.due()); diff != "" {
		t.Error(diff)
	}
}

// TestUnreadableSchedule checks that a sync whose schedule another version wrote
// stops no other, neither when all are read nor when one changes.
func TestUnreadableSchedule(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	spoil := func(s syncs.Sync) {
		t.Helper()
		s.Version, s.CronExpression = s.Version+1, "@hourly"
		if err := r.store.Replace(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	good, bad, spoiled := r.create(1, ""), r.create(1, ""), r.create(1, "")
	spoil(bad)
	if _, err := r.scheduler.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	spoil(spoiled)
	noInterval := r.create(0, "")
	later := r.create(1, "")
	for range 2 {
		r.now = r.now.Add(time.Minute)
		if _, err := r.scheduler.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{good.ID, later.ID}, r.due()); diff != "" {
		t.Errorf("%s; %s has no interval", diff, noInterval.ID)
	}
	r.restart(time.Hour)
	if _, err := r.scheduler.Step(t.Context()); err != nil {
		t.Fatal(err)
	}

	// It runs again when it has a schedule again.
	s, err := r.store.Read(t.Context(), bad.Workspace, bad.ID)
	if err != nil {
		t.Fatal(err)
	}
	s.Version, s.CronExpression = s.Version+1, ""
	if err := r.store.Replace(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := r.scheduler.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.now = r.now.Add(time.Minute)
	}
	if diff := cmp.Diff([]string{good.ID, bad.ID, later.ID}, r.due()); diff != "" {
		t.Error(diff)
	}
}

// TestUnreadableIntervals checks that a stored interval that is invalid neither stops
// the other syncs nor starts runs.
func TestUnreadableIntervals(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	good := r.create(1, "")
	for _, minutes := range []int64{0, -1, math.MinInt64, 100*syncs.MaxInterval + 1, 1 << 40, 1 << 58, math.MaxInt64/60 + 1, math.MaxInt64} {
		r.create(minutes, "")
		r.create(minutes, "@hourly")
	}
	r.restart(0)
	for range 3 {
		r.now = r.now.Add(time.Minute)
		if _, err := r.scheduler.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{good.ID}, r.due()); diff != "" {
		t.Error(diff)
	}
}
