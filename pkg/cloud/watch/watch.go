package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/aws/aws-lambda-go/events"

	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
)

// Watcher handles the messages of a Queue.
type Watcher struct {
	Queue *Queue
	Runs  *runs.Service
	Log   *slog.Logger
}

// Handle looks at the run of each message of a batch. The response names the
// messages that failed, so that SQS delivers them again.
func (w *Watcher) Handle(ctx context.Context, batch events.SQSEvent) events.SQSEventResponse {
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, record := range batch.Records {
		var m message
		outcome, err := "failed", json.Unmarshal([]byte(record.Body), &m)
		if err != nil {
			err = fmt.Errorf("read the message of a run: %w", err)
		} else {
			outcome, err = w.look(ctx, runs.Key{Workspace: m.Workspace, SyncID: m.Sync, Time: m.Time.UTC()})
		}
		level := slog.LevelInfo
		attrs := []slog.Attr{slog.String("sync", m.Sync), slog.Time("scheduled_time", m.Time), slog.String("outcome", outcome)}
		if err != nil {
			level = slog.LevelError
			attrs = append(attrs, slog.String("error", err.Error()))
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: record.MessageId})
		}
		w.Log.LogAttrs(ctx, level, "watch", attrs...)
	}
	return response
}

// look handles the message of a run. It sends another message while the deadline of the
// run has not passed, and otherwise stores the current state of the run; if that is
// queued again, the change is published and watched like every other.
func (w *Watcher) look(ctx context.Context, key runs.Key) (outcome string, err error) {
	stored, err := w.Runs.Store.Run(ctx, key)
	if fault.Is(err, fault.NotFound) {
		return "ended", nil
	}
	if err != nil {
		return "failed", err
	}
	now := w.Runs.Now()
	_, steps := stored.At(now)
	switch {
	case steps > 0:
		if _, _, err := w.Runs.Expire(ctx, key.Workspace, key.SyncID); err != nil {
			return "failed", err
		}
		if err := w.Runs.Stop(ctx, key.Workspace, key.SyncID); err != nil { // no attempt of a paused sync starts
			return "failed", err
		}
		return "expired", nil
	case stored.Status == runs.Queued || stored.Status == runs.InProgress:
		if err := w.Queue.Send(ctx, stored, now); err != nil {
			return "failed", err
		}
		return "open", nil
	}
	return "ended", nil
}
