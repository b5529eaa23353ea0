package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/syncs"
)

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// createSync handles POST /api/v1/syncs.
func (a *API) createSync(ctx context.Context, c call) (answer, error) {
	in, err := readCreate(c.body)
	out := answer{status: http.StatusOK, header: http.Header{}}
	warn(out.header, in.unknown)
	if err != nil {
		return out, err
	}
	sync, err := a.Syncs.Create(ctx, c.who, in.draft)
	if err != nil {
		return out, in.explain(err)
	}
	out.header.Set("Content-Type", "application/json")
	out.header.Set("Location", "/api/v1/syncs/"+sync.ID)
	out.body = appendSync(make([]byte, 0, 768+len(sync.Configuration)), sync)
	return out, nil
}

// appendSync appends s as the public document shows it, the attributes in its
// order. The text is written by hand because configuration must come out as it
// went in, byte for byte.
func appendSync(b []byte, s syncs.Sync) []byte {
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
	return fmt.Appendf(b, `,"stream_name":%s,"status":%s,"created_at":%s,"updated_at":%s}}`,
		quote(s.StreamName), quote(string(s.Status)), quote(stamp(s.CreatedAt)), quote(stamp(s.UpdatedAt)))
}

func stamp(t time.Time) string { return t.UTC().Format(timeLayout) }

// quote is s as a JSON string. Invalid UTF-8, which nothing here lets in,
// would come out as replacement characters.
func quote(s string) []byte {
	quoted, _ := jsontext.AppendQuote(nil, s)
	return quoted
}

// maxWarnings is how many unknown members are named in an answer.
const maxWarnings = 10

// maxWarned is how much of a pointer a warning repeats, in bytes: all headers
// of a response must fit 10,240 bytes at API Gateway.
const maxWarned = 128

// warn names the members that were ignored, so that a misspelt optional field
// does not vanish silently. The form is RFC 7234's, section 5.5.
func warn(header http.Header, unknown []string) {
	for _, pointer := range unknown[:min(len(unknown), maxWarnings)] {
		header.Add("Warning", `299 - "unknown field `+quotable(pointer)+`"`)
	}
}

// quotable makes text fit for a quoted-string in a header: what is not visible
// ASCII is percent-encoded, what would end the string is escaped, and the rest
// of a long text is left out.
func quotable(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if b.Len() >= maxWarned {
			b.WriteString("...")
			break
		}
		switch c := text[i]; {
		case c < ' ' || c > '~' || c == '%':
			fmt.Fprintf(&b, "%%%02X", c)
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
