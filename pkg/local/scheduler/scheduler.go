// Package scheduler is the local counterpart of EventBridge Scheduler: it starts the
// runs of syncs on one machine by appending an event to the feed of the embedded
// store when a sync is due, and it records the runs. It keeps the next run of every
// sync in a heap, so that it looks only at those that are due. It knows the domain
// and package bolt; it does not know HTTP or AWS.
package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
)

// Bounds and intervals. Our own choices.
const (
	maxBatch  = 1000        // runs in one commit, and events read at once
	lateAfter = time.Minute // a run that starts later than this is late
	maxSleep  = time.Second // after which a change of the clock is noticed
	retry     = time.Second // after an error of the store, and while the clock is not set
	tolerance = time.Minute // a clock set back by less does not start runs again
)

// earliest is a time before every build of this program, in seconds since 1970.
const earliest = 1_704_067_200 // 2024-01-01

// buildTime returns when the revision of this program was committed, or earliest if
// the build information does not have it. A clock that shows an earlier time is not
// set: a machine without a battery starts in 1970 or in the year of its firmware.
func buildTime() time.Time {
	at := time.Unix(earliest, 0).UTC()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return at
	}
	for _, setting := range info.Settings {
		if committed, err := time.Parse(time.RFC3339, setting.Value); setting.Key == "vcs.time" && err == nil && committed.After(at) {
			at = committed.UTC()
		}
	}
	return at
}

// Scheduler starts runs. There must be at most one for a store.
type Scheduler struct {
	Store *bolt.Store
	Now   func() time.Time
	Log   *slog.Logger

	batch        int             // 0 is maxBatch
	table        *table          // nil until it is loaded
	position     uint64          // the last event of the feed that was handled
	changed      <-chan struct{} // closed when the feed has newer events
	progress     bolt.Progress   // the runs that were started
	unsaved      bool            // progress has yet to be stored
	clockUnset   bool            // the clock of the machine is not set
	built        time.Time       // a clock that shows an earlier time is not set
	startedAhead map[string]bool // the IDs of the runs that were started before the clock was set back and are due again
}

