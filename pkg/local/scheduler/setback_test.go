package scheduler_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// once checks that no run started twice, and none before a time.
func (r *harness) once(earliest time.Time) {
	r.t.Helper()
	entries, err := r.store.Events(0, 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	started := map[string]bool{}
	for _, e := range entries {
		switch {
		case e.Kind != event.Due:
		case started[e.ID]:
			r.t.Errorf("%s started twice", e.ID)
		case e.Time.Before(earliest):
			r.t.Errorf("%s is before %v", e.ID, earliest)
		}
		started[e.ID] = true
	}
}

// TestSetBack has a clock that was ahead corrected: runs continue by the corrected
// clock at once, and what started while it was ahead does not start again.
func TestSetBack(t *testing.T) {
	t.Parallel()
	const decade = 10 * 365 * 24 * time.Hour
	// Two hours later is every time whose run started while the clock was ahead by as
	// much. The times of ten years ahead are out of reach.
	const after2h, after10y = 130, 10 // minutes
	for name, test := range map[string]struct {
		ahead   time.Duration
		minutes int
		correct func(r *harness, by time.Duration)
	}{
		"two hours":                    {2 * time.Hour, after2h, func(r *harness, by time.Duration) { r.now = r.now.Add(-by) }},
		"two hours, while it was down": {2 * time.Hour, after2h, func(r *harness, by time.Duration) { r.restart(-by) }},
		"two hours, then a restart":    {2 * time.Hour, after2h, func(r *harness, by time.Duration) { r.now = r.now.Add(-by); r.want(0); r.restart(0) }},
		"two hours, in two steps":      {2 * time.Hour, after2h, func(r *harness, by time.Duration) { r.now = r.now.Add(-by / 2); r.want(0); r.now = r.now.Add(-by / 2) }},
		"ten years":                    {decade, after10y, func(r *harness, by time.Duration) { r.now = r.now.Add(-by) }},
		"ten years, while it was down": {decade, after10y, func(r *harness, by time.Duration) { r.restart(-by) }},
		"ten years, more than corrected": {decade, after10y, func(r *harness, by time.Duration) {
			r.now = r.now.Add(-by - time.Hour)
			r.want(0)
			r.now = r.now.Add(time.Hour)
			r.want(0, "1 12:00:00*", "2 12:00:00*", "3 12:00:00*", "4 11:59:00*")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newHarness(t)
			r.now = r.now.Add(-time.Minute) // 11:59
			r.create(1, "")
			r.create(1, "* * * * *")
			r.want(0)
			r.now = r.now.Add(test.ahead)
			r.step()        // one late run each
			r.create(1, "") // while the clock is ahead
			later := r.create(30, "")
			r.want(0)
			r.now = r.now.Add(time.Minute)
			if got := r.step(); len(got) != 3 {
				t.Fatalf("ahead started %v", got)
			}
			test.correct(r, test.ahead)
			r.want(0)
			r.want(time.Minute, "1 12:01:00", "2 12:01:00", "3 12:01:00")
			r.change(later, func(s *syncs.Sync) { s.UpdatedAt = later.UpdatedAt; s.CronExpression = "3 * * * *" })
			created := r.create(1, "")
			r.want(time.Minute, "1 12:02:00", "2 12:02:00", "3 12:02:00", "5 12:02:00")
			r.restart(0)
			r.want(time.Minute, "1 12:03:00*", "2 12:03:00*", "3 12:03:00*", "4 12:03:00*", "5 12:03:00*")
			for range test.minutes {
				r.now = r.now.Add(time.Minute)
				at := r.now.Format("15:04:05")
				if got := r.step(); !slices.Contains(got, "5 "+at) {
					t.Errorf("of %s: %v", created.ID, got)
				}
			}
			r.once(time.Date(2026, time.November, 24, 0, 0, 0, 0, time.UTC))
		})
	}
}

// TestSetBackRunsEach lists the runs around those that started while the clock was
// ahead.
func TestSetBackRunsEach(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.create(10, "")
	r.want(0)
	r.want(2*time.Hour, "1 14:00:00*")
	r.want(10*time.Minute, "1 14:10:00")
	r.want(-2 * time.Hour) // 12:10
	for at := 20; at < 60; at += 10 {
		r.want(10*time.Minute, "1 "+time.Date(0, 1, 1, 12, at, 0, 0, time.UTC).Format("15:04:05"))
	}
	r.restart(0)
	r.want(10*time.Minute, "1 13:00:00*")
	r.now = r.now.Add(50 * time.Minute)
	r.want(0, "1 13:50:00*")
	r.want(10 * time.Minute) // 14:00
	r.want(10 * time.Minute)
	r.want(10*time.Minute, "1 14:20:00")
	r.once(time.Time{})
}

// TestSmallSteps has a clock that is corrected by seconds: no run is lost and
// none starts twice.
func TestSmallSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Millisecond, time.Second, 30 * time.Second, time.Minute} {
		r := newHarness(t)
		s := r.create(1, "* * * * *")
		r.want(0)
		r.want(time.Minute, "1 12:01:00")
		r.want(-step)
		r.change(s, func(s *syncs.Sync) { s.StreamName, s.UpdatedAt = "else", r.now })
		r.want(0)
		r.want(step)
		r.want(-step)
		r.restart(0)
		r.want(0)
		r.want(step)
		r.want(time.Minute - time.Second)
		r.want(time.Second, "1 12:02:00")
	}
}

// TestWithoutTime boots a machine whose clock is not set: no run starts until it
// is, and none is of a time before that.
func TestWithoutTime(t *testing.T) {
	t.Parallel()
	for name, boot := range map[string]time.Time{
		"1970": time.Unix(0, 0).UTC(),
		"2000": time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC),
		"1900": time.Date(1900, time.January, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newHarness(t)
			set := r.now
			r.now = boot
			r.create(1, "") // the first start
			for range 10 {
				r.want(time.Minute)
			}
			r.now = set
			r.want(0)
			r.want(time.Minute, "1 12:01:00")

			r.restart(boot.Sub(r.now)) // another one, over a store with runs
			r.create(1, "* * * * *")
			for range 10 {
				r.want(time.Minute)
			}
			r.now = set.Add(10 * time.Minute)
			r.want(0, "1 12:10:00*", "2 12:10:00*")

			r.now = boot // and one that loses it while it runs
			r.create(1, "* * * * *")
			for range 10 {
				r.want(time.Minute)
			}
			r.now = set.Add(20 * time.Minute)
			r.want(0, "1 12:20:00*", "2 12:20:00*", "3 12:20:00*")
			r.want(time.Minute, "1 12:21:00", "2 12:21:00", "3 12:21:00")
			r.once(set)
		})
	}
}

// TestWaitWithoutTime checks that a clock which is set is noticed soon.
func TestWaitWithoutTime(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.now = time.Unix(0, 0)
	wait, err := r.scheduler.Step(t.Context())
	if diff := cmp.Diff(time.Second, wait); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
}
