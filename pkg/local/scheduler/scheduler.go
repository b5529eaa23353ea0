// Package clock begins the runs of syncs on one machine: it puts an event into
// the feed of the embedded store when a sync is due. In the cloud EventBridge
// Scheduler does that. It keeps the next run of every sync in memory, sorted,
// so that it looks at those that are due and at no other.
package scheduler

import (
	"container/heap"
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

// The bounds of the work. Our own choices.
const (
	maxBatch  = 1000        // runs in one commit, and changes read at once
	lateAfter = time.Minute // a run that begins later than this is late
	maxSleep  = time.Second // so that a clock that was set is noticed
	retry     = time.Second // after the store failed, and until the clock is set
	tolerance = time.Minute // a clock that is set back by no more is waited for
)

// earliest is a moment before which no version of this program was built, in
// seconds since 1970.
const earliest = 1_704_067_200 // 2024-01-01

// buildTime returns when the revision of this program was committed, or earliest
// where the build does not say. A clock that shows less is not set: a machine
// without a battery starts in 1970, or in the year that its firmware was made.
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

// Scheduler begins runs. One Clock serves a store.
type Scheduler struct {
	Store *bolt.Store
	Now   func() time.Time
	Log   *slog.Logger

	queue        queue
	syncs        map[string]*run // by ID
	position     uint64          // the last event of the feed that was looked at
	changed      <-chan struct{} // the feed has more
	progress     bolt.Progress   // what has begun
	unsaved      bool            // until is to be written
	clockUnset   bool            // the clock of the machine is not set
	built        time.Time       // no clock that is set shows less
	startedAhead map[string]bool // the IDs of the runs that have begun and are due after now
}

// run is the next run of a sync.
type run struct {
	id, workspace string
	version       int64 // of the sync that when is of
	when          schedule.Schedule
	at            int64 // seconds since 1970
	late          bool
	previous      int64 // the run before it, 0 if that is not known
	index         int   // in the queue
}

// next returns the first run after a moment, in seconds since 1970.
func (r *run) next(after time.Time) int64 { return r.when.From(after).Next(after).Unix() }

// last returns the latest run until a moment, if there was one since another.
func (r *run) last(since, until time.Time) (time.Time, bool) {
	return r.when.From(since).Last(since, until)
}

// Run begins runs until ctx ends.
func (c *Scheduler) Run(ctx context.Context) {
	c.changed = make(chan struct{})
	for ctx.Err() == nil {
		wait, err := c.Step(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			c.Log.LogAttrs(ctx, slog.LevelError, "clock", slog.String("error", err.Error()))
			wait = retry
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// Step takes over what has changed, begins what is due, and returns how long
// there is nothing to do unless something changes. After an error nothing is
// lost: the next Step does it again. While the clock of the machine is not set,
// Step does nothing.
func (c *Scheduler) Step(ctx context.Context) (time.Duration, error) {
	now := c.Now()
	if c.built.IsZero() {
		c.built = buildTime()
	}
	if now.Before(c.built) {
		if !c.clockUnset {
			c.Log.LogAttrs(ctx, slog.LevelError, "the clock is not set; no run begins", slog.Time("now", now), slog.Time("built", c.built))
		}
		c.clockUnset = true
		return retry, nil
	}
	c.clockUnset = false
	if c.syncs == nil {
		if err := c.load(now); err != nil {
			return 0, err
		}
	}
	if err := c.detectSetBack(ctx, now); err != nil {
		return 0, err
	}
	if err := c.followFeed(now); err != nil {
		return 0, err
	}
	for {
		more, err := c.startDue(ctx)
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
	if len(c.queue) > 0 {
		wait = min(wait, time.Unix(c.queue[0].at, 0).Sub(c.Now()))
	}
	return max(wait, 0), nil
}

// load reads all syncs. What should have begun while nobody was there begins
// now: once, and marked late.
func (c *Scheduler) load(now time.Time) error {
	progress, known, err := c.Store.Progress()
	if err != nil {
		return err
	}
	c.progress = progress
	if !known {
		c.progress.Second, c.unsaved = now.Unix(), true
	}
	// What was missed since the checkpoint may have begun early as well.
	checkpoint := time.Unix(min(c.progress.Second, now.Unix()), 0)
	if c.startedAhead, err = c.startedAfter(checkpoint); err != nil {
		return err
	}
	c.position, c.changed = c.Store.Head() // changes after this are followed
	all := map[string]*run{}
	err = c.Store.Each(func(s syncs.Sync) error {
		r := c.newRun(s)
		if r == nil {
			return nil
		}
		since, began := s.ScheduledAt, time.Unix(c.progress.Second, 0)
		if s.ID <= c.progress.ID {
			began = began.Add(time.Second)
		}
		if since.Before(began) || since.After(now) { // after now: the clock was ahead
			since = began
		}
		if missed, ok := r.last(since, now); ok {
			r.at, r.late = missed.Unix(), true
		} else {
			r.at = r.next(later(now, began))
		}
		all[r.id] = r
		return nil
	})
	if err != nil {
		return err
	}
	c.syncs = all
	c.queue = make(queue, 0, len(all))
	for _, r := range all {
		r.index = len(c.queue)
		c.queue = append(c.queue, r)
	}
	heap.Init(&c.queue)
	return nil
}

// detectSetBack follows a clock that was set back: every sync runs next after what the
// clock shows now, but for the runs that have begun already.
func (c *Scheduler) detectSetBack(ctx context.Context, now time.Time) error {
	if now.Add(tolerance).Unix() >= c.progress.Second {
		return nil
	}
	early, err := c.startedAfter(now)
	if err != nil {
		return err
	}
	c.Log.LogAttrs(ctx, slog.LevelWarn, "the clock was set back", slog.Time("from", time.Unix(c.progress.Second, 0)), slog.Time("to", now))
	c.startedAhead, c.progress, c.unsaved = early, bolt.Progress{Second: now.Unix(), LatestRun: c.latestRun()}, true
	for _, r := range c.queue {
		r.at, r.late, r.previous = r.next(now), false, 0
	}
	heap.Init(&c.queue)
	return nil
}

// latestRun is the last second in which a run may be due that has begun.
func (c *Scheduler) latestRun() int64 {
	if c.progress.ID != "" {
		return max(c.progress.Second+1, c.progress.LatestRun)
	}
	return max(c.progress.Second, c.progress.LatestRun)
}

// startedAfter returns the IDs of the runs of the feed that are due after a moment:
// nil if no run has begun that is.
func (c *Scheduler) startedAfter(moment time.Time) (map[string]bool, error) {
	if c.latestRun() <= moment.Unix() {
		return nil, nil //nolint:nilnil // as documented
	}
	begun := map[string]bool{}
	for after := uint64(0); ; {
		entries, err := c.Store.Events(after, maxBatch)
		if err != nil || len(entries) == 0 {
			return begun, err
		}
		for _, e := range entries {
			if after = e.Sequence; e.Kind == event.Due && e.Time.After(moment) {
				begun[e.ID] = true
			}
		}
	}
}

// newRun is a run of s without a time, nil if s does not run: it is paused, or
// has no schedule that can be read, which is logged.
func (c *Scheduler) newRun(s syncs.Sync) *run {
	if s.Status == syncs.Disabled {
		return nil
	}
	when, err := s.Schedule()
	if err != nil {
		c.unreadable(s.Workspace, s.ID, err)
		return nil
	}
	return &run{id: s.ID, workspace: s.Workspace, version: s.Version, when: when}
}

func later(x, y time.Time) time.Time {
	if x.After(y) {
		return x
	}
	return y
}

// scheduled returns a function that reports whether a sync has this schedule.
func scheduled(when schedule.Schedule) func(syncs.Sync) bool {
	return func(s syncs.Sync) bool {
		now, err := s.Schedule()
		return err == nil && now == when
	}
}

func (c *Scheduler) unreadable(workspace, id string, err error) {
	c.Log.LogAttrs(context.Background(), slog.LevelError, "unreadable sync",
		slog.String("workspace", workspace), slog.String("sync", id), slog.String("error", err.Error()))
}

// followFeed takes over the changes since it was last asked. It looks at the sync
// as it is, so that it does not matter how often or how late it hears of it.
func (c *Scheduler) followFeed(now time.Time) error {
	for {
		last, grown := c.Store.Head()
		c.changed = grown
		if c.position >= last {
			return nil
		}
		entries, err := c.Store.Events(c.position, maxBatch)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return c.reload(now)
		}
		for _, e := range entries {
			if e.Sequence != c.position+1 {
				return c.reload(now)
			}
			switch e.Kind {
			case event.Created, event.Updated, event.Deleted:
				if err := c.update(e.Workspace, e.Subject); err != nil {
					return err
				}
			case event.Due, event.Rejected, event.Requested, event.RunQueued, event.RunStarted, event.RunSucceeded, event.RunFailed,
				event.RunCanceled, event.RunSkipped, event.RunCancelRequested, event.RunRejected, event.RunRequested, event.RunReported:
			}
			c.position = e.Sequence
		}
	}
}

// reload reads all syncs again: changes that are to be followed are too old and
// gone, or cannot be read.
func (c *Scheduler) reload(now time.Time) error {
	c.syncs = nil // so that the next Step does it if this one cannot
	return c.load(now)
}

// update makes the next run of a sync what the sync says.
func (c *Scheduler) update(workspace, id string) error {
	s, err := c.Store.Read(context.Background(), workspace, id)
	var next *run
	switch {
	case fault.Is(err, fault.NotFound):
	case errors.Is(err, syncs.ErrUnreadable):
		c.unreadable(workspace, id, err)
	case err != nil:
		return err
	default:
		next = c.newRun(s)
	}
	before := c.syncs[id]
	since := s.UpdatedAt
	if now := c.Now(); since.After(now) { // as in load
		since = now
	}
	switch {
	case next == nil && before == nil:
	case next == nil:
		heap.Remove(&c.queue, before.index)
		delete(c.syncs, id)
	case before == nil: // new, or resumed: what was due before that does not count
		next.at = next.next(since)
		heap.Push(&c.queue, next)
		c.syncs[id] = next
		c.unsaved = c.unsaved || s.Version > 1
	case before.when != next.when:
		since = later(since, time.Unix(before.previous, 0)) // at the same time it is the same run
		before.when, before.late, before.at = next.when, false, next.next(since)
		before.version = s.Version
		heap.Fix(&c.queue, before.index)
	default:
		before.version = s.Version
	}
	return nil
}

// startDue begins what is due, some of it at a time, and reports whether there is
// more. That a run began and that it is marked as begun are one commit, which
// leaves out what is not due any more by then.
func (c *Scheduler) startDue(ctx context.Context) (more bool, err error) {
	now := c.Now()
	due := c.popDue(now)
	until := c.progressWith(now, due)
	if len(due) > 0 || c.unsaved {
		err = c.store(ctx, due, until)
		c.unsaved = err != nil
	}
	for _, r := range due {
		if err == nil {
			next := r.next(time.Unix(r.at, 0))
			if r.late { // it stands for all until now
				next = r.next(now)
			}
			r.previous, r.at, r.late = r.at, next, false
		}
		heap.Push(&c.queue, r)
	}
	if err != nil {
		return false, fmt.Errorf("begin what is due: %w", err)
	}
	c.progress = until
	if until.Second > until.LatestRun {
		c.startedAhead = nil
	}
	return len(due) > 0, nil
}

// popDue takes the next runs that are due off the queue, in the order of their times
// and the IDs of their syncs, as many as one commit stores.
func (c *Scheduler) popDue(now time.Time) []*run {
	var due []*run
	for len(c.queue) > 0 && c.queue[0].at <= now.Unix() && len(due) < maxBatch {
		r := c.queue[0]
		if at := time.Unix(r.at, 0); !r.late && now.Sub(at) > lateAfter { // the machine slept
			r.late = true
			if last, ok := r.last(at, now); ok {
				r.at = last.Unix()
				heap.Fix(&c.queue, 0)
				continue
			}
		}
		due = append(due, r)
		heap.Pop(&c.queue)
	}
	return due
}

// progressWith returns what has begun when the runs of due have.
func (c *Scheduler) progressWith(now time.Time, due []*run) bolt.Progress {
	p := bolt.Progress{Second: now.Unix(), LatestRun: c.progress.LatestRun}
	if len(c.queue) > 0 && c.queue[0].at <= now.Unix() {
		p.Second = c.queue[0].at - 1
		if last := due[len(due)-1]; last.at > p.Second {
			p.ID = last.id
		}
	}
	// A clock that is a little behind does not undo what has begun, nor does a
	// sync that is new.
	if p.Second < c.progress.Second || p.Second == c.progress.Second && p.ID < c.progress.ID {
		p = c.progress
	}
	return p
}

// store stores the events of runs. It is not given up when ctx ends, so that it
// is known what has begun.
func (c *Scheduler) store(ctx context.Context, due []*run, until bolt.Progress) error {
	events := make([]bolt.DueRun, 0, len(due))
	for _, r := range due {
		s := syncs.Sync{ID: r.id, Workspace: r.workspace}
		if e := event.OfRun(&s, time.Unix(r.at, 0), r.late); !c.startedAhead[e.ID] {
			events = append(events, bolt.DueRun{Event: e, Version: r.version, StillDue: scheduled(r.when)})
		}
	}
	err := c.Store.StartRuns(context.WithoutCancel(ctx), events, until)
	if err == nil || until == c.progress {
		return err
	}
	// The disk may have failed after it had stored all.
	if stored, _, failed := c.Store.Progress(); failed == nil && stored == until {
		return nil
	}
	return err
}

// queue is a heap of runs, the next one first: by time, then by the ID of the
// sync.
type queue []*run

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].id < q[j].id
}

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	r := x.(*run) //nolint:forcetypeassert // there is nothing else in it
	r.index = len(*q)
	*q = append(*q, r)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(*q) - 1
	r := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return r
}
