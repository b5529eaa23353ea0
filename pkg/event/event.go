// Package event defines the published events about syncs and runs: CloudEvents 1.0,
// whose types and schemas are a contract like the API. It does not publish them and
// imports no AWS. Its size limits are chosen so that an event fits in an entry of
// EventBridge.
package event

import (
	"strconv"
	"strings"
	"time"

	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// Kind is the type of an event without its version. On EventBridge it is the
// detail-type.
type Kind string

// The kinds of published events about syncs.
const (
	Created  Kind = "sync.created"
	Updated  Kind = "sync.updated"
	Deleted  Kind = "sync.deleted"
	Due      Kind = "sync.due"             // a run is due
	Rejected Kind = "sync.create.rejected" // a create by event was rejected
)

// Requested is the kind of an event with which another system requests a create.
const Requested Kind = "sync.create.requested"

// version is the version of every type and schema. A change that breaks consumers
// requires a new one.
const version = ".v1"

// MaxConfiguration is the longest configuration in an event, in bytes; a longer one
// is omitted. Our own choice.
const MaxConfiguration = 64 << 10

// MaxData is the longest data of the event of a change, in bytes; the configuration
// and then the cron expression are omitted to keep it. EventBridge accepts entries of
// 256 KB (its API reference, PutEvents), and the event around the data takes about
// 1 KB.
const MaxData = 240 << 10

// Event is an event of any kind.
type Event struct {
	Kind      Kind
	ID        string // the same if the event is published again
	Subject   string // the ID of a sync
	Workspace string
	Time      time.Time
	Data      []byte // a JSON object
}

// OfChange returns the event of a change of a sync from before to after. before is
// nil for a create, after for a delete; at least one must not be nil.
func OfChange(before, after *syncs.Sync) Event {
	switch {
	case before == nil:
		return Event{
			Kind: Created, ID: idOf(after), Subject: after.ID, Workspace: after.Workspace,
			Time: after.CreatedAt, Data: dataOf(after, after.CreatedAt, nil),
		}
	case after == nil:
		return Event{
			Kind: Deleted, ID: idOf(before) + "/deleted", Subject: before.ID, Workspace: before.Workspace,
			Time: before.UpdatedAt, Data: dataOf(before, before.UpdatedAt, nil),
		}
	default:
		return Event{
			Kind: Updated, ID: idOf(after), Subject: after.ID, Workspace: after.Workspace,
			Time: after.UpdatedAt, Data: dataOf(after, after.UpdatedAt, syncs.Changed(*before, *after)),
		}
	}
}

// idOf returns the ID of the event of the change that led to this version of s.
func idOf(s *syncs.Sync) string {
	return s.ID + "/" + strconv.FormatInt(s.Version, 10)
}

// dataOf returns the data of an event of s at a time, with the workspace and, unless
// it is nil, changed, the names of the changed fields. If the data would be too long,
// it omits the configuration, and then the cron expression, whose length early
// versions did not limit.
func dataOf(s *syncs.Sync, at time.Time, changed []string) []byte {
	configuration, cron := len(s.Configuration), len(s.CronExpression) // as JSON, they are not shorter
	without := syncjson.Omit{Configuration: configuration > MaxConfiguration || configuration+cron > MaxData, CronExpression: cron > MaxData}
	b := dataWithout(s, at, changed, without)
	if len(b) > MaxData && !without.Configuration {
		without.Configuration = true
		b = dataWithout(s, at, changed, without)
	}
	if len(b) > MaxData {
		without.CronExpression = true
		b = dataWithout(s, at, changed, without)
	}
	return b
}

// dataWithout returns the data with the given omissions.
func dataWithout(s *syncs.Sync, at time.Time, changed []string, without syncjson.Omit) []byte {
	size := 512 // bytes of the other members, approximately
	if !without.Configuration {
		size += len(s.Configuration)
	}
	if !without.CronExpression {
		size += len(s.CronExpression)
	}
	b := syncjson.AppendPartial(make([]byte, 0, size), *s, at, without)
	b = syncjson.AppendText(append(b[:len(b)-1], `,"workspace_id":`...), s.Workspace)
	if without.Configuration {
		b = append(b, `,"configuration_omitted":true`...)
	}
	if without.CronExpression {
		b = append(b, `,"cron_expression_omitted":true`...)
	}
	if changed != nil {
		b = append(b, `,"changed":[`...)
		for i, name := range changed {
			if i > 0 {
				b = append(b, ',')
			}
			b = syncjson.AppendText(b, name)
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// OfRun returns the event of a due run of s. late marks a run that starts long after
// its time, in place of all missed runs.
func OfRun(s *syncs.Sync, at time.Time, late bool) Event {
	at = at.UTC()
	scheduled := syncjson.FormatRunTime(at)
	e := Event{Kind: Due, ID: syncjson.JoinRunID(s.ID, scheduled), Subject: s.ID, Workspace: s.Workspace, Time: at}
	e.Data = dueData(s, scheduled)
	if late {
		e.Data = append(e.Data[:len(e.Data)-1], `,"late":true}`...)
	}
	return e
}

// dueData returns the data of the event of a due run.
func dueData(s *syncs.Sync, scheduled string) []byte {
	b := syncjson.AppendText([]byte(`{"sync_id":`), s.ID)
	b = syncjson.AppendText(append(b, `,"workspace_id":`...), s.Workspace)
	b = syncjson.AppendText(append(b, `,"scheduled_time":`...), scheduled)
	b = syncjson.AppendText(append(b, `,"run_id":`...), syncjson.JoinRunID(s.ID, scheduled))
	return append(b, '}')
}

// RunTemplate returns the event of any run of s as Append writes it, with
// placeholder in place of the time of the run. Filled in with that time in
// RFC 3339, it is the event that OfRun returns.
func RunTemplate(origin string, s *syncs.Sync, placeholder string) []byte {
	e := Event{Kind: Due, ID: syncjson.JoinRunID(s.ID, placeholder), Subject: s.ID, Workspace: s.Workspace, Data: dueData(s, placeholder)}
	return e.append(nil, origin, placeholder)
}

// Type returns the CloudEvents type of e, with its version.
func (e Event) Type() string { return string(e.Kind) + version }

// Published returns the kind of a type that is published, with its version. ok is false
// for other types, such as those of requests.
func Published(eventType string) (kind Kind, ok bool) {
	name, ok := strings.CutSuffix(eventType, version)
	switch kind = Kind(name); kind {
	case Created, Updated, Deleted, Due, Rejected,
		RunQueued, RunStarted, RunSucceeded, RunFailed, RunCanceled, RunSkipped, RunCancelRequested, RunRejected:
		return kind, ok
	case Requested, RunRequested, RunReported:
	}
	return "", false
}

// Source returns the CloudEvents source of the events of the API at origin.
func Source(origin string) string { return origin + "/api/v1/syncs" }

// Schema returns the address of the schema of e's data.
func (e Event) Schema(origin string) string { return origin + SchemaPath + e.Type() + ".json" }

// Append appends e in the JSON event format of CloudEvents 1.0 (section 3). origin is
// the address of the API, such as https://api.example.com.
func (e Event) Append(b []byte, origin string) []byte {
	return e.append(b, origin, e.Time.UTC().Format(syncjson.TimeLayout))
}

// append appends e with at as its time.
func (e Event) append(b []byte, origin, at string) []byte {
	b = syncjson.AppendText(append(b, `{"specversion":"1.0","id":`...), e.ID)
	b = syncjson.AppendText(append(b, `,"source":`...), Source(origin))
	b = syncjson.AppendText(append(b, `,"type":`...), e.Type())
	if e.Subject != "" {
		b = syncjson.AppendText(append(b, `,"subject":`...), e.Subject)
	}
	b = syncjson.AppendText(append(b, `,"time":`...), at)
	b = syncjson.AppendText(append(b, `,"datacontenttype":"application/json","dataschema":`...), e.Schema(origin))
	if e.Workspace != "" {
		b = syncjson.AppendText(append(b, `,"workspace":`...), e.Workspace)
	}
	b = append(append(b, `,"data":`...), e.Data...)
	return append(b, '}')
}
