package scheduler

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"syncplane/pkg/event"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
)

// Bounds and intervals of a Recorder. Our own choices; concurrent writes share
// commits.
const (
	recordBatch   = 1000 // events read at once
	recordsAtOnce = 64   // syncs handled concurrently
	recordIdle    = 30 * time.Second
	recordRetry   = time.Second

	checkpointEvery = 1000 // events that may be handled again after a crash
)

// Recorder records the runs of one machine. It reads the feed: it records the runs
// that are due and cancels those of syncs that were paused or deleted. It keeps a
// heap of deadlines and stores the runs that have expired, so that their events are
// published promptly; readers see the right status without it (see runs.Run.At).
type Recorder struct {
	Store *bolt.Store
	Runs  *runs.Service
	Now   func() time.Time
	Log   *slog.Logger

	loaded    bool
	position  uint64 // the sequence number of the last event that was handled
	stored    uint64 // the checkpoint
	deadlines deadlines
	known     map[openSync]time.Time // the deadline of each sync in the heap
	changed   <-chan struct{}
	last      time.Time // when Step was last called
}

// openSync is a sync that has an open run.
type openSync struct{ workspace, id string }

// Run calls Step until ctx ends. It logs errors and tries again after a second.
func (r *Recorder) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait, err := r.Step(ctx)
		if err != nil && ctx.Err() == nil {
			r.Log.LogAttrs(ctx, slog.LevelError, "run recorder", slog.String("error", err.Error()))
			wait = recordRetry
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// Step handles new events and deadlines that have passed, and returns how long to
// wait before the next Step unless the feed changes.
func (r *Recorder) Step(ctx context.Context) (wait time.Duration, err error) {
	if err := r.load(ctx); err != nil {
		return 0, err
	}
	if err := r.detectSetBack(ctx); err != nil {
		return 0, err
	}
	for {
		head, changed := r.Store.Head()
		r.changed = changed
		if r.position >= head {
			break
		}
		if err := r.follow(ctx, head); err != nil {
			return 0, err
		}
	}
	if err := r.expire(ctx); err != nil {
		return 0, err
	}
	if len(r.deadlines) == 0 {
		return recordIdle, nil
	}
	return max(0, min(recordIdle, r.deadlines[0].at.Sub(r.Now()))), nil
}

// load reads the checkpoint and the open runs. Without a checkpoint it starts after
// the newest event.
func (r *Recorder) load(ctx context.Context) error {
	if r.loaded {
		return nil
	}
	position, err := r.Store.StartCheckpoint(ctx, bolt.RecorderCheckpoint)
	if err != nil {
		return err
	}
	r.stored = position
	if err := r.loadDeadlines(ctx); err != nil {
		return err
	}
	r.position, r.loaded = position, true
	return nil
}

// loadDeadlines has expire read the deadline of every open run.
func (r *Recorder) loadDeadlines(ctx context.Context) error {
	r.known, r.deadlines = map[openSync]time.Time{}, nil
	for slot, err := range (bolt.Runs{Store: r.Store, Now: r.Now}).AllSlots(ctx) {
		if err != nil {
			return err
		}
		r.schedule(openSync{slot.Workspace, slot.SyncID}, r.Now())
	}
	return nil
}

// detectSetBack handles a clock that was set back: the deadlines in the heap are those
// of the clock that was ahead, and reading the runs again sets them back too.
func (r *Recorder) detectSetBack(ctx context.Context) error {
	now := r.Now()
	if now.Add(tolerance).Unix() < r.last.Unix() { // not by the monotonic clock
		if err := r.loadDeadlines(ctx); err != nil {
			return err
		}
	}
	r.last = now
	return nil
}

// follow handles a batch of events up to head, those of one sync in order.
func (r *Recorder) follow(ctx context.Context, head uint64) error {
	entries, err := r.Store.Events(r.position, recordBatch)
	if err != nil {
		return err
	}
	end := head
	if len(entries) > 0 {
		end = entries[len(entries)-1].Sequence
	}
	bySync := map[openSync][]event.Event{}
	for _, entry := range entries {
		id := openSync{entry.Workspace, entry.Subject}
		bySync[id] = append(bySync[id], entry.Event)
	}
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(recordsAtOnce)
	for id, events := range bySync {
		group.Go(func() error {
			for _, e := range events {
				if err := r.skip(grouped, id, r.handle(grouped, id, e)); err != nil {
					return fmt.Errorf("event %s: %w", e.ID, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for id, events := range bySync {
		for _, e := range events {
			if e.Kind == event.RunQueued || e.Kind == event.RunStarted || e.Kind == event.RunCancelRequested {
				r.schedule(id, r.Now())
			}
		}
	}
	// What is handled again after a crash changes nothing, so not every batch
	// needs a commit.
	if end-r.stored >= checkpointEvery {
		if err := r.Store.Publish(ctx, nil, bolt.RecorderCheckpoint, end); err != nil {
			return err
		}
		r.stored = end
	}
	r.position = end
	return nil
}

// skip returns err unless a sync or its runs cannot be read. Those are logged and left
// as they are, so that they do not delay the other syncs.
func (r *Recorder) skip(ctx context.Context, sync openSync, err error) error {
	if !errors.Is(err, syncs.ErrUnreadable) && !errors.Is(err, runs.ErrUnreadable) {
		return err
	}
	r.Log.LogAttrs(ctx, slog.LevelError, "unreadable run",
		slog.String("workspace", sync.workspace), slog.String("sync", sync.id), slog.String("error", err.Error()))
	return nil
}

// handle handles an event. It is idempotent.
func (r *Recorder) handle(ctx context.Context, sync openSync, e event.Event) error {
	switch e.Kind {
	case event.Due:
		late := strings.Contains(string(e.Data), `"late":true`)
		// An event that is not late was published at its time. If that is long ago, it
		// was handled before a restart, and its run may have expired since.
		if keep := r.Runs.Retention; !late && r.Now().Sub(e.Time) >= min(keep.Skipped, keep.Runs) {
			return nil
		}
		_, _, err := r.Runs.Due(ctx, runs.Key{Workspace: sync.workspace, SyncID: sync.id, Time: e.Time}, late)
		return err
	case event.Updated, event.Deleted:
		return r.Runs.Stop(ctx, sync.workspace, sync.id)
	case event.Created, event.Rejected, event.Requested, event.RunQueued, event.RunStarted, event.RunSucceeded, event.RunFailed,
		event.RunCanceled, event.RunSkipped, event.RunCancelRequested, event.RunRejected, event.RunRequested, event.RunReported:
	}
	return nil
}

// expire stores the state of the runs whose deadline has passed; see runs.Run.At.
func (r *Recorder) expire(ctx context.Context) error {
	for len(r.deadlines) > 0 && !r.deadlines[0].at.After(r.Now()) {
		next := r.deadlines[0]
		open, ok, err := r.Runs.Expire(ctx, next.workspace, next.id)
		if err == nil {
			err = r.Runs.Stop(ctx, next.workspace, next.id) // the sync may have been paused since
		}
		if err := r.skip(ctx, next.openSync, err); err != nil {
			return err
		}
		heap.Pop(&r.deadlines)
		delete(r.known, next.openSync)
		if ok && !open.Status.Final() {
			r.schedule(next.openSync, open.DeadlineAt)
		}
	}
	return nil
}

// schedule has expire check the open run of a sync at a time, or earlier.
func (r *Recorder) schedule(sync openSync, at time.Time) {
	if known, ok := r.known[sync]; ok && !known.After(at) {
		return
	}
	r.known[sync] = at
	heap.Push(&r.deadlines, deadline{sync, at})
}

// deadline is when to check the open run of a sync.
type deadline struct {
	openSync
	at time.Time
}

// deadlines is a heap, the earliest first. A sync may be in it more than once,
// which is harmless.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push appends a deadline.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) } //nolint:forcetypeassert // the heap holds nothing else

// Pop removes the last deadline.
func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
