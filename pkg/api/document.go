package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/syncs"
)

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// syncsPath is where the syncs are.
const syncsPath = "/api/v1/syncs"

func pathOf(s syncs.Sync) string { return syncsPath + "/" + s.ID }

// resource is the answer with one sync, in the form that the client takes.
func (c call) resource(status int, s syncs.Sync) answer {
	b := make([]byte, 0, 1024+len(s.Configuration))
	if c.media == mediaJSONAPI {
		b = append(b, `{"jsonapi":{"version":"1.1"},"data":`...)
		b = append(appendSync(b, s, c.media), '}')
	} else {
		b = appendSync(b, s, c.media)
	}
	return answer{
		status: status,
		header: http.Header{"Content-Type": {string(c.media)}, "Etag": {etag(s, c.media)}},
		body:   b,
	}
}

// appendSync appends s as the public document shows it, the attributes in its
// order. The text is written by hand because configuration must come out as it
// went in, byte for byte.
func appendSync(b []byte, s syncs.Sync, form media) []byte {
	b = fmt.Appendf(b, `{"id":%s,"type":"syncs","attributes":{"source_id":%d,"destination_id":%d,"model_id":%d,"configuration":%s`,
		quote(s.ID), s.SourceID, s.DestinationID, s.ModelID, s.Configuration)
	b = fmt.Appendf(b, `,"schedule_type":%s,"sync_mode":%s,"sync_interval":%d,"sync_interval_unit":%s`,
		quote(s.ScheduleType), quote(s.SyncMode), s.SyncInterval, quote(s.SyncIntervalUnit))
	if s.CronExpression != "" {
		b = fmt.Appendf(b, `,"cron_expression":%s`, quote(s.CronExpression))
	}
	if s.CursorField != "" {
		b = fmt.Appendf(b, `,"cursor_field":%s`, quote(s.CursorField))
	}
	b = fmt.Appendf(b, `,"stream_name":%s,"status":%s,"created_at":%s,"updated_at":%s}`,
		quote(s.StreamName), quote(string(s.Status)), quote(stamp(s.CreatedAt)), quote(stamp(s.UpdatedAt)))
	if form == mediaJSONAPI {
		b = fmt.Appendf(b, `,"links":{"self":%s}`, quote(pathOf(s)))
	}
	return append(b, '}')
}

func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// quote is s as a JSON string. Invalid UTF-8, which nothing here lets in,
// would come out as replacement characters.
func quote(s string) []byte {
	quoted, _ := jsontext.AppendQuote(nil, s)
	return quoted
}
