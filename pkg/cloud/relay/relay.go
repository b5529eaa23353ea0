// Package relay handles the records of the table's stream: it publishes each
// change of a sync or a run as an event, reconciles the schedules of the changed
// syncs, stops the runs of those that were paused or deleted, and has queued and
// started runs watched. All of it happens at least once; events are published in
// order for each sync and for each run. It does not know how events reach the
// bus (see eventbus) nor what schedules look like (see reconciler).
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/cloud/watch"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// margin is how long before the function's timeout a batch stops, so that the
// response still reports which records are done. Our own choice.
const margin = 2 * time.Second

// Relay handles batches of the table's stream.
type Relay struct {
	Publisher  *eventbus.Publisher
	Reconciler *reconciler.Reconciler
	Runs       *runs.Service
	Watch      *watch.Queue
	Failures   *Failures
	Log        *slog.Logger
}

// change is a decoded stream record.
type change struct {
	event     event.Event // zero if the record cannot be read
	workspace string
	sync      string
	sequence  string
	at        time.Time // of the change
	run       *runs.Run // nil if the record is about a sync, or cannot be read
	scheduled time.Time // of the run, zero if there is none
	ends      bool      // the sync was paused or deleted, or cannot be read
}

// Handle handles a batch. If it cannot finish, the response holds the sequence
// number of the first unfinished record; Lambda delivers that record and all after
// it again. The error is always nil.
func (r *Relay) Handle(ctx context.Context, batch events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	changes, unread, err := r.readChanges(ctx, batch)
	failed, failure := r.relay(ctx, changes)
	if failure != nil {
		unread, err = "", failure
	}
	response := events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
	sequence := unread
	if failed < len(changes) {
		sequence = changes[failed].sequence
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.Int("records", len(batch.Records)), slog.Int("relayed", failed), slog.Any("events", count(changes[:failed]))}
	if err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("sequence", sequence), slog.String("error", err.Error()))
		response.BatchItemFailures = append(response.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: sequence})
	}
	r.Log.LogAttrs(ctx, level, "relay", attrs...)
	return response, nil
}

// relay publishes, schedules and watches changes, and returns the index of the first
// for which it could not.
func (r *Relay) relay(ctx context.Context, changes []change) (failed int, err error) {
	failed = len(changes)
	for _, step := range []func(context.Context, []change) (int, error){r.publish, r.schedule, r.watch} {
		if stopped, failure := step(ctx, changes[:failed]); failure != nil {
			failed, err = stopped, failure
		}
	}
	return failed, err
}

// count returns how many events of each kind changes have. A dashboard shows them.
func count(changes []change) map[string]int {
	counts := map[string]int{}
	for _, c := range changes {
		if c.event.ID != "" {
			counts[strings.ReplaceAll(string(c.event.Kind), ".", "_")]++
		}
	}
	return counts
}

// readChanges reads the records up to the first that fails, and returns the sequence
// number of that one. A record that is unreadable would fail again at each
// delivery, so it is set aside, publishes no event and does not stop the others.
func (r *Relay) readChanges(ctx context.Context, batch events.DynamoDBEvent) (changes []change, failed string, err error) {
	changes = make([]change, 0, len(batch.Records))
	for _, record := range batch.Records {
		c := change{sequence: record.Change.SequenceNumber, at: record.Change.ApproximateCreationDateTime.UTC()}
		var isSync, isRun bool
		if c.workspace, c.sync, isSync = dynamo.KeyOf(record); isSync {
			err = recovered(func() error { return readSync(record, &c) })
		} else if c.workspace, c.sync, isRun = dynamo.RunKeyOf(record); isRun {
			c.scheduled = dynamo.RunTimeOf(record)
			err = recovered(func() (err error) { isRun, err = r.readRun(ctx, record, &c); return err })
		}
		err = r.setAside(ctx, c, err)
		if err != nil {
			return changes, c.sequence, err
		}
		if isSync || isRun {
			changes = append(changes, c)
		}
	}
	return changes, "", nil
}

// readSync reads the change of a sync.
func readSync(record events.DynamoDBEventRecord, c *change) error {
	before, after, _, err := dynamo.Change(record)
	if errors.Is(err, syncs.ErrUnreadable) {
		c.ends = true // perhaps
		c.at = time.Time{}
	}
	if err != nil {
		return err
	}
	c.event = event.OfChange(before, after)
	if after == nil && !c.at.IsZero() {
		c.event.Time = c.at
	}
	c.ends = after == nil || after.Status == syncs.Disabled && (before == nil || before.Status != syncs.Disabled)
	return nil
}

