package intake

import (
	"context"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// workspaceOf returns the workspace that a value names, "" if it is invalid.
func workspaceOf(value jsontext.Value) string {
	if workspace, ok := textOf(value); ok && auth.ValidWorkspace(workspace) {
		return workspace
	}
	return ""
}

// setSync sets the sync that a value names, and reports whether it is valid.
func (r *request) setSync(value jsontext.Value) bool {
	id, _ := textOf(value)
	r.syncID = syncs.CanonicalID(id)
	return r.syncID != ""
}

// setRun sets the run whose ID a value is, and reports whether it is valid.
func (r *request) setRun(value jsontext.Value) bool {
	text, _ := textOf(value)
	id, at, _ := strings.Cut(text, "/")
	r.syncID = syncs.CanonicalID(id)
	scheduled, ok := syncjson.ParseRunTime(at)
	r.time = scheduled
	return r.syncID != "" && ok
}

// readDue reads a sync.due, which is a CloudEvent.
func (in *Intake) readDue(r *request, detail []byte) error {
	var data jsontext.Value
	err := in.object(detail, func(name string, value jsontext.Value) {
		if name == "data" {
			data = value
		}
	})
	if err != nil {
		return err
	}
	var valid bool
	err = in.object(data, func(name string, value jsontext.Value) {
		switch name {
		case "workspace_id":
			r.workspace = workspaceOf(value)
		case "run_id":
			valid = r.setRun(value)
		case "late":
			r.late = value.Kind() == jsontext.KindTrue
		}
	})
	if err == nil && (!valid || r.workspace == "") {
		err = fault.New(fault.Malformed, "invalid_event", "the data of sync.due must have workspace_id and run_id")
	}
	return err
}

func (r *request) runKey() runs.Key {
	return runs.Key{Workspace: r.workspace, SyncID: r.syncID, Time: r.time}
}

// recordDue records that a run is due.
func (in *Intake) recordDue(ctx context.Context, r request) (outcome string, err error) {
	run, created, err := in.Runs.Due(ctx, r.runKey(), r.late)
	if !created {
		return "ignored", err // the run is recorded, or the sync is paused or deleted
	}
	return string(run.Status), err
}

// body returns the body of a request of the API, which has the sync_run of r.
func (r request) body() []byte {
	if r.run == nil {
		return []byte(`{"sync_run":{}}`)
	}
	return append(append([]byte(`{"sync_run":`), r.run...), '}')
}

// caller returns who acts for r. A sender that may put messages into the queue may act
// in every workspace; the policies of the bus and the queue decide who may.
func (r request) caller(act auth.Action) auth.Caller {
	return auth.Caller{Workspace: r.workspace, Subject: "event", Scopes: []string{string(act)}}
}

// trigger triggers a run, once for repeated requests with the same key.
func (in *Intake) trigger(ctx context.Context, r request) (outcome string, err error) {
	body, err := syncjson.DecodeTrigger(&in.decoders, r.body())
	if err != nil {
		return "", err
	}
	request := runs.TriggerRequest{SyncID: r.syncID, Type: body.Type, Trigger: runs.ByEvent}
	fingerprint, err := syncjson.TriggerFingerprint(request)
	if err != nil {
		return "", err
	}
	now := in.Now()
	request.IdempotencyKey = &syncs.IdempotencyKey{Key: r.key, Fingerprint: fingerprint, Now: now, Expires: now.Add(KeyLife)}
	_, err = in.Runs.Trigger(ctx, r.caller(auth.WriteSyncs), request)
	return "triggered", r.locateKey(err)
}

// finish ends a run by the report of its executor. A report that comes too late is
// kept on the run.
func (in *Intake) finish(ctx context.Context, r request) (outcome string, err error) {
	body, report, err := syncjson.DecodeReport(&in.decoders, r.body())
	if err != nil {
		return "", err
	}
	_, err = in.Runs.Finish(ctx, r.caller(auth.ExecuteRuns), r.runKey(), report)
	return "finished", body.Explain(err)
}
