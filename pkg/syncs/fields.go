package syncs

import (
	"strings"
	"time"

	"syncplane/pkg/fault"
)

// This file names the fields of a sync; a new one is added here, and to the row of
// package bolt. Everything else that handles all of them ranges over Fields.

// Sync is a reverse-ETL job: copy the rows of a model from a source to a
// destination on a schedule.
type Sync struct {
	Workspace string // the owner; the first part of the key in a store
	ID        string // UUIDv7 (RFC 9562), so that IDs sort by creation
	Version   int64  // 1 at creation, one more with every change

	SourceID         int64 // 1 … MaxID, as are the next two
	DestinationID    int64
	ModelID          int64
	Configuration    string // a JSON object, byte for byte as the client wrote it
	ScheduleType     string
	SyncMode         string
	SyncInterval     int64  // in SyncIntervalUnit, 1 … MaxInterval
	SyncIntervalUnit string // "minutes"
	CronExpression   string // "" if there is none; takes precedence over the interval
	CursorField      string // "" if there is none
	StreamName       string

	Status      Status
	CreatedAt   time.Time // UTC, whole milliseconds
	UpdatedAt   time.Time // UTC, whole milliseconds
	ScheduledAt time.Time // UTC, whole milliseconds: when the schedule was set, from which an interval counts
}

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

// Field describes a field of a sync that a client sets. A field is an integer or a
// text, and the accessors of the other type are nil.
type Field struct {
	Name     string // in requests, responses, events and rows
	Optional bool   // a text that a client may leave out; "" means that there is none
	Object   bool   // a text that is a JSON object

	Integer      func(*Sync) *int64   // locates the field of a sync
	Text         func(*Sync) *string  // as Integer
	DraftInteger func(*Draft) **int64 // locates the field of a draft
	DraftText    func(*Draft) **string

	createOnly bool // only a create sets it
}

// Fields lists the fields in the order of responses.
var Fields = [...]Field{ //nolint:gochecknoglobals // a table
	{Name: "source_id", Integer: func(s *Sync) *int64 { return &s.SourceID }, DraftInteger: func(d *Draft) **int64 { return &d.SourceID }},
	{Name: "destination_id", Integer: func(s *Sync) *int64 { return &s.DestinationID }, DraftInteger: func(d *Draft) **int64 { return &d.DestinationID }},
	{Name: "model_id", Integer: func(s *Sync) *int64 { return &s.ModelID }, DraftInteger: func(d *Draft) **int64 { return &d.ModelID }},
	{Name: "configuration", Text: func(s *Sync) *string { return &s.Configuration }, DraftText: func(d *Draft) **string { return &d.Configuration }, Object: true},
	{Name: "schedule_type", Text: func(s *Sync) *string { return &s.ScheduleType }, DraftText: func(d *Draft) **string { return &d.ScheduleType }},
	{Name: "sync_mode", Text: func(s *Sync) *string { return &s.SyncMode }, DraftText: func(d *Draft) **string { return &d.SyncMode }},
	{Name: "sync_interval", Integer: func(s *Sync) *int64 { return &s.SyncInterval }, DraftInteger: func(d *Draft) **int64 { return &d.SyncInterval }},
	{Name: "sync_interval_unit", Text: func(s *Sync) *string { return &s.SyncIntervalUnit }, DraftText: func(d *Draft) **string { return &d.SyncIntervalUnit }},
	{Name: "cron_expression", Text: func(s *Sync) *string { return &s.CronExpression }, DraftText: func(d *Draft) **string { return &d.CronExpression }, Optional: true},
	{Name: "cursor_field", Text: func(s *Sync) *string { return &s.CursorField }, DraftText: func(d *Draft) **string { return &d.CursorField }, Optional: true, createOnly: true},
	{Name: "stream_name", Text: func(s *Sync) *string { return &s.StreamName }, DraftText: func(d *Draft) **string { return &d.StreamName }},
}

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

// MaxSize is the size of the largest sync that a request can create, in bytes as
// Size counts them. Our own choice: every storage backend can store a sync of
// this size together with an idempotency key.
const MaxSize = 399 << 10

// fixedSize is an upper bound on the size of everything but the texts of a sync,
// in bytes: the names of its fields, numbers, times and its ID.
const fixedSize = 512

// Size returns an upper bound on the bytes that s takes in a store, encoded as
// UTF-8 with the names of its fields. It depends on the texts of s alone: a change
// of a number, a time or the status leaves it as it is.
func (s Sync) Size() int {
	return fixedSize + len(s.Workspace) + len(s.Configuration) + len(s.ScheduleType) + len(s.SyncMode) +
		len(s.SyncIntervalUnit) + len(s.CronExpression) + len(s.CursorField) + len(s.StreamName)
}
