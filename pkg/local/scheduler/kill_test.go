package scheduler_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"syncplane/pkg/event"
)

// kill ends a Step when it asks for the time before its second commit.
func (r *harness) kill() {
	r.t.Helper()
	now, calls := r.scheduler.Now, 0
	r.scheduler.Now = func() time.Time {
		if calls++; calls == 3 { // the first call is for all of the Step
			panic("killed")
		}
		return now()
	}
	defer func() {
		if recover() == nil {
			r.t.Error("the Step had fewer commits")
		}
	}()
	_, err := r.scheduler.Step(r.t.Context())
	r.t.Errorf("got %v", err)
}

// TestKilledBetweenCommits kills the clock between the commits of one second,
// and has it run again: each run starts once, whatever the syncs are, so that
// none is there with other data.
func TestKilledBetweenCommits(t *testing.T) {
	t.Parallel()
	const batch, many = 10, 11 // two commits
	made := newHarness(t)
	var group sync.WaitGroup
	for range many {
		s := made.sync(1, "")
		group.Go(func() {
			if err := made.store.Create(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	made.restart(0)
	file, err := os.ReadFile(made.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name        string
		down, after time.Duration // before and after the kill
		sleep       time.Duration
	}{
		{"within the second", 0, 0, time.Minute},
		{"in the next second", 0, time.Second, time.Minute},
		{"after the next run was due", 0, 2 * time.Minute, time.Minute},
		{"late runs, after it was down", time.Hour, 0, 0},
		{"late runs, after it slept", 0, 0, time.Hour},
		{"late runs, and the next are due", 0, 2 * time.Minute, time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newHarness(t)
			r.inBatchesOf(batch)
			r.close()
			if err := os.WriteFile(r.path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			r.open()
			r.want(0)
			if test.down > 0 {
				r.restart(test.down)
			}
			r.now = r.now.Add(test.sleep)
			r.kill()
			r.restart(test.after)
			for range 2 {
				if _, err := r.scheduler.Step(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			entries, err := r.store.Events(0, 10*many)
			if err != nil {
				t.Fatal(err)
			}
			data, runs := map[string]string{}, map[string]int{}
			for _, e := range entries {
				if e.Kind != event.Due {
					continue
				}
				if first, ok := data[e.ID]; ok {
					t.Fatalf("%s is there twice, as %s and %s", e.ID, first, e.Data)
				}
				data[e.ID] = string(e.Data)
				runs[e.Subject]++
			}
			if len(runs) != many {
				t.Errorf("%d of %d syncs run", len(runs), many)
			}
		})
	}
}
