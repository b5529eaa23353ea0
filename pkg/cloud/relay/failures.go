package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// minFaultAge is how old a change is when a fault that looks permanent is believed.
// Until then it is retried: a role that was just created, for example, is refused as
// invalid at first. Our own choice.
const minFaultAge = time.Minute

// Failure names a change that was set aside.
type Failure struct {
	Workspace string     `json:"workspace"`
	Sync      string     `json:"sync"`
	Run       *time.Time `json:"run,omitempty"` // the scheduled time, nil for a change of the sync
	Sequence  string     `json:"sequence"`      // in the stream
	Error     string     `json:"error"`
}

// Failures is the queue for changes that were set aside. Lambda puts the positions of
// changes that were too old into the same queue.
type Failures struct {
	Client *sqs.Client
	URL    string
}

// Send puts f into the queue.
func (q *Failures) Send(ctx context.Context, f Failure) error {
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode a failure: %w", err)
	}
	if _, err := q.Client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.URL, MessageBody: aws.String(string(body))}); err != nil {
		return fmt.Errorf("set aside a change of sync %s: %w", f.Sync, err)
	}
	return nil
}

// errPanic is the error of a panic.
var errPanic = errors.New("panic")

// recovered calls do and returns its error, or an errPanic if it panics. The value of
// a panic other than the runtime's can hold data of a client, so only its type is
// returned.
func recovered(do func() error) (err error) {
	defer func() {
		switch value := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("%w: %w", errPanic, value)
		default:
			err = fmt.Errorf("%w of type %T", errPanic, value)
		}
	}()
	return do()
}

// permanent reports whether err is a fault of one change that no retry removes: its
// data cannot be read, AWS refuses it as invalid, the limit of schedules is reached,
// or it makes the function panic.
func permanent(err error) bool {
	if errors.Is(err, syncs.ErrUnreadable) || errors.Is(err, runs.ErrUnreadable) || errors.Is(err, errPanic) {
		return true
	}
	if entry, ok := errors.AsType[*eventbus.EntryError](err); ok {
		return entry.Code == "MalformedDetail" || entry.Code == "InvalidArgument"
	}
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "ValidationException" || api.ErrorCode() == "ServiceQuotaExceededException")
}

// setAside puts a change that failed with a permanent fault into the queue of
// failures, so that it does not delay the changes after it. It returns err for other
// faults and for changes that are too new.
func (r *Relay) setAside(ctx context.Context, c change, err error) error {
	if err == nil || !permanent(err) || r.Runs.Now().Sub(c.at) < minFaultAge {
		return err
	}
	f := Failure{Workspace: c.workspace, Sync: c.sync, Sequence: c.sequence, Error: err.Error()}
	if !c.scheduled.IsZero() {
		f.Run = &c.scheduled
	}
	if err := r.Failures.Send(ctx, f); err != nil {
		return err
	}
	r.Log.LogAttrs(ctx, slog.LevelError, "set aside", slog.String("workspace", c.workspace), slog.String("sync", c.sync),
		slog.String("sequence", c.sequence), slog.String("error", err.Error()))
	return nil
}
