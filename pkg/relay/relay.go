// Package relay tells what changed in the table: it turns the records of its
// stream into events on the bus, and keeps the schedules up with it. It does
// both at least once, and in order for each sync.
package relay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/bus"
	"syncplane/pkg/dynamo"
	"syncplane/pkg/event"
	"syncplane/pkg/timetable"
)

// margin is how long before the function's own timeout a batch gives up, so
// that what was done of it counts.
const margin = 2 * time.Second

// Relay handles batches of the table's stream.
type Relay struct {
	Bus       *bus.Bus
	Timetable *timetable.Timetable
	Log       *slog.Logger
}

// change is a record that was read.
type change struct {
	event     event.Event
	workspace string
	sync      string
	sequence  string
}

// Handle takes a batch over. Where it cannot go on it names the first record
// that it did not finish, by its sequence number; Lambda comes back with that
// one and all after it.
func (r *Relay) Handle(ctx context.Context, batch events.DynamoDBEvent) (events.DynamoDBEventResponse, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	changes, unread, err := read(batch)
	failed := len(changes)
	if stopped, failure := r.tell(ctx, changes); failure != nil {
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

// read reads the records up to the first that cannot be read, of which it
// returns the sequence number.
func read(batch events.DynamoDBEvent) (changes []change, unread string, err error) {
	changes = make([]change, 0, len(batch.Records))
	for _, record := range batch.Records {
		before, after, ok, err := dynamo.Change(record)
		if err != nil {
			return changes, record.Change.SequenceNumber, err
		}
		if !ok {
			continue
		}
		e := event.OfChange(before, after)
		if after == nil && !record.Change.ApproximateCreationDateTime.IsZero() {
			e.Time = record.Change.ApproximateCreationDateTime.UTC()
		}
		changes = append(changes, change{e, e.Workspace, e.Subject, record.Change.SequenceNumber})
	}
	return changes, "", nil
}

// tell publishes the events, and returns which was the first that it could not.
func (r *Relay) tell(ctx context.Context, changes []change) (int, error) {
	all := make([]event.Event, len(changes))
	for i, c := range changes {
		all[i] = c.event
	}
	sent, err := r.Bus.Publish(ctx, all)
	if err != nil {
		return sent, fmt.Errorf("tell of sync %s: %w", changes[sent].sync, err)
	}
	return sent, nil
}

// maxAtOnce is how many syncs are scheduled at the same time. A call of
// Scheduler takes some 10 ms, mostly of waiting. Our own choice.
const maxAtOnce = 16

// schedule makes the schedules of what changed what they are to be, each sync
// once, and returns which was the first change where it could not.
func (r *Relay) schedule(ctx context.Context, changes []change) (int, error) {
	var mu sync.Mutex
	var failure error
	first := len(changes)
	begun := map[string]bool{}
	var group errgroup.Group
	group.SetLimit(maxAtOnce)
	for i, c := range changes {
		if begun[c.sync] {
			continue
		}
		begun[c.sync] = true
		group.Go(func() error {
			_, err := r.Timetable.Reconcile(ctx, c.workspace, c.sync)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && i < first {
				first, failure = i, err
			}
			return nil // the others go on
		})
	}
	_ = group.Wait() // it has no error
	return first, failure
}