// readRun reads the change of a run. ok is false for a change that is not
// published, such as a heartbeat, and for a run that is unreadable. The event of a
// queued run holds its sync, unless that is deleted or unreadable.
func (r *Relay) readRun(ctx context.Context, record events.DynamoDBEventRecord, c *change) (ok bool, err error) {
	run, ok, err := dynamo.RunOf(record)
	if errors.Is(err, runs.ErrUnreadable) {
		c.at = time.Time{}
	}
	if !ok || err != nil {
		return false, err
	}
	var of *syncs.Sync
	if run.Status == runs.Queued && run.Transition != "" {
		read, err := r.Runs.Syncs.Read(ctx, run.Workspace, run.SyncID)
		switch {
		case errors.Is(err, syncs.ErrUnreadable):
			r.unreadable(ctx, *c, err)
		case err == nil:
			of = &read
		case !fault.Is(err, fault.NotFound):
			return false, fmt.Errorf("read the sync of a queued run: %w", err)
		}
	}
	c.run = &run
	c.event, ok = event.OfTransition(run, of)
	return ok, nil
}

// unreadable logs that a sync or a run could not be read.
func (r *Relay) unreadable(ctx context.Context, c change, err error) {
	r.Log.LogAttrs(ctx, slog.LevelError, "unreadable sync", slog.String("workspace", c.workspace), slog.String("sync", c.sync),
		slog.String("sequence", c.sequence), slog.String("error", err.Error()))
}

// publish publishes the events, and returns the index of the first change whose
// event it could not.
func (r *Relay) publish(ctx context.Context, changes []change) (int, error) {
	var all []event.Event
	var indexes []int // of the change of each event
	for i, c := range changes {
		if c.event.ID != "" {
			all, indexes = append(all, c.event), append(indexes, i)
		}
	}
	for done := 0; done < len(all); done++ { // a change that is set aside
		published, err := r.Publisher.Publish(ctx, all[done:])
		done += published
		if err == nil {
			break
		}
		failed := indexes[done]
		if err := r.setAside(ctx, changes[failed], err); err != nil {
			return failed, fmt.Errorf("publish a change of sync %s: %w", changes[failed].sync, err)
		}
	}
	return len(changes), nil
}

// maxConcurrent is how many syncs are reconciled, and how many messages are sent, at
// the same time. A call to Scheduler or SQS takes some 10 ms, mostly waiting. Our own
// choice.
const maxConcurrent = 16

// schedule reconciles the schedules of each changed sync once, and stops its runs if
// it was paused or deleted. It returns the index of the first change for which it
// could not.
func (r *Relay) schedule(ctx context.Context, changes []change) (int, error) {
	ends := map[string]bool{}
	for _, c := range changes {
		ends[c.sync] = ends[c.sync] || c.ends
	}
	started := map[string]bool{}
	return r.forEach(ctx, changes, func(c change) bool {
		first := c.run == nil && !started[c.sync]
		started[c.sync] = started[c.sync] || first
		return first
	}, func(c change) error {
		_, err := r.Reconciler.Reconcile(ctx, c.workspace, c.sync)
		if errors.Is(err, syncs.ErrUnreadable) { // its schedules stay
			r.unreadable(ctx, c, err)
			err = nil
		}
		if err != nil || !ends[c.sync] {
			return err
		}
		err = r.Runs.Stop(ctx, c.workspace, c.sync)
		if errors.Is(err, syncs.ErrUnreadable) || errors.Is(err, runs.ErrUnreadable) { // its runs continue
			r.unreadable(ctx, c, err)
			return nil
		}
		return err
	})
}

// watch sends a message for each run that was queued or started, and returns the
// index of the first change for which it could not.
func (r *Relay) watch(ctx context.Context, changes []change) (int, error) {
	now := r.Runs.Now()
	return r.forEach(ctx, changes, func(c change) bool {
		return c.event.Kind == event.RunQueued || c.event.Kind == event.RunStarted
	}, func(c change) error { return r.Watch.Send(ctx, *c.run, now) })
}

// forEach calls do concurrently for the changes that pick picks, and returns the
// index of the first change for which do failed. It sets aside changes with
// permanent faults.
func (r *Relay) forEach(ctx context.Context, changes []change, pick func(change) bool, do func(change) error) (int, error) {
	var mu sync.Mutex
	var failure error
	first := len(changes)
	var group errgroup.Group
	group.SetLimit(maxConcurrent)
	for i, c := range changes {
		if !pick(c) {
			continue
		}
		group.Go(func() error {
			err := r.setAside(ctx, c, recovered(func() error { return do(c) }))
			mu.Lock()
			defer mu.Unlock()
			if err != nil && i < first {
				first, failure = i, err
			}
			return nil // do not cancel the others
		})
	}
	_ = group.Wait() // every function returns nil
	return first, failure
}
