package syncjson

import (
	"strconv"
	"time"

	"syncplane/pkg/runs"
)

// FormatRunTime returns the scheduled time of a run as it is written everywhere:
// RFC 3339 in UTC, whole seconds.
func FormatRunTime(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// ParseRunTime parses the scheduled time of a run. ok is false for every text that
// FormatRunTime does not return.
func ParseRunTime(text string) (at time.Time, ok bool) {
	at, err := time.Parse(time.RFC3339, text)
	return at.UTC(), err == nil && FormatRunTime(at) == text
}

// JoinRunID returns the ID of a run of a sync at a scheduled time: the same in the API
// and in every event.
func JoinRunID(syncID, scheduled string) string { return syncID + "/" + scheduled }

// RunID returns the ID of a run.
func RunID(key runs.Key) string { return JoinRunID(key.SyncID, FormatRunTime(key.Time)) }

// AppendRun appends r as JSON. The attributes up to updated_at are those of the public
// API of the original product and are always present, null if unknown; the others
// are present only if they have a value.
func AppendRun(b []byte, r runs.Run) []byte {
	b = AppendText(append(b, `{"id":`...), RunID(r.Key))
	b = AppendText(append(b, `,"type":"sync_runs","attributes":{"sync_id":`...), r.SyncID)
	b = AppendText(append(b, `,"status":`...), string(r.Status))
	b = AppendText(append(b, `,"sync_run_type":`...), string(r.Type))
	b = appendTime(append(b, `,"started_at":`...), r.StartedAt)
	b = appendTime(append(b, `,"finished_at":`...), r.FinishedAt)
	b = append(b, `,"duration":`...)
	if took, ok := r.Duration(); ok {
		b = strconv.AppendFloat(b, took.Seconds(), 'f', -1, 64)
	} else {
		b = append(b, `null`...)
	}
	b = appendCounters(b, r.Counters, true)
	b = append(b, `,"error":`...)
	if r.Error != "" {
		b = AppendText(b, r.Error)
	} else {
		b = append(b, `null`...)
	}
	b = appendTime(append(b, `,"created_at":`...), r.CreatedAt)
	b = appendTime(append(b, `,"updated_at":`...), r.UpdatedAt)
	b = AppendText(append(b, `,"scheduled_time":`...), FormatRunTime(r.Time))
	b = AppendText(append(b, `,"trigger":`...), string(r.Trigger))
	if r.Attempt > 0 {
		b = appendInt(append(b, `,"attempt":`...), int64(r.Attempt))
		b = appendInt(append(b, `,"fence":`...), r.Fence())
	}
	b = appendOptional(b, "executor", r.Executor)
	b = appendOptionalTime(b, "deadline_at", r.DeadlineAt)
	b = appendOptionalTime(b, "cancel_requested_at", r.CancelRequestedAt)
	b = appendOptional(b, "error_code", r.ErrorCode)
	b = appendOptional(b, "log_url", r.LogURL)
	if r.Late {
		b = append(b, `,"late":true`...)
	}
	if l := r.LateReport; l != nil {
		b = appendInt(append(b, `,"late_report":{"fence":`...), l.Fence)
		b = AppendText(append(b, `,"status":`...), string(l.Status))
		b = appendTime(append(b, `,"received_at":`...), l.ReceivedAt)
		b = appendCounters(b, l.Counters, false)
		b = appendOptional(b, "error", l.Error)
		b = appendOptional(b, "error_code", l.ErrorCode)
		b = appendOptional(b, "log_url", l.LogURL)
		b = append(b, '}')
	}
	return append(b, `}}`...)
}

// appendCounters appends the members of c, unknown ones as null or not at all.
func appendCounters(b []byte, c runs.Counters, all bool) []byte {
	for _, counter := range [...]struct {
		name string
		n    *int64
	}{
		{"total_query_rows", c.TotalQueryRows},
		{"total_rows", c.TotalRows},
		{"skipped_rows", c.SkippedRows},
		{"successful_rows", c.SuccessfulRows},
		{"failed_rows", c.FailedRows},
	} {
		switch {
		case counter.n != nil:
			b = appendInt(appendName(b, counter.name), *counter.n)
		case all:
			b = append(appendName(b, counter.name), `null`...)
		}
	}
	return b
}

func appendName(b []byte, name string) []byte {
	return append(append(append(b, `,"`...), name...), `":`...)
}

func appendOptional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return AppendText(appendName(b, name), value)
}

func appendOptionalTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendTime(appendName(b, name), t)
}

// appendTime appends t, null if it is zero.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, `null`...)
	}
	return append(t.UTC().AppendFormat(append(b, '"'), TimeLayout), '"')
}

// RunPath returns the path of a run relative to that of the syncs.
func RunPath(key runs.Key) string {
	return key.SyncID + "/sync_runs/" + FormatRunTime(key.Time)
}

// AppendRecord appends r as JSON, the failed row with index i of a run.
func AppendRecord(b []byte, key runs.Key, i int, r runs.Record) []byte {
	b = AppendText(append(b, `{"id":`...), RunID(key)+"/"+strconv.Itoa(i))
	b = AppendText(append(b, `,"type":"sync_records","attributes":{"primary_key":`...), r.PrimaryKey)
	b = AppendText(append(b, `,"action":`...), r.Action)
	b = AppendText(append(b, `,"error":`...), r.Error)
	return append(b, `}}`...)
}

// TriggerFingerprint returns the fingerprint of a trigger.
func TriggerFingerprint(in runs.TriggerRequest) (string, error) {
	b := AppendText([]byte(`{"sync_run":{"sync_id":`), in.SyncID)
	b = AppendText(append(b, `,"sync_run_type":`...), string(in.Type))
	return Fingerprint(append(b, `}}`...))
}
