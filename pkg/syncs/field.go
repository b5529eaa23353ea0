package syncs

// field describes a field of a sync that a client sets, for the code that treats all of
// them alike. Code on the path of a create (Draft.Validate, Draft.apply, Sync.Size)
// names them one by one instead, which does not allocate.
type field struct {
	name       string // in the public document
	createOnly bool   // only a create sets it

	given    func(d *Draft) bool            // reports whether d has the field
	describe func(d *Draft, s *Sync)        // sets the field of d to that of s
	edit     func(d, patch *Draft) bool     // sets the field of d to that of patch, if given; reports whether it differed
	differs  func(before, after *Sync) bool // reports whether the field differs
}

// fields lists the fields in the order of the public document.
var fields = []field{ //nolint:gochecknoglobals // a table
	fieldOf("source_id", func(s *Sync) *int64 { return &s.SourceID }, func(d *Draft) **int64 { return &d.SourceID }),
	fieldOf("destination_id", func(s *Sync) *int64 { return &s.DestinationID }, func(d *Draft) **int64 { return &d.DestinationID }),
	fieldOf("model_id", func(s *Sync) *int64 { return &s.ModelID }, func(d *Draft) **int64 { return &d.ModelID }),
	fieldOf("configuration", func(s *Sync) *string { return &s.Configuration }, func(d *Draft) **string { return &d.Configuration }),
	fieldOf("schedule_type", func(s *Sync) *string { return &s.ScheduleType }, func(d *Draft) **string { return &d.ScheduleType }),
	fieldOf("sync_mode", func(s *Sync) *string { return &s.SyncMode }, func(d *Draft) **string { return &d.SyncMode }),
	fieldOf("sync_interval", func(s *Sync) *int64 { return &s.SyncInterval }, func(d *Draft) **int64 { return &d.SyncInterval }),
	fieldOf("sync_interval_unit", func(s *Sync) *string { return &s.SyncIntervalUnit }, func(d *Draft) **string { return &d.SyncIntervalUnit }),
	fieldOf("cron_expression", func(s *Sync) *string { return &s.CronExpression }, func(d *Draft) **string { return &d.CronExpression }),
	createOnly(fieldOf("cursor_field", func(s *Sync) *string { return &s.CursorField }, func(d *Draft) **string { return &d.CursorField })),
	fieldOf("stream_name", func(s *Sync) *string { return &s.StreamName }, func(d *Draft) **string { return &d.StreamName }),
}

// fieldOf returns the field with a name, which inSync and inDraft locate.
func fieldOf[T comparable](name string, inSync func(*Sync) *T, inDraft func(*Draft) **T) field {
	return field{
		name:     name,
		given:    func(d *Draft) bool { return *inDraft(d) != nil },
		describe: func(d *Draft, s *Sync) { *inDraft(d) = inSync(s) },
		edit: func(d, patch *Draft) bool {
			value := *inDraft(patch)
			if value == nil || *value == **inDraft(d) {
				return false
			}
			*inDraft(d) = value
			return true
		},
		differs: func(before, after *Sync) bool { return *inSync(before) != *inSync(after) },
	}
}

// createOnly returns f as a field that only a create sets.
func createOnly(f field) field {
	f.createOnly = true
	return f
}
