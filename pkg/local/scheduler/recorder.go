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
)

// The work of a Recorder. Our own choices: what it does at once shares commits.
const (
	recordBatch   = 1000 // events read at a time
	recordsAtOnce = 64   // syncs worked on at the same time
	recordIdle    = 30 * time.Second
	recordRetry   = time.Second
)

// Recorder keeps the runs of one machine. It follows the feed: it records the runs
// that are due and cancels those of syncs that were paused or deleted. By a heap of
// deadlines it ends what time ends, so that the news is prompt; what is read is
// right without it (see runs.Run.At).
type Recorder struct {
	Store *bolt.Store
	Runs  *runs.Service
	Now   func() time.Time
	Log   *slog.Logger

	loaded    bool
	position  uint64 // the sequence number of the last event that was handled
	deadlines deadlines
	known     map[openSync]time.Time // the deadline of each sync in the heap
	changed   <-chan struct{}
}

// openSync is a sync that has an open run.
type openSync struct{ workspace, id string }

// Run works until ctx ends. An error that may pass is logged and the work tried
// again.
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

// Step handles the events that are new and the deadlines that have passed, and
// returns how long nothing is to be done unless the feed grows.
func (r *Recorder) Step(ctx context.Context) (wait time.Duration, err error) {
	if err := r.load(ctx); err != nil {
		return 0, err
	}
	for {
		last, grown := r.Store.Head()
		r.changed = grown
		if r.position >= last {
			break
		}
		if err := r.follow(ctx, last); err != nil {
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

// load reads where the Recorder was and which runs are open. A file that no
// Recorder has worked on begins with its newest event.
func (r *Recorder) load(ctx context.Context) error {
	if r.loaded {
		return nil
	}
	read, ok, err := r.Store.Checkpoint(bolt.RecorderCheckpoint)
	if err != nil {
		return err
	}
	if !ok {
		if read, err = r.Store.LastSequence(); err != nil {
			return err
		}
		if err := r.Store.Publish(ctx, nil, bolt.RecorderCheckpoint, read); err != nil {
			return err
		}
	}
	r.known, r.deadlines = map[openSync]time.Time{}, nil
	err = bolt.Runs{Store: r.Store, Now: r.Now}.AllSlots(func(slot runs.Slot) error {
		r.schedule(openSync{slot.Workspace, slot.SyncID}, r.Now()) // its deadline is found when it is looked at
		return nil
	})
	r.position, r.loaded = read, err == nil
	return err
}

// follow handles a batch of events, those of one sync in their order.
func (r *Recorder) follow(ctx context.Context, last uint64) error {
	entries, err := r.Store.Events(r.position, recordBatch)
	if err != nil {
		return err
	}
	end := last
	if len(entries) > 0 {
		end = entries[len(entries)-1].Sequence
	}
	bySync := map[openSync][]event.Event{}
	for _, entry := range entries {
		of := openSync{entry.Workspace, entry.Subject}
		bySync[of] = append(bySync[of], entry.Event)
	}
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(recordsAtOnce)
	for of, events := range bySync {
		group.Go(func() error {
			for _, e := range events {
				if err := r.handle(grouped, of, e); err != nil {
					return fmt.Errorf("event %s: %w", e.ID, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for of, events := range bySync {
		for _, e := range events {
			if e.Kind == event.RunQueued || e.Kind == event.RunStarted || e.Kind == event.RunCancelRequested {
				r.schedule(of, r.Now())
			}
		}
	}
	if err := r.Store.Publish(ctx, nil, bolt.RecorderCheckpoint, end); err != nil {
		return err
	}
	r.position = end
	return nil
}

// handle does what an event asks for. All of it may be done again.
func (r *Recorder) handle(ctx context.Context, of openSync, e event.Event) error {
	switch e.Kind {
	case event.Due:
		late := strings.Contains(string(e.Data), `"late":true`)
		_, _, err := r.Runs.Due(ctx, runs.Key{Workspace: of.workspace, SyncID: of.id, Time: e.Time}, late)
		return err
	case event.Updated, event.Deleted:
		return r.Runs.Stop(ctx, of.workspace, of.id)
	case event.Created, event.Rejected, event.Requested, event.RunQueued, event.RunStarted, event.RunSucceeded, event.RunFailed,
		event.RunCanceled, event.RunSkipped, event.RunCancelRequested, event.RunRejected, event.RunRequested, event.RunReported:
	}
	return nil
}

// expire stores what time has changed of the runs whose deadline has passed.
func (r *Recorder) expire(ctx context.Context) error {
	for len(r.deadlines) > 0 && !r.deadlines[0].at.After(r.Now()) {
		next := r.deadlines[0]
		open, ok, err := r.Runs.Expire(ctx, next.workspace, next.id)
		if err != nil {
			return err
		}
		if err := r.Runs.Stop(ctx, next.workspace, next.id); err != nil { // a pause whose event is yet to come
			return err
		}
		heap.Pop(&r.deadlines)
		delete(r.known, next.openSync)
		if ok && !open.Status.Final() {
			at := open.DeadlineAt
			if !at.After(r.Now()) {
				return errors.New("a run is open after its deadline")
			}
			r.schedule(next.openSync, at)
		}
	}
	return nil
}

// schedule has a sync looked at at a moment, or before.
func (r *Recorder) schedule(of openSync, at time.Time) {
	if known, ok := r.known[of]; ok && !known.After(at) {
		return
	}
	r.known[of] = at
	heap.Push(&r.deadlines, deadline{of, at})
}

// deadline is when the open run of a sync is to be looked at.
type deadline struct {
	openSync
	at time.Time
}

// deadlines is a heap, the earliest first. A sync may be in it more than once:
// looking at it twice does no harm.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push appends a deadline.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) } //nolint:forcetypeassert // package heap passes what watch gave it

// Pop removes the last deadline.
func (d *deadlines) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}
