package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
)

// Queue publishes what the messages of a queue name, and deletes those messages. A
// message that it cannot handle stays and does not stop the others; the error names
// it. It knows the messages of the relay's queue of failures, of the schedules' and of
// the webhook's dead-letter queue.
func (r *Replayer) Queue(ctx context.Context, url string) (replayed int, err error) {
	seen := map[string]bool{}
	var kept []types.Message
	defer func() { err = errors.Join(err, r.release(ctx, url, kept)) }()
	for {
		out, failure := r.Queues.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
			QueueUrl: &url, MaxNumberOfMessages: 10, MessageAttributeNames: []string{"All"},
		})
		if failure != nil {
			return replayed, errors.Join(err, fmt.Errorf("receive messages: %w", failure))
		}
		fresh := false
		for _, m := range out.Messages {
			id := aws.ToString(m.MessageId)
			if seen[id] {
				continue
			}
			seen[id], fresh = true, true
			if failure := r.message(ctx, m); failure != nil {
				err = errors.Join(err, fmt.Errorf("message %s: %w", id, failure))
				kept = append(kept, m)
				continue
			}
			replayed++
			if r.DryRun {
				kept = append(kept, m)
				continue
			}
			if _, failure := r.Queues.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle}); failure != nil {
				return replayed, errors.Join(err, fmt.Errorf("delete message %s: %w", id, failure))
			}
		}
		if !fresh {
			return replayed, err
		}
	}
}

// release makes messages visible again that were received and not deleted.
func (r *Replayer) release(ctx context.Context, url string, messages []types.Message) error {
	for _, m := range messages {
		_, err := r.Queues.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 0})
		if err != nil {
			return fmt.Errorf("make message %s visible again: %w", aws.ToString(m.MessageId), err)
		}
	}
	return nil
}

// envelope is what the messages hold that are known.
type envelope struct {
	Batch *batchInfo `json:"DDBStreamBatchInfo"` //nolint:tagliatelle // Lambda's name

	DetailType string          `json:"detail-type"` //nolint:tagliatelle // EventBridge's name
	Detail     json.RawMessage `json:"detail"`

	Entries []struct { // as in a call of PutEvents
		Detail string `json:"Detail"` //nolint:tagliatelle // EventBridge's name
	} `json:"Entries"` //nolint:tagliatelle // as above

	Type string `json:"type"` // of a CloudEvent

	relay.Failure
}

// message handles a message.
func (r *Replayer) message(ctx context.Context, m types.Message) error {
	body := filled(m)
	var e envelope
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		return errors.New("it must be JSON")
	}
	switch {
	case e.Batch != nil:
		return r.batch(ctx, *e.Batch)
	case len(e.Entries) > 0:
		for _, entry := range e.Entries {
			if err := r.put(ctx, entry.Detail); err != nil {
				return err
			}
		}
		return nil
	case e.DetailType != "":
		return r.put(ctx, string(e.Detail))
	case e.Type != "":
		return r.put(ctx, body)
	case e.Workspace != "" && e.Sync != "":
		return r.failure(ctx, e.Failure)
	}
	return errors.New("it must name records of the stream, a change that was set aside, or an event")
}

// placeholder stands for the scheduled time in the input of a schedule.
const placeholder = "<aws.scheduler.scheduled-time>"

// filled returns the body of a message with the time of a schedule in place of its
// placeholder.
func filled(m types.Message) string {
	body := aws.ToString(m.Body)
	at, ok := m.MessageAttributes["SCHEDULED_TIME"]
	if !ok {
		return body
	}
	when, err := time.Parse(time.RFC3339, aws.ToString(at.StringValue))
	if err != nil {
		return body
	}
	return strings.ReplaceAll(body, placeholder, when.UTC().Format(time.RFC3339))
}

// failure publishes a change that was set aside, from the row.
func (r *Replayer) failure(ctx context.Context, f relay.Failure) error {
	if f.Run != nil {
		run, err := r.Relay.Runs.Store.Run(ctx, runs.Key{Workspace: f.Workspace, SyncID: f.Sync, Time: f.Run.UTC()})
		if fault.Is(err, fault.NotFound) {
			return nil // it was kept as long as runs are
		}
		if err != nil {
			return err
		}
		return r.runAgain(ctx, run)
	}
	s, err := r.Relay.Runs.Syncs.Read(ctx, f.Workspace, f.Sync)
	if fault.Is(err, fault.NotFound) {
		return fmt.Errorf("sync %s does not exist any more, so its deletion cannot be published; delete the message, and reconcile the schedules", f.Sync)
	}
	if err != nil {
		return err
	}
	return r.syncAgain(ctx, s)
}

// put puts a CloudEvent on the bus.
func (r *Replayer) put(ctx context.Context, text string) error {
	if strings.Contains(text, placeholder) {
		return errors.New("the event lacks the time of its schedule")
	}
	var e struct {
		Type    string    `json:"type"`
		ID      string    `json:"id"`
		Subject string    `json:"subject"`
		Time    time.Time `json:"time"`
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return errors.New("the event must be a CloudEvent in JSON")
	}
	kind, ok := event.Published(e.Type)
	if !ok {
		return fmt.Errorf("its type must be one that Syncplane publishes, got %q", e.Type)
	}
	r.OnEvent(kind, e.ID)
	if r.DryRun {
		return nil
	}
	return r.Relay.Publisher.Put(ctx, kind, text, e.Time)
}
