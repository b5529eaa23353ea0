// Package event is what others hear of syncs: CloudEvents 1.0, whose types and
// schemas are a contract as the API is. It knows no bus and no transport.
package event

import (
	"strconv"
	"time"

	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// Kind is what happened. On EventBridge it is the detail-type.
type Kind string

// The kinds that are published.
const (
	Created  Kind = "sync.created"
	Updated  Kind = "sync.updated"
	Deleted  Kind = "sync.deleted"
	Due      Kind = "sync.due"             // a run is to begin
	Rejected Kind = "sync.create.rejected" // a create by event was refused
)

// Requested is the kind of an event that asks for a create. Others send it.
const Requested Kind = "sync.create.requested"

// version is that of every type and schema. What would break a reader makes
// another.
const version = ".v1"

// MaxConfiguration is the longest configuration that an event carries, in
// bytes; a longer one is left out. Our own choice.
const MaxConfiguration = 64 << 10

// MaxData is the longest data of an event of a change, in bytes: what would make
// it longer is left out. EventBridge takes entries of 256 KB (its API reference,
// PutEvents), and the event around the data has some 1 KB.
const MaxData = 240 << 10

// Event is one event.
type Event struct {
	Kind      Kind
	ID        string // the same whenever the same thing is told again
	Subject   string // the ID of a sync
	Workspace string
	Time      time.Time
	Data      []byte // a JSON object
}

// OfChange is the event of a sync that was before and is after; nil is not
// there. At least one must be.
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

// idOf is the ID of what made s what it is.
func idOf(s *syncs.Sync) string {
	return s.ID + "/" + strconv.FormatInt(s.Version, 10)
}

// dataOf returns s at a moment, with its workspace, and the names of the fields
// that changed if they are not nil. What is left out of a sync that is too large
// is the configuration, and then the cron expression, on which early versions
// had no bound.
func dataOf(s *syncs.Sync, at time.Time, changed []string) []byte {
	without := syncjson.Without{Configuration: len(s.Configuration) > MaxConfiguration}
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

func dataWithout(s *syncs.Sync, at time.Time, changed []string, without syncjson.Without) []byte {
	size := 512 // bytes beside these, about
	if !without.Configuration {
		size += len(s.Configuration)
	}
	if !without.CronExpression {
		size += len(s.CronExpression)
	}
	b := syncjson.AppendWithout(make([]byte, 0, size), *s, at, without)
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

// OfRun is the event of a run of s. late says that it begins long after its
// time, in place of all that were missed until then.
func OfRun(s *syncs.Sync, at time.Time, late bool) Event {
	at = at.UTC()
	scheduled := at.Format(time.RFC3339)
	e := Event{Kind: Due, ID: RunID(s.ID, scheduled), Subject: s.ID, Workspace: s.Workspace, Time: at}
	e.Data = dueData(s, scheduled)
	if late {
		e.Data = append(e.Data[:len(e.Data)-1], `,"late":true}`...)
	}
	return e
}

// RunID is the ID of a run: the same for every event that tells of it.
func RunID(sync, scheduled string) string { return sync + "/" + scheduled }

func dueData(s *syncs.Sync, scheduled string) []byte {
	b := syncjson.AppendText([]byte(`{"sync_id":`), s.ID)
	b = syncjson.AppendText(append(b, `,"workspace_id":`...), s.Workspace)
	b = syncjson.AppendText(append(b, `,"scheduled_time":`...), scheduled)
	b = syncjson.AppendText(append(b, `,"run_id":`...), RunID(s.ID, scheduled))
	return append(b, '}')
}

// RunTemplate returns the event of any run of s as Append writes it, with
// placeholder wherever the time of the run belongs. Filled in with that time in
// RFC 3339, it is the event that OfRun returns.
func RunTemplate(origin string, s *syncs.Sync, placeholder string) []byte {
	e := Event{Kind: Due, ID: RunID(s.ID, placeholder), Subject: s.ID, Workspace: s.Workspace, Data: dueData(s, placeholder)}
	return e.append(nil, origin, placeholder)
}

// Type is the type of e as CloudEvents have it.
func (e Event) Type() string { return string(e.Kind) + version }

// Source is where events come from, of the API at origin.
func Source(origin string) string { return origin + "/api/v1/syncs" }

// Schema is the address of the schema of e's data.
func (e Event) Schema(origin string) string { return origin + SchemaPath + e.Type() + ".json" }

// Append appends e as CloudEvents 1.0 write it in JSON (the JSON event format,
// section 3). origin is the address of the API, such as https://api.example.com.
func (e Event) Append(b []byte, origin string) []byte {
	return e.append(b, origin, e.Time.UTC().Format(syncjson.TimeLayout))
}

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
