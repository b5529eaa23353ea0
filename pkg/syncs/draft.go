package syncs

import (
	"strings"
	"time"

	"syncplane/pkg/fault"
)

// The bounds of a sync. The contract sets those of numbers and texts.
const (
	MaxID       = 1<<53 - 1     // the largest integer that every JSON decoder represents exactly (RFC 7493)
	MaxInterval = 366 * 24 * 60 // minutes; a leap year
	MaxText     = 255           // characters (Unicode code points) of stream_name, cursor_field and cron_expression
	MaxDepth    = 64            // levels of nesting in configuration, counting the object itself
)

// The enumerations of the public document, each with one value today.
const (
	ScheduleAutomated = "automated"
	ModeFullRefresh   = "full_refresh"
	UnitMinutes       = "minutes"
)

// Draft describes a sync as a client requests it, before validation. A nil field
// was not given.
type Draft struct {
	SourceID         *int64
	DestinationID    *int64
	ModelID          *int64
	ScheduleType     *string
	Configuration    *string // the text of a JSON object
	StreamName       *string
	SyncMode         *string
	SyncInterval     *int64
	SyncIntervalUnit *string
	CronExpression   *string // optional; "" is the same as nil
	CursorField      *string // optional; "" is the same as nil

	// Status, ID and CreatedAt are read in a change only, whose client may
	// send back the whole sync: they must equal those of the sync.
	Status    *string
	ID        *string
	CreatedAt *time.Time

	// Mistyped names the fields whose value has another type than the field
	// of the Draft, such as a string for source_id.
	Mistyped []string
}

// Validate returns nil or a fault.Invalid with every violation, in the order of the
// public document.
func (d Draft) Validate() error {
	v := validation{mistyped: d.Mistyped}
	v.integer("source_id", d.SourceID, MaxID)
	v.integer("destination_id", d.DestinationID, MaxID)
	v.integer("model_id", d.ModelID, MaxID)
	v.constant("schedule_type", d.ScheduleType, ScheduleAutomated)
	v.configuration("configuration", d.Configuration)
	v.label("stream_name", d.StreamName, required)
	v.constant("sync_mode", d.SyncMode, ModeFullRefresh)
	v.integer("sync_interval", d.SyncInterval, MaxInterval)
	v.constant("sync_interval_unit", d.SyncIntervalUnit, UnitMinutes)
	v.cron("cron_expression", d.CronExpression)
	v.label("cursor_field", d.CursorField, optional)
	if len(v.violations) > 0 {
		return &fault.Error{Kind: fault.Invalid, Fields: v.violations}
	}
	return nil
}

// sync returns the first version of the sync that a valid d describes.
func (d Draft) sync(workspace, id string, now time.Time) Sync {
	now = instant(now)
	s := Sync{Workspace: workspace, ID: id, Version: 1, Status: Pending, CreatedAt: now, UpdatedAt: now, ScheduledAt: now}
	d.apply(&s)
	return s
}

// apply sets the fields of s to those of a valid d.
func (d Draft) apply(s *Sync) {
	s.SourceID = *d.SourceID
	s.DestinationID = *d.DestinationID
	s.ModelID = *d.ModelID
	s.Configuration = *d.Configuration
	s.ScheduleType = *d.ScheduleType
	s.SyncMode = *d.SyncMode
	s.SyncInterval = *d.SyncInterval
	s.SyncIntervalUnit = *d.SyncIntervalUnit
	s.CronExpression = textOf(d.CronExpression)
	s.CursorField = strings.TrimSpace(textOf(d.CursorField))
	s.StreamName = strings.TrimSpace(*d.StreamName)
}

// textOf returns the text that s points to, "" for nil.
func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// instant returns t with the precision that a Sync stores.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
