package event

import (
	"strings"

	"syncplane/pkg/runs"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// The kinds of events about runs that are published.
const (
	RunQueued          Kind = "sync.run.queued"
	RunStarted         Kind = "sync.run.started"
	RunSucceeded       Kind = "sync.run.succeeded"
	RunFailed          Kind = "sync.run.failed"
	RunCanceled        Kind = "sync.run.canceled"
	RunSkipped         Kind = "sync.run.skipped"
	RunCancelRequested Kind = "sync.run.cancel_requested"
	RunRejected        Kind = "sync.run.rejected" // a request by event was rejected
)

// The kinds of events about runs that other systems send.
const (
	RunRequested Kind = "sync.run.requested" // requests a run now
	RunReported  Kind = "sync.run.reported"  // reports the end of a run
)

// OfTransition returns the event of the last change of a run. ok is false for
// a change that is not published. The event of a queued run holds sync, which
// is all that an executor needs; sync may be nil for the others.
func OfTransition(r runs.Run, sync *syncs.Sync) (e Event, ok bool) {
	if r.Transition == "" {
		return Event{}, false
	}
	name, _, _ := strings.Cut(r.Transition, "-") // without the number of the attempt
	e = Event{
		Kind: Kind("sync.run." + name), ID: syncjson.RunID(r.Key) + "/" + r.Transition,
		Subject: r.SyncID, Workspace: r.Workspace, Time: r.UpdatedAt,
	}
	b := syncjson.AppendRun(nil, r)
	b = syncjson.AppendText(append(b[:len(b)-1], `,"workspace_id":`...), r.Workspace)
	if e.Kind == RunQueued && sync != nil {
		// Early versions did not limit the length of the cron expression.
		without := syncjson.Omit{Configuration: len(sync.Configuration) > MaxConfiguration, CronExpression: len(sync.CronExpression) > MaxConfiguration}
		b = syncjson.AppendPartial(append(b, `,"sync":`...), *sync, r.UpdatedAt, without)
		if without.Configuration {
			b = append(b, `,"configuration_omitted":true`...)
		}
		if without.CronExpression {
			b = append(b, `,"cron_expression_omitted":true`...)
		}
	}
	e.Data = append(b, '}')
	return e, true
}