// Run starts runs until ctx ends.
func (sch *Scheduler) Run(ctx context.Context) {
	sch.changed = make(chan struct{})
	for ctx.Err() == nil {
		wait, err := sch.Step(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			sch.Log.LogAttrs(ctx, slog.LevelError, "scheduler", slog.String("error", err.Error()))
			wait = retry
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-sch.changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// Step applies the changes of syncs, starts the runs that are due, and returns how
// long to wait before the next Step unless the feed changes. After an error the
// next Step does the same work again. While the clock of the machine is not set,
// Step starts nothing.
func (sch *Scheduler) Step(ctx context.Context) (time.Duration, error) {
	now := sch.Now()
	if sch.built.IsZero() {
		sch.built = buildTime()
	}
	if now.Before(sch.built) {
		if !sch.clockUnset {
			sch.Log.LogAttrs(ctx, slog.LevelError, "the clock is not set; no run is started", slog.Time("now", now), slog.Time("built", sch.built))
		}
		sch.clockUnset = true
		return retry, nil
	}
	sch.clockUnset = false
	if sch.table == nil {
		if err := sch.load(ctx, now); err != nil {
			return 0, err
		}
	}
	if err := sch.detectSetBack(ctx, now); err != nil {
		return 0, err
	}
	if err := sch.followFeed(ctx, now); err != nil {
		return 0, err
	}
	for {
		more, err := sch.startDue(ctx)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return 0, err
		}
		if !more {
			break
		}
	}
	wait := maxSleep
	if next := sch.table.first(); next != nil {
		wait = min(wait, time.Unix(next.at, 0).Sub(sch.Now()))
	}
	return max(wait, 0), nil
}

// load reads all syncs. If runs of a sync were missed while no Scheduler ran, the
// last of them is started now and marked late. Other writers change syncs during load:
// followFeed applies the changes after the position, and what load has read of a changed
// sync is at most newer than its event.
func (sch *Scheduler) load(ctx context.Context, now time.Time) error {
	progress, known, err := sch.Store.Progress()
	if err != nil {
		return err
	}
	sch.progress = progress
	if !known {
		sch.progress.Second, sch.unsaved = now.Unix(), true
	}
	// Runs after the checkpoint may have been started while the clock was ahead.
	checkpoint := time.Unix(min(sch.progress.Second, now.Unix()), 0)
	if sch.startedAhead, err = sch.startedAfter(checkpoint); err != nil {
		return err
	}
	sch.position, sch.changed = sch.Store.Head() // followFeed reads the events after it
	t := &table{}
	for s, err := range sch.Store.Schedules() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		when, ok := sch.scheduleOf(s)
		if !ok {
			continue
		}
		r := t.add(s.Workspace, s.ID, when)
		r.version = s.Version
		sch.begin(t, r, s, now)
		t.pushUnordered(r)
	}
	t.order()
	sch.table = t
	return nil
}

// begin sets the first time of a run that load has read: the last one that was missed
// before now, or else the next one. A sync that was created, resumed or rescheduled
// after now has missed none.
func (sch *Scheduler) begin(t *table, r *run, s syncs.Sync, now time.Time) {
	since, started := s.ScheduledAt, time.Unix(sch.progress.Second, 0)
	if s.ID <= sch.progress.ID {
		started = started.Add(time.Second)
	}
	if since.After(now) && !since.After(sch.Now()) {
		r.at = t.next(r, since)
		return
	}
	if since.Before(started) || since.After(now) { // after now: the clock was ahead
		since = started
	}
	if missed, ok := t.last(r, since, now); ok {
		r.at, r.late = missed.Unix(), true
	} else {
		r.at = t.next(r, later(now, started))
	}
}

// detectSetBack handles a clock that was set back: the next run of every sync is the
// first after the new time. Runs that were started already are not started again.
func (sch *Scheduler) detectSetBack(ctx context.Context, now time.Time) error {
	if now.Add(tolerance).Unix() >= sch.progress.Second {
		return nil
	}
	ahead, err := sch.startedAfter(now)
	if err != nil {
		return err
	}
	sch.Log.LogAttrs(ctx, slog.LevelWarn, "the clock was set back", slog.Time("from", time.Unix(sch.progress.Second, 0)), slog.Time("to", now))
	sch.startedAhead, sch.progress, sch.unsaved = ahead, bolt.Progress{Second: now.Unix(), LatestRun: sch.latestRun()}, true
	for _, r := range sch.table.queue.runs {
		r.at, r.late, r.previous = sch.table.next(r, now), false, 0
	}
	sch.table.order()
	return nil
}

// latestRun returns the latest scheduled time of a run that may have been started,
// in seconds since 1970.
func (sch *Scheduler) latestRun() int64 {
	if sch.progress.ID != "" {
		return max(sch.progress.Second+1, sch.progress.LatestRun)
	}
	return max(sch.progress.Second, sch.progress.LatestRun)
}

// startedAfter returns the IDs of the started runs in the feed whose scheduled time
// is after a time. It returns nil if there can be none.
func (sch *Scheduler) startedAfter(at time.Time) (map[string]bool, error) {
	if sch.latestRun() <= at.Unix() {
		return nil, nil //nolint:nilnil // as documented
	}
	started := map[string]bool{}
	for after := uint64(0); ; {
		entries, err := sch.Store.Events(after, cmp.Or(sch.batch, maxBatch))
		if err != nil || len(entries) == 0 {
			return started, err
		}
		for _, e := range entries {
			if after = e.Sequence; e.Kind == event.Due && e.Time.After(at) {
				started[e.ID] = true
			}
		}
	}
}

// scheduleOf returns the schedule of s. ok is false if s is paused or has an invalid
// schedule; the latter is logged.
func (sch *Scheduler) scheduleOf(s syncs.Sync) (when schedule.Schedule, ok bool) {
	if s.Status == syncs.Disabled {
		return schedule.Schedule{}, false
	}
	when, err := s.Schedule()
	if err != nil {
		sch.unreadable(s.Workspace, s.ID, err)
	}
	return when, err == nil
}

func later(x, y time.Time) time.Time {
	if x.After(y) {
		return x
	}
	return y
}

// scheduled returns a function that reports whether a sync has the schedule when.
func scheduled(when schedule.Schedule) func(syncs.Sync) bool {
	return func(s syncs.Sync) bool {
		now, err := s.Schedule()
		return err == nil && now == when
	}
}

func (sch *Scheduler) unreadable(workspace, id string, err error) {
	sch.Log.LogAttrs(context.Background(), slog.LevelError, "unreadable sync",
		slog.String("workspace", workspace), slog.String("sync", id), slog.String("error", err.Error()))
}

// followFeed applies the changes of syncs since the last call. It reads the sync
// as it is stored now, so repeated and late events are harmless.
func (sch *Scheduler) followFeed(ctx context.Context, now time.Time) error {
	for {
		head, changed := sch.Store.Head()
		sch.changed = changed
		if sch.position >= head {
			return nil
		}
		entries, err := sch.Store.Events(sch.position, cmp.Or(sch.batch, maxBatch))
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return sch.reload(ctx, now)
		}
		for _, e := range entries {
			if e.Sequence != sch.position+1 {
				return sch.reload(ctx, now)
			}
			switch e.Kind {
			case event.Created, event.Updated, event.Deleted:
				if err := sch.update(e.Workspace, e.Subject); err != nil {
					return err
				}
			case event.Due, event.Rejected, event.Requested, event.RunQueued, event.RunStarted, event.RunSucceeded, event.RunFailed,
				event.RunCanceled, event.RunSkipped, event.RunCancelRequested, event.RunRejected, event.RunRequested, event.RunReported:
			}
			sch.position = e.Sequence
		}
	}
}

