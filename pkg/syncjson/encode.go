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
	b = append(b, `,"type":"`+Type+`","attributes":{`...)
	for i := range syncs.Fields {
		f := &syncs.Fields[i]
		if omit.Configuration && f.Name == "configuration" || omit.CronExpression && f.Name == "cron_expression" {
			continue
		}
		b = appendField(b, f, &s)
	}
	b = AppendText(append(b, `"status":`...), string(s.Status))
	b = s.CreatedAt.UTC().AppendFormat(append(b, `,"created_at":"`...), TimeLayout)
	b = s.UpdatedAt.UTC().AppendFormat(append(b, `","updated_at":"`...), TimeLayout)
	if next, ok := s.NextRun(at); ok {
		b = next.AppendFormat(append(b, `","next_run_at":"`...), TimeLayout)
	}
	return append(b, `"}}`...)
}

// appendField appends a field of s and a comma, or nothing if it is an optional one
// without a value.
func appendField(b []byte, f *syncs.Field, s *syncs.Sync) []byte {
	if f.Optional && *f.Text(s) == "" {
		return b
	}
	b = append(append(append(b, '"'), f.Name...), `":`...)
	switch {
	case f.Integer != nil:
		b = appendInt(b, *f.Integer(s))
	case f.Object:
		b = append(b, *f.Text(s)...)
	default:
		b = AppendText(b, *f.Text(s))
	}
	return append(b, ',')
}

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// AppendText appends s as a JSON string. Invalid UTF-8, which validation refuses, is
// replaced.
func AppendText(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s)
	return b
}
