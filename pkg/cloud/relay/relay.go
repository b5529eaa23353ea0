// Package relay handles the records of the table's stream: it publishes each
// change as an event and reconciles the schedules of the changed syncs. Both happen
// at least once, and in order for each sync. It does not know how events reach the
// bus (see eventbus) nor what schedules look like (see reconciler).
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/event"
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
	Log        *slog.Logger
}

// change is what a record says.
type change struct {
	event     event.Event // zero if the record cannot be read
	workspace string
	sync      string
	sequence  string
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
	failed := len(changes)
	if stopped, failure := r.publish(ctx, changes); failure != nil {
		failed, unread, err = stopped, "", failure
	}
	if stopped, failure := r.schedule(ctx, changes[:failed]); failure != nil {
		failed, unread, err = stopped, "", failure
	}
	response := events.DynamoDBEventResponse{BatchItemFailures: []events.DynamoDBBatchItemFailure{}}
	sequence := unread
	if failed < len(changes) {
		sequence = changes[failed].sequence
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.Int("records", len(batch.Records)), slog.Int("relayed", failed)}
	if err != nil {
		level = slog.LevelError
		attrs = append(attrs, slog.String("sequence", sequence), slog.String("error", err.Error()))
		response.BatchItemFailures = append(response.BatchItemFailures, events.DynamoDBBatchItemFailure{ItemIdentifier: sequence})
	}
	r.Log.LogAttrs(ctx, level, "relay", attrs...)
	return response, nil
}

// readChanges reads the records up to the first that fails, and returns the sequence
// number of that one. A record whose sync is unreadable would fail again at each
// delivery, so it is logged, publishes no event and does not stop the others.
func (r *Relay) readChanges(ctx context.Context, batch events.DynamoDBEvent) (changes []change, failed string, err error) {
	changes = make([]change, 0, len(batch.Records))
	for _, record := range batch.Records {
		workspace, id, ok := dynamo.KeyOf(record)
		if !ok {
			continue
		}
		c := change{workspace: workspace, sync: id, sequence: record.Change.SequenceNumber}
		before, after, _, err := dynamo.Change(record)
		switch {
		case errors.Is(err, syncs.ErrUnreadable):
			r.unreadable(ctx, c, err)
		case err != nil:
			return changes, c.sequence, err
		default:
			c.event = event.OfChange(before, after)
			if after == nil && !record.Change.ApproximateCreationDateTime.IsZero() {
				c.event.Time = record.Change.ApproximateCreationDateTime.UTC()
			}
		}
		changes = append(changes, c)
	}
	return changes, "", nil
}

// unreadable logs that a sync could not be read.
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
	published, err := r.Publisher.Publish(ctx, all)
	if err != nil {
		failed := indexes[published]
		return failed, fmt.Errorf("publish a change of sync %s: %w", changes[failed].sync, err)
	}
	return len(changes), nil
}

// maxConcurrent is how many syncs are reconciled at the same time. A call to
// Scheduler takes some 10 ms, mostly waiting. Our own choice.
const maxConcurrent = 16

// schedule reconciles the schedules of each changed sync once, and returns the
// index of the first change for which it could not.
func (r *Relay) schedule(ctx context.Context, changes []change) (int, error) {
	var mu sync.Mutex
	var failure error
	first := len(changes)
	started := map[string]bool{}
	var group errgroup.Group
	group.SetLimit(maxConcurrent)
	for i, c := range changes {
		if started[c.sync] {
			continue
		}
		started[c.sync] = true
		group.Go(func() error {
			_, err := r.Reconciler.Reconcile(ctx, c.workspace, c.sync)
			if errors.Is(err, syncs.ErrUnreadable) { // its schedules stay
				r.unreadable(ctx, c, err)
				return nil
			}
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
