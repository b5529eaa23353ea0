package scheduler_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
)

const year = 365 * 24 * time.Hour

// set sets the wall clock forward, or back if by is negative; the server may be
// down during that time.
func (r *harness) set(by time.Duration, down bool) {
	r.t.Helper()
	if down {
		r.restart(by)
		return
	}
	r.now = r.now.Add(by)
}

// bothWays runs a test with the server up while the clock is set, and down.
func bothWays(t *testing.T, test func(t *testing.T, r *harness, down bool)) {
	t.Helper()
	for name, down := range map[string]bool{"up": false, "down": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newHarness(t), down)
		})
	}
}

// TestClockCorrected checks that runs continue by the corrected clock, however far
// ahead it was.
func TestClockCorrected(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"two hours": 2 * time.Hour, "a day": 24 * time.Hour, "ten years": 10 * year, "a century": 100 * year} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, r *harness, down bool) {
				r.create(1, "")
				r.create(7, "*/5 * * * *")
				r.want(0)
				r.want(time.Minute, "1 12:01:00")
				r.set(ahead, down)
				r.step() // late ones of the time that did not pass
				r.want(time.Minute, r.at("1", ""))
				r.set(-ahead, down)
				r.want(0)
				r.want(time.Minute, "1 12:03:00")
				r.restart(0)
				r.want(0)
				r.want(time.Minute, "1 12:04:00")
				r.want(time.Minute, "1 12:05:00", "2 12:05:00")
				r.restart(10 * time.Minute)
				r.want(0, "1 12:15:00*", "2 12:15:00*")
				r.want(time.Minute, "1 12:16:00")
			})
		})
	}
}

// at returns the run of a sync at this moment.
func (r *harness) at(sync, late string) string {
	return sync + " " + r.now.Add(time.Minute).Format("15:04:05") + late
}

// TestAsleepAtCheckpoint checks a run that was on time by the wrong clock, and is the
// one that stands for missed ones by the right clock: it is not there again as a
// late one.
func TestAsleepAtCheckpoint(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, r *harness, down bool) {
		r.create(1, "")
		r.want(0)
		for range 60 {
			r.now = r.now.Add(time.Minute)
			r.step()
		}
		r.set(-time.Hour, down) // 12:00
		r.want(0)
		r.set(30*time.Minute, down)
		r.want(0)
		r.set(50*time.Minute, down)
		r.want(0, "1 13:20:00*")
		r.once(time.Time{})
	})
}

// TestSmallStep checks that a clock which is set back by seconds starts nothing
// twice.
func TestSmallStep(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, r *harness, down bool) {
		r.now = r.now.Add(300 * time.Millisecond)
		r.create(1, "")
		r.set(-400*time.Millisecond, down) // before it was created
		r.want(0)
		r.want(400 * time.Millisecond)
		r.want(59*time.Second+700*time.Millisecond, "1 12:01:00")
		for _, step := range []time.Duration{time.Millisecond, 300 * time.Millisecond, time.Second, 20 * time.Second, time.Minute} {
			r.set(-step, down)
			r.want(0)
			r.want(step)
		}
		r.want(time.Minute, "1 12:02:00")
	})
}

// TestSetByTheWrongClock checks syncs that were created, changed or resumed while
// the clock was ahead.
func TestSetByTheWrongClock(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"two hours": 2 * time.Hour, "ten years": 10 * year} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, r *harness, down bool) {
				changed := r.create(10, "")
				resumed := r.create(10, "")
				r.want(0)
				r.now = r.now.Add(ahead)
				r.step()
				changed = r.change(changed, func(s *syncs.Sync) { s.SyncInterval, s.ScheduledAt = 2, r.now })
				resumed = r.change(resumed, func(s *syncs.Sync) { s.Status = syncs.Disabled })
				r.create(3, "")
				r.create(1, "*/4 * * * *")
				r.step()
				r.change(resumed, func(s *syncs.Sync) { s.Status = syncs.Pending })
				r.step()
				r.set(-ahead, down) // 12:00
				r.want(0)
				r.want(time.Minute)
				r.want(time.Minute, "1 12:02:00")
				r.want(time.Minute, "3 12:03:00")
				r.want(time.Minute, "1 12:04:00", "4 12:04:00")
				// What is changed now keeps the time of the wrong clock as that
				// of its last change.
				r.change(changed, func(s *syncs.Sync) {
					s.SyncInterval, s.ScheduledAt, s.UpdatedAt = 5, r.now, changed.UpdatedAt
				})
				r.want(time.Minute)
				r.want(time.Minute, "3 12:06:00")
				r.want(time.Minute)
				r.want(time.Minute, "4 12:08:00")
				r.want(time.Minute, "1 12:09:00", "3 12:09:00")
				r.want(time.Minute, "2 12:10:00")
			})
		})
	}
}

// TestNextRunOfTheWrongClock checks that the API shows the runs that start.
func TestNextRunOfTheWrongClock(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.now = r.now.Add(10 * year)
	s := r.create(10, "")
	r.want(0)
	r.now = r.now.Add(-10*year + 5*time.Minute)
	r.want(0)
	for range 20 {
		next, ok := s.NextRun(r.now)
		if !ok {
			t.Fatal("no next run")
		}
		r.want(next.Sub(r.now) - time.Second)
		r.want(time.Second, "1 "+next.Format("15:04:05"))
	}
}

