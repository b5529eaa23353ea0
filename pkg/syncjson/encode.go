// Package syncjson is the JSON format of syncs and runs: it decodes and encodes them
// for the HTTP API and for events, locates violations in the request, and computes
// fingerprints of requests. It knows the domain; it does not know HTTP or storage.
package syncjson

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/syncs"
)

// TimeLayout is RFC 3339 in UTC with milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z07:00"

// Type is the type of a sync (JSON:API 1.1, "Identification").
const Type = "syncs"

// Append appends s as JSON. The attributes are in the order of the public API
// document, followed by next_run_at, the first run after at, which a paused sync
// does not have. It does not use encoding/json, because configuration must be
// written byte for byte as it was received.
func Append(b []byte, s syncs.Sync, at time.Time) []byte {
	return AppendPartial(b, s, at, Omit{})
}

// Omit names the attributes that AppendPartial leaves out of a sync that is too
// large for an event.
type Omit struct{ Configuration, CronExpression bool }

// AppendPartial appends s without the attributes in omit.
func AppendPartial(b []byte, s syncs.Sync, at time.Time, omit Omit) []byte {
	b = AppendText(append(b, `{"id":`...), s.ID)
	b = appendInt(append(b, `,"type":"`+Type+`","attributes":{"source_id":`...), s.SourceID)
	b = appendInt(append(b, `,"destination_id":`...), s.DestinationID)
	b = appendInt(append(b, `,"model_id":`...), s.ModelID)
	if !omit.Configuration {
		b = append(append(b, `,"configuration":`...), s.Configuration...)
	}
	b = AppendText(append(b, `,"schedule_type":`...), s.ScheduleType)
	b = AppendText(append(b, `,"sync_mode":`...), s.SyncMode)
	b = appendInt(append(b, `,"sync_interval":`...), s.SyncInterval)
	b = AppendText(append(b, `,"sync_interval_unit":`...), s.SyncIntervalUnit)
	if s.CronExpression != "" && !omit.CronExpression {
		b = AppendText(append(b, `,"cron_expression":`...), s.CronExpression)
	}
	if s.CursorField != "" {
		b = AppendText(append(b, `,"cursor_field":`...), s.CursorField)
	}
	b = AppendText(append(b, `,"stream_name":`...), s.StreamName)
	b = AppendText(append(b, `,"status":`...), string(s.Status))
	b = s.CreatedAt.UTC().AppendFormat(append(b, `,"created_at":"`...), TimeLayout)
	b = s.UpdatedAt.UTC().AppendFormat(append(b, `","updated_at":"`...), TimeLayout)
	if next, ok := s.NextRun(at); ok {
		b = next.AppendFormat(append(b, `","next_run_at":"`...), TimeLayout)
	}
	return append(b, `"}}`...)
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// AppendText appends s as a JSON string. Invalid UTF-8, which validation refuses, is
// replaced.
func AppendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
