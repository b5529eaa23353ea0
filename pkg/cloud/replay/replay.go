// Package replay publishes events again that were not delivered: the changes that a
// queue of failures names or that a range of time holds, from the table's stream or,
// once the stream has dropped them, from the table. It publishes as the relay does, so
// the IDs of the events are the same as the first time.
package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/event"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// Table lists what is stored, as package dynamo does.
type Table interface {
	All(ctx context.Context) iter.Seq2[syncs.Sync, error]
}

// Runs lists the runs that are stored, as package dynamo does.
type Runs interface {
	AllRuns(ctx context.Context) iter.Seq2[runs.Run, error]
}

// Replayer publishes events again.
type Replayer struct {
	Relay     *relay.Relay
	Streams   *dynamodbstreams.Client
	StreamARN string
	Queues    *sqs.Client
	Syncs     Table
	Runs      Runs
	Now       func() time.Time

	// OnEvent is called with the kind and the ID of each event. With DryRun, none is
	// published, no schedule is changed and no message deleted.
	OnEvent func(kind event.Kind, id string)
	DryRun  bool
}

// Range publishes the changes from a time until another again, the first included. What
// the stream still holds is published change by change. Before that, the last change
// of each sync and run is published if it is in the range; deletions are lost.
func (r *Replayer) Range(ctx context.Context, from, to time.Time) error {
	held, err := r.stream(ctx, from, to)
	if err != nil {
		return err
	}
	if !from.Before(held) {
		return nil
	}
	if held.Before(to) {
		to = held
	}
	return r.rows(ctx, from, to)
}

// streamLife is how long a stream holds a record (DynamoDB Developer Guide, "Change
// data capture for DynamoDB Streams").
const streamLife = 24 * time.Hour

// batchSize is how many records are published together, as by the relay function.
const batchSize = 100

// stream publishes the records of a range that the stream holds, and returns the time
// from which on it holds all records.
func (r *Replayer) stream(ctx context.Context, from, to time.Time) (held time.Time, err error) {
	held = r.Now().Add(-streamLife)
	shards, err := r.shards(ctx)
	if err != nil {
		return held, err
	}
	for _, shard := range shards {
		var batch []events.DynamoDBEventRecord
		for record, err := range r.records(ctx, shard, position{}) {
			if errors.Is(err, errTrimmed) {
				break
			}
			if err != nil {
				return held, err
			}
			at := record.Change.ApproximateCreationDateTime.UTC()
			if !at.Before(to) {
				break
			}
			if at.Before(from) {
				continue
			}
			batch = append(batch, record)
			if len(batch) == batchSize {
				if err := r.handle(ctx, batch); err != nil {
					return held, err
				}
				batch = nil
			}
		}
		if err := r.handle(ctx, batch); err != nil {
			return held, err
		}
	}
	return held, nil
}

// handle publishes a batch of records.
func (r *Replayer) handle(ctx context.Context, batch []events.DynamoDBEventRecord) error {
	for _, record := range batch {
		r.report(record)
	}
	if r.DryRun || len(batch) == 0 {
		return nil
	}
	response, err := r.Relay.Handle(ctx, events.DynamoDBEvent{Records: batch})
	if err != nil {
		return err
	}
	if len(response.BatchItemFailures) > 0 {
		return fmt.Errorf("the record %s was not published; see the log lines above", response.BatchItemFailures[0].ItemIdentifier)
	}
	return nil
}

// report reports the event of a record.
func (r *Replayer) report(record events.DynamoDBEventRecord) {
	if before, after, ok, err := dynamo.Change(record); ok && err == nil {
		e := event.OfChange(before, after)
		r.OnEvent(e.Kind, e.ID)
	}
	if run, ok, err := dynamo.RunOf(record); ok && err == nil {
		if e, ok := event.OfTransition(run, nil); ok {
			r.OnEvent(e.Kind, e.ID)
		}
	}
}

// rows publishes the last change of each sync and each run if it is in a range. Rows
// that cannot be read do not stop the others.
func (r *Replayer) rows(ctx context.Context, from, to time.Time) error {
	var unreadable error
	within := func(at time.Time) bool { return !at.Before(from) && at.Before(to) }
	for s, err := range r.Syncs.All(ctx) {
		switch {
		case errors.Is(err, syncs.ErrUnreadable):
			unreadable = errors.Join(unreadable, err)
		case err != nil:
			return err
		case within(s.UpdatedAt):
			if err := r.syncAgain(ctx, s); err != nil {
				return err
			}
		}
	}
	for run, err := range r.Runs.AllRuns(ctx) {
		switch {
		case errors.Is(err, runs.ErrUnreadable):
			unreadable = errors.Join(unreadable, err)
		case err != nil:
			return err
		case within(run.UpdatedAt):
			if err := r.runAgain(ctx, run); err != nil {
				return err
			}
		}
	}
	return unreadable
}

func (r *Replayer) syncAgain(ctx context.Context, s syncs.Sync) error {
	kind := event.Created
	if s.Version > 1 {
		kind = event.Updated
	}
	r.OnEvent(kind, fmt.Sprintf("%s/%d", s.ID, s.Version))
	if r.DryRun {
		return nil
	}
	return r.Relay.AgainSync(ctx, s)
}

func (r *Replayer) runAgain(ctx context.Context, run runs.Run) error {
	e, ok := event.OfTransition(run, nil)
	if !ok {
		return nil
	}
	r.OnEvent(e.Kind, e.ID)
	if r.DryRun {
		return nil
	}
	return r.Relay.AgainRun(ctx, run)
}
