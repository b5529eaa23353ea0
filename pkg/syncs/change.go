package syncs

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"syncplane/pkg/fault"
)

// changed returns s with the fields that patch names, one version on, or s itself
// if nothing differs. A nil field of patch leaves the field of s as it is, and ""
// clears an optional one. The result is validated as in a create, except for
// values that s has already, which an earlier version may have accepted. The error
// is a fault.Invalid with every violation.
func (s Sync) changed(patch Draft, now time.Time) (Sync, error) {
	result := s.draft()
	var edited []string
	for i := range Fields {
		f := &Fields[i]
		if !f.createOnly && f.edit(&result, &patch) {
			edited = append(edited, f.Name)
		}
	}

	immutable := s.checkImmutable(patch)
	var faults []fault.Field
	if patch.empty() && len(immutable) == 0 {
		faults = append(faults, fault.Field{Code: "empty_change", Detail: "sync must name at least one field to change"})
	}
	for _, name := range patch.Mistyped {
		if !slices.ContainsFunc(immutable, func(f fault.Field) bool { return f.Name == name }) {
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
	if faults = append(faults, immutable...); len(faults) > 0 {
		return Sync{}, &fault.Error{Kind: fault.Invalid, Fields: faults}
	}
	before := s
	result.apply(&s)
	s.CursorField = before.CursorField
	if s == before {
		return before, nil
	}
	if size := s.Size(); size > MaxSize && size > before.Size() { // an early version accepted larger syncs
		return Sync{}, ErrTooLarge
	}
	s = s.touched(now)
	if s.SyncInterval != before.SyncInterval || s.CronExpression != before.CronExpression {
		s.ScheduledAt = instant(now) // UpdatedAt may come from a clock that was ahead
	}
	return s, nil
}

// checkImmutable returns a violation for each immutable field that patch gives
// another value than s has. The value of s is accepted, so that a client may send
// back the whole sync.
func (s Sync) checkImmutable(patch Draft) []fault.Field {
	var faults []fault.Field
	check := func(name, advice string, differs bool) {
		if differs || slices.Contains(patch.Mistyped, name) {
			faults = append(faults, fault.Field{Name: name, Code: "immutable", Detail: name + " cannot be changed" + advice})
		}
	}
	check("cursor_field", " once the sync exists; create another sync instead", patch.CursorField != nil && !s.hasCursor(*patch.CursorField))
	const leave = "; leave it out, or send the value that it has"
	check("id", leave, patch.ID != nil && CanonicalID(*patch.ID) != s.ID)
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

// draft returns the draft that describes s.
func (s Sync) draft() Draft {
	var d Draft
	for i := range Fields {
		Fields[i].describe(&d, &s)
	}
	return d
}

// touched returns s one version on. UpdatedAt never goes backwards, even if the
// clock does.
func (s Sync) touched(now time.Time) Sync {
	s.Version++
	if now = instant(now); now.After(s.UpdatedAt) {
		s.UpdatedAt = now
	}
	return s
}

// Changed returns the names of the attributes in which two versions of a sync
// differ, in the order of the public document; never nil. It leaves out the
// times, which change with every version.
func Changed(before, after Sync) []string {
	changed := []string{}
	for i := range Fields {
		if f := &Fields[i]; f.differs(&before, &after) {
			changed = append(changed, f.Name)
		}
	}
	if before.Status != after.Status {
		changed = append(changed, "status")
	}
	return changed
}

// empty reports whether d has no field that a change can set.
func (d Draft) empty() bool {
	return len(d.Mistyped) == 0 && !slices.ContainsFunc(Fields[:], func(f Field) bool { return f.given(&d) })
}

// Precondition restricts the versions of a sync that a request acts on. The zero
// Precondition allows every version.
type Precondition struct {
	Given    bool    // only Versions are allowed, even if there are none
	Versions []int64 // with Given: the versions allowed

	Except    []int64 // versions that are not allowed
	ExceptAny bool    // no version is allowed
}

// Check returns nil if p allows a sync of this version, and a
// fault.PreconditionFailed otherwise. Versions is checked before Except.
func (p Precondition) Check(version int64) error {
	switch {
	case p.Given && !slices.Contains(p.Versions, version):
		return fault.New(fault.PreconditionFailed, "version_mismatch", "the sync is no longer in a version that the request requires; read it again")
	case p.ExceptAny || slices.Contains(p.Except, version):
		return fault.New(fault.PreconditionFailed, "version_excluded", "the sync exists in a version that the request excludes")
	}
	return nil
}
