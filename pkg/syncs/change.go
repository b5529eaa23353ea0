package syncs

import (
	"errors"
	"slices"
	"time"

	"syncplane/pkg/fault"
)

// changed is s with the fields that patch names put in place of its own, one
// version on. What is validated is the result, as a create's is; it returns a
// fault.Invalid with every violation. A field of patch that is nil stays as it
// is, and "" clears an optional one.
func (s Sync) changed(patch Draft, now time.Time) (Sync, error) {
	var faults []fault.Field
	if patch.empty() {
		faults = append(faults, fault.Field{Code: "empty_change", Detail: "sync must name at least one field to change"})
	}
	fixed := patch.CursorField != nil
	if i := slices.Index(patch.Mistyped, "cursor_field"); i >= 0 {
		fixed = true
		patch.Mistyped = slices.Delete(slices.Clone(patch.Mistyped), i, i+1)
	}
	result := s.draft()
	replace(&result.SourceID, patch.SourceID)
	replace(&result.DestinationID, patch.DestinationID)
	replace(&result.ModelID, patch.ModelID)
	replace(&result.ScheduleType, patch.ScheduleType)
	replace(&result.Configuration, patch.Configuration)
	replace(&result.StreamName, patch.StreamName)
	replace(&result.SyncMode, patch.SyncMode)
	replace(&result.SyncInterval, patch.SyncInterval)
	replace(&result.SyncIntervalUnit, patch.SyncIntervalUnit)
	replace(&result.CronExpression, patch.CronExpression)
	result.Mistyped = patch.Mistyped

	if invalid, ok := errors.AsType[*fault.Error](result.Validate()); ok {
		faults = append(faults, invalid.Fields...)
	}
	if fixed {
		faults = append(faults, fault.Field{Name: "cursor_field", Code: "immutable", Detail: "cursor_field cannot be changed once the sync exists; create another sync instead"})
	}
	if len(faults) > 0 {
		return Sync{}, &fault.Error{Kind: fault.Invalid, Fields: faults}
	}
	before := s
	result.describe(&s)
	s = s.touched(now)
	if s.SyncInterval != before.SyncInterval || s.CronExpression != before.CronExpression {
		s.ScheduledAt = s.UpdatedAt
	}
	return s, nil
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

// empty reports whether d names no field at all.
func (d Draft) empty() bool {
	return d.SourceID == nil && d.DestinationID == nil && d.ModelID == nil && d.ScheduleType == nil &&
		d.Configuration == nil && d.StreamName == nil && d.SyncMode == nil && d.SyncInterval == nil &&
		d.SyncIntervalUnit == nil && d.CronExpression == nil && d.CursorField == nil && len(d.Mistyped) == 0
}

func replace[T any](field **T, with *T) {
	if with != nil {
		*field = with
	}
}

// Condition is which versions of a sync a request may act on. The zero
// Condition allows any.
type Condition struct {
	Versions []int64 // those allowed
	Given    bool    // Versions counts, even if it is empty

	Except    []int64 // those not allowed
	ExceptAny bool    // no version is allowed
}

// Check returns nil if c allows a sync of this version, and a
// fault.PreconditionFailed if not. Versions is checked before Except.
func (c Condition) Check(version int64) error {
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
