package syncs

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"syncplane/pkg/fault"
)

// changed returns s with the fields that patch names put in place of its own,
// one version on; s itself if that changes nothing. A field of patch that is nil
// stays as it is, and "" clears an optional one. The result is validated as a
// create is, but for values that are there already, which an earlier version may
// have accepted. The error is a fault.Invalid with every violation.
func (s Sync) changed(patch Draft, now time.Time) (Sync, error) {
	result := s.draft()
	var edited []string
	edit(&edited, "source_id", &result.SourceID, patch.SourceID)
	edit(&edited, "destination_id", &result.DestinationID, patch.DestinationID)
	edit(&edited, "model_id", &result.ModelID, patch.ModelID)
	edit(&edited, "schedule_type", &result.ScheduleType, patch.ScheduleType)
	edit(&edited, "configuration", &result.Configuration, patch.Configuration)
	edit(&edited, "stream_name", &result.StreamName, patch.StreamName)
	edit(&edited, "sync_mode", &result.SyncMode, patch.SyncMode)
	edit(&edited, "sync_interval", &result.SyncInterval, patch.SyncInterval)
	edit(&edited, "sync_interval_unit", &result.SyncIntervalUnit, patch.SyncIntervalUnit)
	edit(&edited, "cron_expression", &result.CronExpression, patch.CronExpression)

	fixed := s.fixed(patch)
	var faults []fault.Field
	if patch.empty() && len(fixed) == 0 {
		faults = append(faults, fault.Field{Code: "empty_change", Detail: "sync must name at least one field to change"})
	}
	for _, name := range patch.Mistyped {
		if !slices.ContainsFunc(fixed, func(f fault.Field) bool { return f.Name == name }) {
			result.Mistyped = append(result.Mistyped, name)
		}
	}
	if invalid, ok := errors.AsType[*fault.Error](result.Validate()); ok {
		for _, f := range invalid.Fields {
			if slices.Contains(edited, f.Name) || slices.Contains(result.Mistyped, f.Name) {
				faults = append(faults, f)
			}
		}
	}
	if faults = append(faults, fixed...); len(faults) > 0 {
		return Sync{}, &fault.Error{Kind: fault.Invalid, Fields: faults}
	}
	before := s
	result.describe(&s)
	s.CursorField = before.CursorField
	if s == before {
		return before, nil
	}
	if size := s.Size(); size > MaxSize && size > before.Size() { // an early version may have let it grow
		return Sync{}, ErrTooLarge
	}
	s = s.touched(now)
	if s.SyncInterval != before.SyncInterval || s.CronExpression != before.CronExpression {
		s.ScheduledAt = instant(now) // UpdatedAt may be of a clock that was ahead
	}
	return s, nil
}

// edit puts a value that was given in place of another one, and notes the name
// of the field.
func edit[T comparable](edited *[]string, name string, field **T, with *T) {
	if with != nil && *with != **field {
		*field = with
		*edited = append(*edited, name)
	}
}

// fixed returns a violation for each field that no change can set and to which
// patch gives another value than it has. A client may send all that it has read.
func (s Sync) fixed(patch Draft) []fault.Field {
	var faults []fault.Field
	check := func(name, advice string, differs bool) {
		if differs || slices.Contains(patch.Mistyped, name) {
			faults = append(faults, fault.Field{Name: name, Code: "immutable", Detail: name + " cannot be changed" + advice})
		}
	}
	check("cursor_field", " once the sync exists; create another sync instead", patch.CursorField != nil && !s.hasCursor(*patch.CursorField))
	const leave = "; leave it out, or send the value that it has"
	check("id", leave, patch.ID != nil && canonical(*patch.ID) != s.ID)
	check("type", leave, false)
	check("status", " by a client; pause or resume the sync instead", patch.Status != nil && *patch.Status != string(s.Status))
	check("created_at", leave, patch.CreatedAt != nil && !patch.CreatedAt.Equal(s.CreatedAt))
	return faults
}

// hasCursor reports whether s could have been created with this cursor_field.
func (s Sync) hasCursor(text string) bool {
	if text == s.CursorField {
		return true
	}
	return s.CursorField != "" && strings.TrimSpace(text) == s.CursorField && !strings.ContainsFunc(text, unicode.IsControl)
}

// draft is s as a client would describe it.
func (s Sync) draft() Draft {
	return Draft{
		SourceID: &s.SourceID, DestinationID: &s.DestinationID, ModelID: &s.ModelID,
		ScheduleType: &s.ScheduleType, Configuration: &s.Configuration, StreamName: &s.StreamName,
		SyncMode: &s.SyncMode, SyncInterval: &s.SyncInterval, SyncIntervalUnit: &s.SyncIntervalUnit,
		CronExpression: &s.CronExpression, CursorField: &s.CursorField,
	}
}

// touched is s one version on. Its time never goes backwards, whatever clock
// the change was made by.
func (s Sync) touched(now time.Time) Sync {
	s.Version++
	if now = instant(now); now.After(s.UpdatedAt) {
		s.UpdatedAt = now
	}
	return s
}

// Changed are the names of the attributes in which two versions of a sync
// differ, in the order of the public document; never nil. Times are none of
// them: they change with everything.
func Changed(before, after Sync) []string {
	changed := []string{}
	note := func(name string, differs bool) {
		if differs {
			changed = append(changed, name)
		}
	}
	note("source_id", before.SourceID != after.SourceID)
	note("destination_id", before.DestinationID != after.DestinationID)
	note("model_id", before.ModelID != after.ModelID)
	note("configuration", before.Configuration != after.Configuration)
	note("schedule_type", before.ScheduleType != after.ScheduleType)
	note("sync_mode", before.SyncMode != after.SyncMode)
	note("sync_interval", before.SyncInterval != after.SyncInterval)
	note("sync_interval_unit", before.SyncIntervalUnit != after.SyncIntervalUnit)
	note("cron_expression", before.CronExpression != after.CronExpression)
	note("cursor_field", before.CursorField != after.CursorField)
	note("stream_name", before.StreamName != after.StreamName)
	note("status", before.Status != after.Status)
	return changed
}

// empty reports whether d names no field that a change is for.
func (d Draft) empty() bool {
	return d.SourceID == nil && d.DestinationID == nil && d.ModelID == nil && d.ScheduleType == nil &&
		d.Configuration == nil && d.StreamName == nil && d.SyncMode == nil && d.SyncInterval == nil &&
		d.SyncIntervalUnit == nil && d.CronExpression == nil && d.CursorField == nil && len(d.Mistyped) == 0
}

// Precondition is which versions of a sync a request may act on. The zero
// Precondition allows any.
type Precondition struct {
	Versions []int64 // those allowed
	Given    bool    // Versions counts, even if it is empty

	Except    []int64 // those not allowed
	ExceptAny bool    // no version is allowed
}

// Check returns nil if c allows a sync of this version, and a
// fault.PreconditionFailed if not. Versions is checked before Except.
func (c Precondition) Check(version int64) error {
	switch {
	case c.Given && !slices.Contains(c.Versions, version):
		return &fault.Error{
			Kind: fault.PreconditionFailed, Code: "version_mismatch",
			Message: "the sync has changed since the version that If-Match names; read it again",
		}
	case c.ExceptAny || slices.Contains(c.Except, version):
		return &fault.Error{
			Kind: fault.PreconditionFailed, Code: "version_excluded",
			Message: "the sync is there in a version that If-None-Match excludes",
		}
	}
	return nil
}
