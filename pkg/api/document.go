package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/syncs"
)

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// syncsPath is where the syncs are.
const syncsPath = "/api/v1/syncs"

func pathOf(s syncs.Sync) string { return syncsPath + "/" + s.ID }

// resource is the answer with one sync as it is at a moment, in the form that
// the client takes.
func (c call) resource(status int, s syncs.Sync, at time.Time) answer {
	b := make([]byte, 0, 1024+len(s.Configuration))
	if c.media == mediaJSONAPI {
		b = append(b, `{"jsonapi":{"version":"1.1"},"data":`...)
		b = append(appendSync(b, s, at, c.media), '}')
	} else {
		b = appendSync(b, s, at, c.media)
	}
	return answer{
		status: status,
		header: http.Header{"Content-Type": {string(c.media)}, "Etag": {etag(s, c.media)}},
		body:   b,
	}
}

// appendSync appends s as the public document shows it, the attributes in its
// order. What follows them is ours: next_run_at is the first run after at, and
// not there for a sync that is paused. The text is written by hand because configuration must come out as it
// went in, byte for byte.
func appendSync(b []byte, s syncs.Sync, at time.Time, form media) []byte {
	b = appendText(append(b, `{"id":`...), s.ID)
	b = appendInt(append(b, `,"type":"syncs","attributes":{"source_id":`...), s.SourceID)
	b = appendInt(append(b, `,"destination_id":`...), s.DestinationID)
	b = appendInt(append(b, `,"model_id":`...), s.ModelID)
	b = append(append(b, `,"configuration":`...), s.Configuration...)
	b = appendText(append(b, `,"schedule_type":`...), s.ScheduleType)
	b = appendText(append(b, `,"sync_mode":`...), s.SyncMode)
	b = appendInt(append(b, `,"sync_interval":`...), s.SyncInterval)
	b = appendText(append(b, `,"sync_interval_unit":`...), s.SyncIntervalUnit)
	if s.CronExpression != "" {
		b = appendText(append(b, `,"cron_expression":`...), s.CronExpression)
	}
	if s.CursorField != "" {
		b = appendText(append(b, `,"cursor_field":`...), s.CursorField)
	}
	b = appendText(append(b, `,"stream_name":`...), s.StreamName)
	b = appendText(append(b, `,"status":`...), string(s.Status))
	b = s.CreatedAt.UTC().AppendFormat(append(b, `,"created_at":"`...), timeLayout)
	b = s.UpdatedAt.UTC().AppendFormat(append(b, `","updated_at":"`...), timeLayout)
	if next, ok := s.NextRun(at); ok {
		b = next.AppendFormat(append(b, `","next_run_at":"`...), timeLayout)
	}
	b = append(b, `"}`...)
	if form == mediaJSONAPI {
		b = append(appendText(append(b, `,"links":{"self":`...), pathOf(s)), '}')
	}
	return append(b, '}')
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// appendText appends s as a JSON string. Invalid UTF-8, which nothing here lets
// in, would come out as replacement characters.
func appendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}

// quote is s as a JSON string.
func quote(s string) []byte { return appendText(nil, s) }
