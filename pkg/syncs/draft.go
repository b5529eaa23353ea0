package syncs

import "time"

// sync returns the first version of the sync that a valid d describes.
func (d Draft) sync(workspace, id string, now time.Time) Sync {
	now = instant(now)
	s := Sync{Workspace: workspace, ID: id, Version: 1, Status: Pending, CreatedAt: now, UpdatedAt: now, ScheduledAt: now}
	d.apply(&s)
	return s
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

// describe sets the field of d to that of s.
func (f *Field) describe(d *Draft, s *Sync) {
	if f.Integer != nil {
		*f.DraftInteger(d) = f.Integer(s)
	} else {
		*f.DraftText(d) = f.Text(s)
	}
}

// given reports whether d has the field.
func (f *Field) given(d *Draft) bool {
	if f.Integer != nil {
		return *f.DraftInteger(d) != nil
	}
	return *f.DraftText(d) != nil
}

// differs reports whether the field differs in two syncs.
func (f *Field) differs(before, after *Sync) bool {
	if f.Integer != nil {
		return *f.Integer(before) != *f.Integer(after)
	}
	return *f.Text(before) != *f.Text(after)
}

// edit sets the field of d to that of patch, if given, and reports whether it
// differed.
func (f *Field) edit(d, patch *Draft) bool {
	if f.Integer != nil {
		return edit(f.DraftInteger(d), *f.DraftInteger(patch))
	}
	return edit(f.DraftText(d), *f.DraftText(patch))
}

func edit[T comparable](field **T, value *T) bool {
	if value == nil || *value == **field {
		return false
	}
	*field = value
	return true
}
