// Package intake handles requests by event: it creates syncs, records the runs that are
// due, triggers runs and ends those that executors report. It calls the same services
// as the HTTP API, and publishes the same error objects in an event. It knows the
// queue's messages and the schema of a request; it does not import the HTTP API.
package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/auth"
	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonapi"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// Intake handles batches of the queue of requests and due runs.
type Intake struct {
	Syncs     *syncs.Service
	Runs      *runs.Service
	Publisher *eventbus.Publisher
	Now       func() time.Time
	Log       *slog.Logger

	decoders jsonpool.Pool
}

// KeyLife is how long the idempotency key of a request is stored. SQS keeps a
// message for at most 14 days, and for as long again after it is moved from a
// dead-letter queue back to its source.
const KeyLife = 30 * 24 * time.Hour

// request is the request in a message.
type request struct {
	kind      event.Kind // Requested, Due, RunRequested or RunReported
	id        string     // of the event, or of the message if there is no event
	workspace string
	key       string
	ownKey    bool           // the key is idempotency_key rather than the ID of the event
	sync      jsontext.Value // of Requested; nil if absent
	syncID    string         // of the others, "" if invalid
	time      time.Time      // of the run; zero for RunRequested, and if invalid
	late      bool           // of Due
	run       jsontext.Value // sync_run of RunRequested and RunReported; nil if absent
}

// Invoke handles a batch of the queue, or a single event that did not pass
// through a queue. For a single event a temporary failure is an error, so that
// Lambda tries again.
func (in *Intake) Invoke(ctx context.Context, payload json.RawMessage) (events.SQSEventResponse, error) {
	var batch events.SQSEvent
	if err := json.Unmarshal(payload, &batch); err == nil && batch.Records != nil {
		return in.Handle(ctx, batch), nil
	}
	response := in.Handle(ctx, events.SQSEvent{Records: []events.SQSMessage{{MessageId: "event", Body: string(payload)}}})
	if len(response.BatchItemFailures) > 0 {
		return response, errors.New("handle the event: a temporary failure, see the log")
	}
	return response, nil
}

