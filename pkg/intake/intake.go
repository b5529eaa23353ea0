// Package intake creates syncs that were asked for by an event. It runs the
// service that the API runs, with the same words for what is wrong.
package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"syncplane/pkg/access"
	"syncplane/pkg/api"
	"syncplane/pkg/bus"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/resource"
	"syncplane/pkg/syncs"
)

// Intake handles batches of the queue.
type Intake struct {
	Syncs *syncs.Service
	Bus   *bus.Bus
	Now   func() time.Time
	Log   *slog.Logger

	decoders jsonpool.Pool
}

// asked is a request to create.
type asked struct {
	id        string // of the event, or of the message where there is no event
	workspace string
	key       string
	sync      json.RawMessage
}

// envelope is a message of the queue: an event as EventBridge delivers it, or
// its detail alone.
type envelope struct {
	ID         string          `json:"id"`
	DetailType string          `json:"detail-type"` //nolint:tagliatelle // EventBridge's name
	Detail     json.RawMessage `json:"detail"`
}

type detail struct {
	WorkspaceID    *string         `json:"workspace_id"`
	IdempotencyKey *string         `json:"idempotency_key"`
	Sync           json.RawMessage `json:"sync"`
}

// Invoke takes a batch of the queue over, or a single event that comes by no
// queue. Of the latter a failure for now is an error, so that Lambda tries it
// again.
func (in *Intake) Invoke(ctx context.Context, payload json.RawMessage) (events.SQSEventResponse, error) {
	var batch events.SQSEvent
	if err := json.Unmarshal(payload, &batch); err == nil && batch.Records != nil {
		return in.Handle(ctx, batch), nil
	}
	response := in.Handle(ctx, events.SQSEvent{Records: []events.SQSMessage{{MessageId: "event", Body: string(payload)}}})
	if len(response.BatchItemFailures) > 0 {
		return response, errors.New("the sync could not be created just now")
	}
	return response, nil
}

// Handle takes a batch over. What is wrong with a request is told by an event,
// once and for all; what failed for now is named, so that it comes again.
func (in *Intake) Handle(ctx context.Context, batch events.SQSEvent) events.SQSEventResponse {
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, message := range batch.Records {
		request, err := read(message)
		var created syncs.Sync
		if err == nil {
			created, err = in.create(ctx, request)
		}
		outcome := "created"
		if err != nil && final(err) {
			outcome = "rejected"
			err = in.reject(ctx, request, err)
		}
		level := slog.LevelInfo
		attrs := []slog.Attr{slog.String("request_id", request.id)}
		if access.ValidWorkspace(request.workspace) {
			attrs = append(attrs, slog.String("workspace", request.workspace))
		}
		if created.ID != "" {
			attrs = append(attrs, slog.String("sync", created.ID))
		}
		if err != nil {
			outcome, level = "failed", slog.LevelError
			attrs = append(attrs, slog.String("error", err.Error()))
			response.BatchItemFailures = append(response.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
		}
		in.Log.LogAttrs(ctx, level, "intake", append(attrs, slog.String("outcome", outcome))...)
	}
	return response
}

// final reports whether a request that failed like this would always fail.
func final(err error) bool {
	switch fault.KindOf(err) {
	case fault.Malformed, fault.Invalid, fault.Forbidden, fault.TooLarge:
		return true
	case fault.Internal, fault.Unavailable, fault.Throttled, fault.Conflict, fault.NotFound, fault.PreconditionFailed,
		fault.Unauthenticated, fault.MethodNotAllowed, fault.NotAcceptable, fault.UnsupportedMedia:
	}
	return false
}

// maxID is the longest ID taken over from an event, in bytes. EventBridge's
// have 36.
const maxID = 255

// read reads a message. What is wrong with it is a fault.Malformed or a
// fault.Invalid; of the request then as much is there as could be read.
func read(message events.SQSMessage) (asked, error) {
	request := asked{id: message.MessageId}
	const want = "the message must be an event of detail-type sync.create.requested, or its detail, an object with workspace_id and sync"
	var outer envelope
	if err := json.Unmarshal([]byte(message.Body), &outer); err != nil {
		return request, malformed("invalid_json", want)
	}
	text := []byte(message.Body)
	if outer.DetailType != "" || outer.Detail != nil {
		if outer.DetailType != string(event.Requested) {
			return request, malformed("unknown_event", want)
		}
		text = outer.Detail
		if outer.ID != "" && len(outer.ID) <= maxID {
			request.id = outer.ID
		}
	}
	var inner detail
	if err := json.Unmarshal(text, &inner); err != nil {
		return request, malformed("invalid_json", want)
	}
	request.key, request.sync = request.id, inner.Sync
	var faults []fault.Field
	switch {
	case inner.WorkspaceID == nil || !access.ValidWorkspace(*inner.WorkspaceID):
		faults = append(faults, fault.Field{
			Pointer: "/workspace_id", Code: "invalid_workspace",
			Detail: fmt.Sprintf("workspace_id is required and must be a string of 1 to %d visible ASCII characters other than #", access.MaxWorkspace),
		})
	default:
		request.workspace = *inner.WorkspaceID
	}
	if inner.IdempotencyKey != nil {
		request.key = *inner.IdempotencyKey
	}
	if !api.ValidKey(request.key) {
		faults = append(faults, fault.Field{
			Pointer: "/idempotency_key", Code: "invalid_key",
			Detail: "idempotency_key must be 1 to 255 visible ASCII characters",
		})
	}
	if len(faults) > 0 {
		return request, &fault.Error{Kind: fault.Invalid, Fields: faults}
	}
	return request, nil
}

func malformed(code, message string) error {
	return &fault.Error{Kind: fault.Malformed, Code: code, Message: message}
}

// create makes the sync once, however often it is asked for. Whoever may put
// messages into the queue may create in every workspace: that is the business
// of the policies of bus and queue.
func (in *Intake) create(ctx context.Context, request asked) (syncs.Sync, error) {
	body := []byte(`{}`)
	if request.sync != nil {
		body = append(append([]byte(`{"sync":`), request.sync...), '}')
	}
	read, err := api.Ask(&in.decoders, body)
	if err != nil {
		return syncs.Sync{}, err
	}
	who := access.Caller{Workspace: request.workspace, Subject: "event", Scopes: []string{string(access.WriteSyncs)}}
	sync, _, err := in.Syncs.CreateOnce(ctx, who, read.Draft, request.key, read.Fingerprint)
	return sync, read.Explain(err)
}

// reject tells who listens that a request came to nothing, and why.
func (in *Intake) reject(ctx context.Context, request asked, reason error) error {
	b := resource.AppendText([]byte(`{"request_id":`), request.id)
	if request.workspace != "" {
		b = resource.AppendText(append(b, `,"workspace_id":`...), request.workspace)
	}
	if request.key != "" && api.ValidKey(request.key) {
		b = resource.AppendText(append(b, `,"idempotency_key":`...), request.key)
	}
	b = append(append(b, `,"errors":`...), api.ErrorObjects(reason, request.id)...)
	_, err := in.Bus.Publish(ctx, []event.Event{{
		Kind: event.Rejected, ID: request.id + "/rejected", Workspace: request.workspace, Time: in.Now(), Data: append(b, '}'),
	}})
	if err != nil {
		return errors.Join(fmt.Errorf("tell of a rejected create: %w", err), reason)
	}
	return nil
}
