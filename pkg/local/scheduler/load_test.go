package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/schedule"
	"syncplane/pkg/syncs"
)

// loading is a context whose error the Scheduler reads for each sync that it loads.
type loading struct {
	context.Context //nolint:containedctx // it is one
	loaded          int
	at              int    // after so many syncs
	do              func() // is called once
	err             error  // from then on
}

func (l *loading) Err() error {
	if l.loaded++; l.loaded == l.at {
		l.do()
	}
	if l.loaded >= l.at {
		return l.err
	}
	return nil
}

// reserve creates and deletes a large sync, so that bbolt's mapping of the file has room:
// growing it would wait for the end of the read transaction.
func (r *harness) reserve() {
	r.t.Helper()
	s := r.sync(500_000, "")
	r.ids--
	s.Configuration = `{"a":"` + strings.Repeat("x", 512<<10) + `"}`
	if err := r.store.Create(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
	if err := r.store.Delete(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
}

// fill creates n syncs that do not run soon.
func (r *harness) fill(n int) {
	r.t.Helper()
	group, ctx := errgroup.WithContext(r.t.Context())
	group.SetLimit(256)
	for range n {
		s := r.sync(500_000, "")
		group.Go(func() error { return r.store.Create(ctx, s) })
	}
	if err := group.Wait(); err != nil {
		r.t.Fatal(err)
	}
}

// TestChangesDuringLoad checks that syncs which are created, changed, paused, resumed
// and deleted while the Scheduler loads all syncs run as they do at any other time.
func TestChangesDuringLoad(t *testing.T) {
	t.Parallel()
	// The IDs end in digits that step returns: 1 to 5 are loaded before the changes, 6
	// to 8 after them.
	r := newHarness(t)
	stays, deleted, paused, slower, resumed := r.create(1, ""), r.create(1, ""), r.create(1, ""), r.create(1, ""), r.create(1, "")
	resumed = r.change(resumed, func(s *syncs.Sync) { s.Status = syncs.Disabled })
	r.ids = 10
	r.reserve()
	r.fill(2000) // a read transaction reads as many rows at most
	r.ids = 9995
	laterDeleted, laterChanged, laterStays := r.create(1, ""), r.create(60, ""), r.create(1, "")
	r.want(0)
	r.want(30 * time.Second)
	r.restart(45 * time.Second) // until 12:01:15

	ctx := &loading{Context: t.Context(), at: 20, do: func() {
		r.now = r.now.Add(50 * time.Second) // 12:02:05: the next runs are due
		for _, s := range []syncs.Sync{deleted, laterDeleted} {
			if err := r.store.Delete(t.Context(), s); err != nil {
				t.Error(err)
			}
		}
		r.change(paused, func(s *syncs.Sync) { s.Status = syncs.Disabled })
		r.change(slower, func(s *syncs.Sync) { s.SyncInterval, s.ScheduledAt = 2, r.now })
		r.change(resumed, func(s *syncs.Sync) { s.Status, s.ScheduledAt = syncs.Pending, r.now })
		// The time of the cron was due before the sync had this schedule.
		r.change(laterChanged, func(s *syncs.Sync) { s.CronExpression, s.ScheduledAt = "* * * * *", r.now })
		r.ids = 9998
		r.create(1, "") // 9
	}}
	if _, err := r.scheduler.Step(ctx); err != nil {
		t.Fatal(err)
	}
	if ctx.loaded < ctx.at {
		t.Fatalf("only %d syncs were loaded", ctx.loaded)
	}
	// Of the missed runs the last is started.
	if diff := cmp.Diff([]string{"1 12:02:00*", "8 12:02:00*"}, r.started()); diff != "" {
		t.Errorf("%s (%s and %s stay)", diff, stays.ID, laterStays.ID)
	}
	r.want(55*time.Second, "1 12:03:00", "7 12:03:00", "8 12:03:00")
	r.want(5*time.Second, "5 12:03:05", "9 12:03:05")
	r.want(time.Minute, "1 12:04:00", "4 12:04:05", "5 12:04:05", "7 12:04:00", "8 12:04:00", "9 12:04:05")
}

// TestStopDuringLoad checks that loading ends with its context, and starts again.
func TestStopDuringLoad(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	r.create(1, "")
	r.fill(35)
	r.create(1, "")
	r.want(0)
	r.restart(0)
	ctx := &loading{Context: t.Context(), at: 10, do: func() {}, err: context.Canceled}
	if _, err := r.scheduler.Step(ctx); !errors.Is(err, context.Canceled) || ctx.loaded != ctx.at {
		t.Errorf("got %v after %d syncs", err, ctx.loaded)
	}
	r.want(time.Minute, "1 12:01:00*", "7 12:01:00*")
}

// TestTable compares the table of runs with a map, in random operations.
func TestTable(t *testing.T) {
	t.Parallel()
	var ids [61]string
	for n := range ids {
		switch n % 5 {
		case 0:
			ids[n] = fmt.Sprintf("sync %d", n) // no UUID
		case 1:
			ids[n] = strings.ToUpper(fmt.Sprintf("019ab0c4-aaaa-7000-8000-%012d", n)) // not canonical
		case 2:
			ids[n] = fmt.Sprintf("00000000-0000-0000-0000-%012d", n) // of no version
		default:
			ids[n] = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, n)).String()
		}
	}
	var crons [4]schedule.Schedule
	for minute := range crons {
		cron, err := schedule.Parse(fmt.Sprint(minute, " * * * *"))
		if err != nil {
			t.Fatal(err)
		}
		crons[minute] = schedule.At(cron)
	}
	rapid.Check(t, func(t *rapid.T) {
		table, model := scheduler.NewTable(), map[string]scheduler.Row{}
		row := func() scheduler.Row {
			row := scheduler.Row{Workspace: fmt.Sprint("w", rapid.IntRange(0, 3).Draw(t, "workspace")), At: int64(rapid.IntRange(0, 20).Draw(t, "at"))}
			if rapid.Bool().Draw(t, "cron") {
				row.When = crons[rapid.IntRange(0, 3).Draw(t, "minute")]
			} else {
				anchor := time.Unix(int64(rapid.IntRange(-5, 5).Draw(t, "anchor")), 0)
				row.When = schedule.Every(int64(rapid.IntRange(1, 3).Draw(t, "minutes")), anchor)
			}
			return row
		}
		for range rapid.IntRange(1, 300).Draw(t, "operations") {
			id := ids[rapid.IntRange(0, 60).Draw(t, "id")]
			switch _, known := model[id]; {
			case !known:
				model[id] = row()
				table.Add(id, model[id])
			case rapid.Bool().Draw(t, "remove"):
				delete(model, id)
				table.Remove(id)
			default:
				changed := row()
				changed.Workspace = model[id].Workspace
				model[id] = changed
				table.Change(id, changed)
			}
			same, n := true, 0 // a map of the rows, and cmp.Diff, take most of the time of the test
			for id, row := range table.Rows() {
				known, ok := model[id]
				same = same && ok && known == row
				n++
			}
			if !same || n != len(model) {
				t.Fatal(cmp.Diff(model, maps.Collect(table.Rows()), cmp.AllowUnexported(schedule.Schedule{}, schedule.Cron{})))
			}
		}
		order := table.Drain()
		for i := 1; i < len(order); i++ {
			x, y := model[order[i-1]], model[order[i]]
			if x.At > y.At || x.At == y.At && order[i-1] >= order[i] {
				t.Fatalf("%s at %d comes before %s at %d", order[i-1], x.At, order[i], y.At)
			}
		}
		if len(order) != len(model) {
			t.Fatalf("got %d runs, want %d", len(order), len(model))
		}
	})
}

// TestTableIsSmall checks the memory for each sync, in numbers that do not depend on the
// machine; `make bench` measures it.
func TestTableIsSmall(t *testing.T) {
	t.Parallel()
	if size := scheduler.RunSize; size > 64 {
		t.Errorf("a run has %d bytes, want at most 64", size)
	}
}