// Handle handles a batch. It rejects an invalid request with an event. The
// response names the messages that failed temporarily, so that SQS delivers them
// again.
func (in *Intake) Handle(ctx context.Context, batch events.SQSEvent) events.SQSEventResponse {
	response := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for _, message := range batch.Records {
		request, err := in.readMessage(message)
		outcome := ""
		if err == nil {
			outcome, err = in.do(ctx, &request)
		}
		if err != nil && permanent(request.kind, err) {
			outcome = "rejected"
			err = in.reject(ctx, request, err)
		}
		level := slog.LevelInfo
		attrs := []slog.Attr{slog.String("request_id", request.id)}
		if auth.ValidWorkspace(request.workspace) {
			attrs = append(attrs, slog.String("workspace", request.workspace))
		}
		if request.syncID != "" {
			attrs = append(attrs, slog.String("sync", request.syncID))
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

// do executes a request, and returns the outcome for the log.
func (in *Intake) do(ctx context.Context, r *request) (outcome string, err error) {
	switch r.kind { //nolint:exhaustive // readMessage accepts these alone
	case event.Due:
		return in.recordDue(ctx, *r)
	case event.RunRequested:
		return in.trigger(ctx, *r)
	case event.RunReported:
		return in.finish(ctx, *r)
	}
	created, err := in.create(ctx, *r)
	r.syncID = created.ID
	return "created", err
}

// permanent reports whether a request of a kind that failed with err would fail again.
// A conflict of runs is permanent unless other changes came first: a run that has
// ended does not start again, and the API refuses a trigger of a paused sync, too.
func permanent(kind event.Kind, err error) bool {
	switch fault.KindOf(err) {
	case fault.Malformed, fault.Invalid, fault.Forbidden, fault.TooLarge:
		return true
	case fault.NotFound, fault.Conflict:
		return kind != event.Requested && !errors.Is(err, runs.ErrStale) && !errors.Is(err, syncs.ErrOvertaken)
	case fault.Internal, fault.Unavailable, fault.Throttled, fault.PreconditionFailed,
		fault.Unauthenticated, fault.MethodNotAllowed, fault.NotAcceptable, fault.UnsupportedMedia:
	}
	return false
}

// maxID is the longest ID accepted from an event, in bytes. Our own choice;
// EventBridge's have 36.
const maxID = 255

// notARequest returns the error for a message that is not a request.
func notARequest(code string) error {
	return fault.New(fault.Malformed, code, "the message must be an event of detail-type sync.create.requested, sync.run.requested or sync.run.reported, or the detail of one, an object with workspace_id and sync, sync_id or run_id")
}

// readMessage reads a message: an event as EventBridge delivers it, or its detail
// alone. Its errors are permanent; the request then holds what could be read.
func (in *Intake) readMessage(message events.SQSMessage) (request, error) {
	r := request{kind: event.Requested, id: message.MessageId}
	detail := []byte(message.Body)
	var kind, id string
	var enveloped bool
	err := in.object(detail, func(name string, value jsontext.Value) {
		switch name {
		case "id":
			id, _ = textOf(value)
		case "detail-type":
			kind, _ = textOf(value)
			enveloped = true
		case "detail":
			detail, enveloped = value, true
		}
	})
	if enveloped {
		if id != "" && len(id) <= maxID {
			r.id, r.key = id, id
		}
		switch event.Kind(kind) { //nolint:exhaustive // the others are not requests
		case event.Requested, event.Due, event.RunRequested, event.RunReported:
			r.kind = event.Kind(kind)
		default:
			if err == nil {
				err = notARequest("unknown_event")
			}
		}
	}
	if err != nil {
		return r, err
	}
	if len(detail) > syncjson.MaxBody {
		return r, syncjson.TooLarge("detail")
	}
	if r.kind == event.Due {
		return r, in.readDue(&r, detail)
	}
	return r, in.readDetail(&r, detail, enveloped)
}

// readDetail reads the detail into r. Member names are case-sensitive, and
// duplicate members are an error: two readers of one message must not see
// different workspaces. The members of a detail without an event show of which kind it
// is.
func (in *Intake) readDetail(r *request, detail []byte, enveloped bool) error {
	var faults []fault.Field
	refuse := func(pointer, code, message string) {
		faults = append(faults, fault.Field{Pointer: pointer, Code: code, Detail: message})
	}
	var syncID, runID jsontext.Value
	err := in.object(detail, func(name string, value jsontext.Value) {
		switch name {
		case "workspace_id":
			r.workspace = workspaceOf(value)
		case "idempotency_key":
			if value.Kind() != jsontext.KindNull {
				r.key, _ = textOf(value)
				r.ownKey = true
			}
		case "sync":
			r.sync = value
		case "sync_id":
			syncID = value
		case "run_id":
			runID = value
		case "sync_run":
			r.run = value
		}
	})
	if err != nil {
		return err
	}
	switch {
	case enveloped || r.sync != nil:
	case runID != nil:
		r.kind = event.RunReported
	case syncID != nil:
		r.kind = event.RunRequested
	}
	if r.workspace == "" {
		refuse("/workspace_id", "invalid_workspace", fmt.Sprintf("workspace_id is required and must be a string of 1 to %d visible ASCII characters other than #", auth.MaxWorkspace))
	}
	switch {
	case r.kind == event.RunRequested && !r.setSync(syncID):
		refuse("/sync_id", "invalid_id", "sync_id is required and must be the ID of a sync")
	case r.kind == event.RunReported && !r.setRun(runID):
		refuse("/run_id", "invalid_id", "run_id is required and must be the ID of a run, as in sync.run.queued")
	}
	switch {
	case r.kind == event.RunReported: // a repeated report changes nothing
		r.key, r.ownKey = "", false
	case r.key == "" && !r.ownKey:
		// The ID of the message is no substitute: each move between queues changes it.
		refuse("/idempotency_key", "required", "idempotency_key is required in a detail that is sent without an event, whose id would be the key")
	case !syncs.ValidKey(r.key):
		refuse("/idempotency_key", "invalid_key", "idempotency_key must be a string of 1 to 255 visible ASCII characters")
	}
	if len(faults) > 0 {
		return &fault.Error{Kind: fault.Invalid, Fields: faults}
	}
	return nil
}

// object reads text, which must be one JSON object, and calls member for each
// member. The values are slices of text.
func (in *Intake) object(text []byte, member func(name string, value jsontext.Value)) error {
	lent := in.decoders.Get(text)
	defer in.decoders.Put(lent)
	dec := &lent.Decoder
	if dec.PeekKind() != jsontext.KindBeginObject {
		return notARequest("invalid_json")
	}
	if _, err := dec.ReadToken(); err != nil {
		return unreadable(err)
	}
	for dec.PeekKind() == jsontext.KindString {
		name, err := dec.ReadToken()
		if err != nil {
			return unreadable(err)
		}
		named := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return unreadable(err)
		}
		end := int(dec.InputOffset())
		member(named, text[end-len(value):end])
	}
	if _, err := dec.ReadToken(); err != nil {
		return unreadable(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return notARequest("invalid_json")
	}
	return nil
}

// unreadable returns the error for a message that is not valid JSON.
func unreadable(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return fault.New(fault.Malformed, "duplicate_member", "the message has two members of the same name in one object, so its meaning is ambiguous")
	}
	return notARequest("invalid_json")
}

// textOf returns the text of a JSON string. ok is false for other values.
func textOf(value jsontext.Value) (text string, ok bool) {
	if value.Kind() != jsontext.KindString {
		return "", false
	}
	return string(jsonpool.Unquote(value)), true
}

// create creates the sync of a request, once for repeated requests with the same
// key.
func (in *Intake) create(ctx context.Context, request request) (syncs.Sync, error) {
	body := []byte(`{}`)
	if request.sync != nil {
		body = append(append([]byte(`{"sync":`), request.sync...), '}')
	}
	read, err := syncjson.DecodeCreate(&in.decoders, body)
	if err != nil {
		return syncs.Sync{}, err
	}
	fingerprint, err := syncjson.Fingerprint(body)
	if err != nil {
		return syncs.Sync{}, err
	}
	now := in.Now()
	sync, _, err := in.Syncs.CreateOnce(ctx, request.caller(auth.WriteSyncs), read.Draft, syncs.IdempotencyKey{
		Key: request.key, Fingerprint: fingerprint, Now: now, Expires: now.Add(KeyLife),
	})
	return sync, read.Explain(request.locateKey(err))
}

// locateKey returns err with a pointer for a fault in the key. A key that is the ID
// of the event is not part of the detail and gets none.
func (r request) locateKey(err error) error {
	return fault.Locate(err, func(f *fault.Field) {
		if f.Name == syncs.KeyField && r.ownKey {
			f.Pointer = "/idempotency_key"
		}
	})
}

// reject publishes the rejection of a request, with the reason.
func (in *Intake) reject(ctx context.Context, request request, reason error) error {
	b := syncjson.AppendText([]byte(`{"request_id":`), request.id)
	if request.workspace != "" {
		b = syncjson.AppendText(append(b, `,"workspace_id":`...), request.workspace)
	}
	if request.key != "" && syncs.ValidKey(request.key) {
		b = syncjson.AppendText(append(b, `,"idempotency_key":`...), request.key)
	}
	b = jsonapi.AppendErrors(append(b, `,"errors":`...), reason, request.id)
	kind := event.Rejected
	if request.kind != event.Requested {
		kind = event.RunRejected
	}
	_, err := in.Publisher.Publish(ctx, []event.Event{{
		Kind: kind, ID: request.id + "/rejected", Workspace: request.workspace, Time: in.Now(), Data: append(b, '}'),
	}})
	if err != nil {
		return errors.Join(fmt.Errorf("publish a rejected request: %w", err), reason)
	}
	return nil
}