// TestClockNotSet checks that nothing starts while the clock shows a time before
// this program was built, and that this is logged once.
func TestClockNotSet(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, r *harness, down bool) {
		r.create(1, "")
		r.want(0)
		r.want(time.Minute, "1 12:01:00")
		right := r.now
		r.set(time.Unix(7, 0).Sub(r.now), down)
		r.create(1, "")
		r.create(1, "* * * * *")
		for range 3 {
			r.want(0)
			r.want(time.Minute)
			r.want(time.Hour)
			if down {
				r.restart(time.Hour)
			}
		}
		if n := strings.Count(r.log.String(), "is not set"); !down && n != 1 || down && n != 4-1 {
			t.Errorf("logged %d times: %s", n, &r.log)
		}
		if progress, _, err := r.store.Progress(); err != nil || progress.Second != right.Unix() {
			t.Errorf("got %+v, %v", progress, err)
		}
		r.set(right.Add(10*time.Second).Sub(r.now), down)
		r.step() // those of 1970 have missed some
		r.want(50*time.Second, "1 12:02:00", "3 12:02:00")
	})
}

// TestNewFileAndClockNotSet checks a machine whose first boot is in 1970.
func TestNewFileAndClockNotSet(t *testing.T) {
	t.Parallel()
	for _, boot := range []time.Time{time.Unix(0, 0), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2015, 6, 1, 0, 0, 0, 0, time.UTC), time.Unix(-1, 0)} {
		r := newHarness(t)
		right := r.now
		r.now = boot.UTC()
		r.create(5, "")
		for range 20 {
			r.want(time.Minute)
		}
		r.now = right
		r.step()
		started := r.data
		for id := range started {
			if !strings.Contains(id, "/2026-11-24T") {
				t.Errorf("a run of %s", id)
			}
		}
		next, _ := r.sync(5, "").NextRun(r.now)
		r.now = next
		if started := r.step(); len(started) != 1 {
			t.Errorf("started: %v", started)
		}
	}
}

// TestEarliest checks both sides of the bound of a build that does not record when it
// was made, as that of a test.
func TestEarliest(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.now = time.Date(2023, time.December, 31, 23, 58, 59, 999e6, time.UTC)
	r.create(1, "")
	r.want(0)
	r.want(time.Minute)      // 23:59:59
	r.want(time.Millisecond) // a new file: nothing was missed
	r.want(59*time.Second, "1 00:00:59")
}

// TestWokenOften checks that a clock which was set is noticed within a second.
func TestWokenOften(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.create(60, "")
	if wait, err := r.scheduler.Step(t.Context()); err != nil || wait > time.Second {
		t.Errorf("got %v, %v", wait, err)
	}
	r.now = time.Unix(0, 0)
	if wait, err := r.scheduler.Step(t.Context()); err != nil || wait > time.Second || wait <= 0 {
		t.Errorf("got %v, %v", wait, err)
	}
}

// killed has the server killed after a number of commits of one Step.
func (r *harness) killed(commits int) {
	r.t.Helper()
	type kill struct{}
	now := r.scheduler.Now
	r.scheduler.Now = func() time.Time {
		if commits--; commits < 0 {
			panic(kill{})
		}
		return now()
	}
	func() {
		defer func() {
			if _, ok := recover().(kill); !ok {
				r.t.Errorf("it was done before it was killed")
			}
		}()
		_, _ = r.scheduler.Step(r.t.Context())
	}()
	r.restart(0)
}

// TestKilledTwice checks that the runs of one second which takes several
// commits start once, whenever the server is killed.
func TestKilledTwice(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{0, 61 * time.Second} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			t.Parallel()
			r := newHarness(t)
			const many = 25
			r.inBatchesOf(10)
			r.createMany(many)
			r.stepOnly()
			r.now = r.now.Add(time.Minute)
			for _, commits := range []int{1, 1, 2} {
				r.killed(commits)
				r.now = r.now.Add(after)
			}
			r.stepOnly()
			r.restart(0)
			r.stepOnly()

			entries, err := r.store.Events(0, 1_000_000)
			if err != nil {
				t.Fatal(err)
			}
			data, started := map[string]string{}, map[string]bool{}
			for _, e := range entries {
				if e.Kind != event.Due {
					continue
				}
				if before, ok := data[e.ID]; ok {
					t.Fatalf("%s came twice: %s, %s", e.ID, before, e.Data)
				}
				data[e.ID], started[e.Subject] = string(e.Data), true
			}
			if len(started) != many || after == 0 && len(data) != many {
				t.Errorf("%d runs of %d syncs, want %d", len(data), len(started), many)
			}
		})
	}
}

// stepOnly is step for many runs: it does not look at them.
func (r *harness) stepOnly() {
	r.t.Helper()
	if _, err := r.scheduler.Step(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// TestGapInTheFeed checks that changes which are no longer in the feed, or cannot
// be read, are not missed.
func TestGapInTheFeed(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	gone := r.create(1, "")
	r.create(1, "")
	r.want(0)
	if err := r.store.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	r.create(1, "")
	r.close()
	db, err := bbolt.Open(r.path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		feed := tx.Bucket([]byte("feed"))
		for _, n := range []uint64{3, 4} { // both changes
			if err := feed.Delete(binary.BigEndian.AppendUint64(nil, n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if r.store, err = bolt.Open(r.path); err != nil {
		t.Fatal(err)
	}
	r.scheduler.Store = r.store
	r.want(time.Minute, "2 12:01:00*", "3 12:01:00*") // as after a restart
}
