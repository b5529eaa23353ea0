// Package relay tells what changed in the table: it turns the records of its
// stream into events on the bus, and keeps the schedules up with it. It does
// both at least once, and in order for each sync.
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

// margin is how long before the function's own timeout a batch gives up, so
// that what was done of it counts.
const margin = 2 * time.Second

// Relay handles batches of the table's stream.
type Relay struct {
	Bus       *eventbus.Bus
	Timetable *reconciler.Timetable
	Log       *slog.Logger
}

// change is a record that was read.
type change struct {
	event     event.Event // zero where the record cannot be read
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
	changes, unread, err := r.read(ctx, batch)
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

// read reads the records up to the first that fails, of which it returns the
// sequence number. A sync that cannot be read will not be, however often the
// record comes again: it is logged, makes no event, and holds up no other.
func (r *Relay) read(ctx context.Context, batch events.DynamoDBEvent) (changes []change, failed string, err error) {
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

func (r *Relay) unreadable(ctx context.Context, c change, err error) {
	r.Log.LogAttrs(ctx, slog.LevelError, "unreadable sync", slog.String("workspace", c.workspace), slog.String("sync", c.sync),
		slog.String("sequence", c.sequence), slog.String("error", err.Error()))
}

// tell publishes the events, and returns which was the first that it could not.
func (r *Relay) tell(ctx context.Context, changes []change) (int, error) {
	var all []event.Event
	var of []int // the change of each event
	for i, c := range changes {
		if c.event.ID != "" {
			all, of = append(all, c.event), append(of, i)
		}
	}
	sent, err := r.Bus.Publish(ctx, all)
	if err != nil {
		return of[sent], fmt.Errorf("tell of sync %s: %w", changes[of[sent]].sync, err)
	}
	return len(changes), nil
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
			if errors.Is(err, syncs.ErrUnreadable) { // its schedules stay as they are
				r.unreadable(ctx, c, err)
				return nil
			}
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