// reload reads all syncs again, because events after the position were removed from
// the feed or cannot be read.
func (sch *Scheduler) reload(ctx context.Context, now time.Time) error {
	sch.table = nil // if load fails, the next Step calls it again
	return sch.load(ctx, now)
}

// update sets the next run of a sync according to the stored sync.
func (sch *Scheduler) update(workspace, id string) error {
	s, err := sch.Store.Read(context.Background(), workspace, id)
	var when schedule.Schedule
	runs := false
	switch {
	case fault.Is(err, fault.NotFound):
	case errors.Is(err, syncs.ErrUnreadable):
		sch.unreadable(workspace, id, err)
	case err != nil:
		return err
	default:
		when, runs = sch.scheduleOf(s)
	}
	t := sch.table
	r := t.find(id)
	since := s.UpdatedAt
	if now := sch.Now(); since.After(now) { // the clock was ahead
		since = now
	}
	switch {
	case !runs && r == nil:
	case !runs:
		t.remove(r)
	case r == nil: // new or resumed: earlier scheduled times do not count
		r = t.add(workspace, id, when)
		r.version, r.at = s.Version, t.next(r, since)
		t.push(r)
		sch.unsaved = sch.unsaved || s.Version > 1
	case t.when(r) != when:
		since = later(since, time.Unix(r.previous, 0)) // a run at the time of the previous one has its ID
		t.reschedule(r, when)
		r.late, r.version, r.at = false, s.Version, t.next(r, since)
		t.fix(r)
	default:
		r.version = s.Version
	}
	return nil
}

// startDue starts the runs that are due, at most maxBatch of them, and reports
// whether there may be more. The runs and the progress are stored in one commit,
// which leaves out runs that are no longer due.
func (sch *Scheduler) startDue(ctx context.Context) (more bool, err error) {
	now := sch.Now()
	due := sch.popDue(now)
	progress := sch.progressWith(now, due)
	if len(due) > 0 || sch.unsaved {
		err = sch.store(ctx, due, progress)
		sch.unsaved = err != nil
	}
	for _, r := range due {
		if err == nil {
			next := sch.table.next(r, time.Unix(r.at, 0))
			if r.late { // it replaces all missed runs until now
				next = sch.table.next(r, now)
			}
			r.previous, r.at, r.late = r.at, next, false
		}
		sch.table.push(r)
	}
	if err != nil {
		return false, fmt.Errorf("start the runs that are due: %w", err)
	}
	sch.progress = progress
	if progress.Second > progress.LatestRun {
		sch.startedAhead = nil
	}
	return len(due) > 0, nil
}

// popDue removes the runs that are due from the queue, at most maxBatch of them, and
// returns them sorted by time, then by the ID of the sync.
func (sch *Scheduler) popDue(now time.Time) []*run {
	var due []*run
	t := sch.table
	for len(due) < cmp.Or(sch.batch, maxBatch) {
		r := t.first()
		if r == nil || r.at > now.Unix() {
			break
		}
		if at := time.Unix(r.at, 0); r.late || now.Sub(at) > lateAfter { // the machine was suspended, or loading took long
			r.late = true
			if last, ok := t.last(r, at, now); ok {
				r.at = last.Unix()
				t.fix(r)
				continue
			}
		}
		due = append(due, t.pop())
	}
	return due
}

// progressWith returns the progress after the runs of due have been started.
func (sch *Scheduler) progressWith(now time.Time, due []*run) bolt.Progress {
	p := bolt.Progress{Second: now.Unix(), LatestRun: sch.progress.LatestRun}
	if next := sch.table.first(); next != nil && next.at <= now.Unix() {
		p.Second = next.at - 1
		if last := due[len(due)-1]; last.at > p.Second {
			p.ID = sch.table.id(last)
		}
	}
	// Neither a clock that is slightly behind nor a new sync moves the progress
	// back.
	if p.Second < sch.progress.Second || p.Second == sch.progress.Second && p.ID < sch.progress.ID {
		p = sch.progress
	}
	return p
}

// store stores the events of the runs and the progress. It does not stop when ctx
// ends, so that its outcome is known.
func (sch *Scheduler) store(ctx context.Context, due []*run, progress bolt.Progress) error {
	events := make([]bolt.DueRun, 0, len(due))
	for _, r := range due {
		s := syncs.Sync{ID: sch.table.id(r), Workspace: sch.table.workspace(r)}
		if e := event.OfRun(&s, time.Unix(r.at, 0), r.late); !sch.startedAhead[e.ID] {
			events = append(events, bolt.DueRun{Event: e, Version: r.version, StillDue: scheduled(sch.table.when(r))})
		}
	}
	err := sch.Store.StartRuns(context.WithoutCancel(ctx), events, progress)
	if err == nil || progress == sch.progress {
		return err
	}
	// The commit may have reached the disk before the error.
	if stored, _, failed := sch.Store.Progress(); failed == nil && stored == progress {
		return nil
	}
	return err
}
