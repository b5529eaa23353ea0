// Package clock begins the runs of syncs on one machine: it puts an event into
// the feed of the embedded store when a sync is due. In the cloud EventBridge
// Scheduler does that. It keeps the next run of every sync in memory, sorted,
// so that it looks at those that are due and at no other.
package clock

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"time"

	"syncplane/pkg/bolt"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
	"syncplane/pkg/syncs"
)

// The bounds of the work. Our own choices.
const (
	maxBatch  = 1000             // runs in one commit, and changes read at once
	lateAfter = time.Minute      // a run that begins later than this is late
	maxSleep  = 30 * time.Second // so that a clock that was set is noticed
	retry     = time.Second      // after the store failed
)

// markName is the mark up to which all runs have begun, seconds since 1970.
const markName = "clock"

// Clock begins runs. One Clock serves a store.
type Clock struct {
	Store *bolt.Store
	Now   func() time.Time
	Log   *slog.Logger

	queue queue
	syncs map[string]*run // by ID
	read  uint64          // the last event of the feed that was looked at
	grown <-chan struct{} // the feed has more
	mark  int64           // all runs up to this second have begun
	stale bool            // mark is to be written
}

// run is the next run of a sync.
type run struct {
	id, workspace string
	version       int64 // of the sync that when is of
	when          schedule.Schedule
	at            int64 // seconds since 1970
	late          bool
	index         int // in the queue
}

// Run begins runs until ctx ends.
func (c *Clock) Run(ctx context.Context) {
	c.grown = make(chan struct{})
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
		case <-c.grown:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// Step takes over what has changed, begins what is due, and returns how long
// there is nothing to do unless something changes. After an error nothing is
// lost: the next Step does it again.
func (c *Clock) Step(ctx context.Context) (time.Duration, error) {
	if c.syncs == nil {
		if err := c.load(); err != nil {
			return 0, err
		}
	}
	if err := c.follow(); err != nil {
		return 0, err
	}
	for {
		more, err := c.fire(ctx)
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
func (c *Clock) load() error {
	now := c.Now()
	mark, known, err := c.Store.Mark(markName)
	if err != nil {
		return err
	}
	c.mark = int64(mark) //nolint:gosec // until the year 292 billion
	if !known {
		c.mark, c.stale = now.Unix(), true
	}
	c.read, c.grown = c.Store.Last() // changes after this are followed
	all := map[string]*run{}
	err = c.Store.Each(func(s syncs.Sync) error {
		r := c.newRun(s)
		if r == nil {
			return nil
		}
		since := s.ScheduledAt
		if began := time.Unix(c.mark, 0); began.After(since) {
			since = began
		}
		if missed, ok := r.when.Last(since, now); ok {
			r.at, r.late = missed.Unix(), true
		} else {
			r.at = r.when.Next(now).Unix()
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

// newRun is a run of s without a time, nil if s does not run: it is paused, or
// has no schedule that can be read, which is logged.
func (c *Clock) newRun(s syncs.Sync) *run {
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

// scheduled returns a function that reports whether a sync has this schedule.
func scheduled(when schedule.Schedule) func(syncs.Sync) bool {
	return func(s syncs.Sync) bool {
		now, err := s.Schedule()
		return err == nil && now == when
	}
}

func (c *Clock) unreadable(workspace, id string, err error) {
	c.Log.LogAttrs(context.Background(), slog.LevelError, "unreadable sync",
		slog.String("workspace", workspace), slog.String("sync", id), slog.String("error", err.Error()))
}

// follow takes over the changes since it was last asked. It looks at the sync
// as it is, so that it does not matter how often or how late it hears of it.
func (c *Clock) follow() error {
	for {
		last, grown := c.Store.Last()
		c.grown = grown
		if c.read >= last {
			return nil
		}
		entries, err := c.Store.Events(c.read, maxBatch)
		if err != nil {
			return err
		}
		for _, e := range entries {
			switch e.Kind {
			case event.Created, event.Updated, event.Deleted:
				if err := c.update(e.Workspace, e.Subject); err != nil {
					return err
				}
			case event.Due, event.Rejected, event.Requested, event.RunQueued, event.RunStarted, event.RunSucceeded, event.RunFailed,
				event.RunCanceled, event.RunSkipped, event.RunCancelRequested, event.RunRejected, event.RunRequested, event.RunReported:
			}
			c.read = e.Sequence
		}
		if len(entries) == 0 { // they are too old and gone
			c.read = last
		}
	}
}

// update makes the next run of a sync what the sync says.
func (c *Clock) update(workspace, id string) error {
	s, err := c.Store.Read(context.Background(), workspace, id)
	var next *run
	switch {
	case fault.KindOf(err) == fault.NotFound:
	case errors.Is(err, syncs.ErrUnreadable):
		c.unreadable(workspace, id, err)
	case err != nil:
		return err
	default:
		next = c.newRun(s)
	}
	before := c.syncs[id]
	switch {
	case next == nil && before == nil:
	case next == nil:
		heap.Remove(&c.queue, before.index)
		delete(c.syncs, id)
	case before == nil: // new, or resumed: what was due before that does not count
		next.at = next.when.Next(s.UpdatedAt).Unix()
		heap.Push(&c.queue, next)
		c.syncs[id] = next
		c.stale = c.stale || s.Version > 1
	case before.when != next.when:
		before.when, before.late, before.at = next.when, false, next.when.Next(s.UpdatedAt).Unix()
		before.version = s.Version
		heap.Fix(&c.queue, before.index)
	default:
		before.version = s.Version
	}
	return nil
}

// fire begins what is due, some of it at a time, and reports whether there is
// more. That a run began and that it is marked as begun are one commit, which
// leaves out what is not due any more by then.
func (c *Clock) fire(ctx context.Context) (more bool, err error) {
	now := c.Now()
	var due []*run
	var begin []bolt.Due
	var next []int64
	for len(c.queue) > 0 && c.queue[0].at <= now.Unix() && len(due) < maxBatch {
		r := heap.Pop(&c.queue).(*run) //nolint:forcetypeassert // there is nothing else in it
		due = append(due, r)
		at, late := time.Unix(r.at, 0), r.late
		if !late && now.Sub(at) > lateAfter { // the machine slept
			late = true
			if last, ok := r.when.Last(at, now); ok {
				at = last
			}
		}
		s := syncs.Sync{ID: r.id, Workspace: r.workspace}
		begin = append(begin, bolt.Due{Event: event.OfRun(&s, at, late), Version: r.version, Still: scheduled(r.when)})
		if late { // it stands for all until now
			at = now
		}
		next = append(next, r.when.Next(at).Unix())
	}
	mark := now.Unix()
	if len(c.queue) > 0 && c.queue[0].at <= mark {
		more, mark = true, c.queue[0].at-1
	}
	if len(due) > 0 || c.stale {
		err = c.Store.Begin(ctx, begin, markName, uint64(mark)) //nolint:gosec // after 1970
		c.stale = err != nil
	}
	for i, r := range due {
		if err == nil {
			r.at, r.late = next[i], false
		}
		heap.Push(&c.queue, r)
	}
	if err != nil {
		return false, errors.Join(errors.New("begin what is due"), err)
	}
	c.mark = mark
	return more, nil
}

// queue is a heap of runs, the next one first.
type queue []*run

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at < q[j].at }

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
