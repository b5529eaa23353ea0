package syncs_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// good returns a valid draft with every field.
func good() syncs.Draft {
	return syncs.Draft{
		SourceID:         new(int64(1)),
		DestinationID:    new(int64(2)),
		ModelID:          new(int64(3)),
		ScheduleType:     new("automated"),
		Configuration:    new("{}"),
		StreamName:       new("contacts"),
		SyncMode:         new("full_refresh"),
		SyncInterval:     new(int64(30)),
		SyncIntervalUnit: new("minutes"),
		CronExpression:   new("0 6 * * 1-5"),
		CursorField:      new("updated_at"),
	}
}

const (
	wantID       = "an integer from 1 to 9007199254740991"
	wantInterval = "an integer from 1 to 527040"
	wantVisible  = "must have at least one visible character"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	one := func(name, code, detail string) []fault.Field {
		return []fault.Field{{Name: name, Code: code, Detail: name + " " + detail}}
	}
	for name, test := range map[string]struct {
		edit func(d *syncs.Draft)
		want []fault.Field // nil if the draft is still valid
	}{
		"good":                      {func(*syncs.Draft) {}, nil},
		"no optional field":         {func(d *syncs.Draft) { d.CronExpression, d.CursorField = nil, nil }, nil},
		"source 0":                  {func(d *syncs.Draft) { d.SourceID = new(int64(0)) }, one("source_id", "out_of_range", "must be "+wantID)},
		"source -1":                 {func(d *syncs.Draft) { d.SourceID = new(int64(-1)) }, one("source_id", "out_of_range", "must be "+wantID)},
		"source 2^53-1":             {func(d *syncs.Draft) { d.SourceID = new(int64(1<<53 - 1)) }, nil},
		"source 2^53":               {func(d *syncs.Draft) { d.SourceID = new(int64(1 << 53)) }, one("source_id", "out_of_range", "must be "+wantID)},
		"no source":                 {func(d *syncs.Draft) { d.SourceID = nil }, one("source_id", "required", "is required and must be "+wantID)},
		"source of another type":    {func(d *syncs.Draft) { d.SourceID, d.Mistyped = nil, []string{"source_id"} }, one("source_id", "wrong_type", "must be "+wantID)},
		"destination 0":             {func(d *syncs.Draft) { d.DestinationID = new(int64(0)) }, one("destination_id", "out_of_range", "must be "+wantID)},
		"model 2^53":                {func(d *syncs.Draft) { d.ModelID = new(int64(1 << 53)) }, one("model_id", "out_of_range", "must be "+wantID)},
		"another schedule type":     {func(d *syncs.Draft) { d.ScheduleType = new("manual") }, one("schedule_type", "not_in_enum", `must be "automated"`)},
		"another case":              {func(d *syncs.Draft) { d.ScheduleType = new("Automated") }, one("schedule_type", "not_in_enum", `must be "automated"`)},
		"no schedule type":          {func(d *syncs.Draft) { d.ScheduleType = nil }, one("schedule_type", "required", `is required and must be "automated"`)},
		"no configuration":          {func(d *syncs.Draft) { d.Configuration = nil }, one("configuration", "required", "is required and must be an object")},
		"64 levels":                 {func(d *syncs.Draft) { d.Configuration = new(nested(64)) }, nil},
		"65 levels":                 {func(d *syncs.Draft) { d.Configuration = new(nested(65)) }, one("configuration", "too_deep", "must be nested at most 64 levels deep")},
		"no stream":                 {func(d *syncs.Draft) { d.StreamName = nil }, one("stream_name", "required", "is required and must be a string of 1 to 255 characters")},
		"empty stream":              {func(d *syncs.Draft) { d.StreamName = new("") }, one("stream_name", "blank", wantVisible)},
		"blank stream":              {func(d *syncs.Draft) { d.StreamName = new(" \u00a0\u3000") }, one("stream_name", "blank", wantVisible)},
		"stream of 255":             {func(d *syncs.Draft) { d.StreamName = new("  " + strings.Repeat("ü", 255) + " ") }, nil},
		"stream of 256":             {func(d *syncs.Draft) { d.StreamName = new(strings.Repeat("ü", 256)) }, one("stream_name", "too_long", "must have at most 255 characters, got 256")},
		"stream with a tab":         {func(d *syncs.Draft) { d.StreamName = new("a\tb") }, one("stream_name", "control_character", "must not contain control characters such as line breaks and tabs")},
		"stream with a line end":    {func(d *syncs.Draft) { d.StreamName = new("a\n") }, one("stream_name", "control_character", "must not contain control characters such as line breaks and tabs")},
		"stream with a C1":          {func(d *syncs.Draft) { d.StreamName = new("a\u0085b") }, one("stream_name", "control_character", "must not contain control characters such as line breaks and tabs")},
		"another mode":              {func(d *syncs.Draft) { d.SyncMode = new("incremental") }, one("sync_mode", "not_in_enum", `must be "full_refresh"`)},
		"interval 0":                {func(d *syncs.Draft) { d.SyncInterval = new(int64(0)) }, one("sync_interval", "out_of_range", "must be "+wantInterval)},
		"interval 1":                {func(d *syncs.Draft) { d.SyncInterval = new(int64(1)) }, nil},
		"interval of a leap year":   {func(d *syncs.Draft) { d.SyncInterval = new(int64(527040)) }, nil},
		"interval over a leap year": {func(d *syncs.Draft) { d.SyncInterval = new(int64(527041)) }, one("sync_interval", "out_of_range", "must be "+wantInterval)},
		"another unit":              {func(d *syncs.Draft) { d.SyncIntervalUnit = new("hours") }, one("sync_interval_unit", "not_in_enum", `must be "minutes"`)},
		"cron of another type":      {func(d *syncs.Draft) { d.CronExpression, d.Mistyped = nil, []string{"cron_expression"} }, one("cron_expression", "wrong_type", "must be a string")},
		"cron of 255":               {func(d *syncs.Draft) { d.CronExpression = new("0" + strings.Repeat(",0", 123) + " 6 * * *") }, nil},
		"cron of 256":               {func(d *syncs.Draft) { d.CronExpression = new("0" + strings.Repeat(",0", 123) + " 6 * * * ") }, one("cron_expression", "too_long", "must have at most 255 characters, got 256")},
		"cron of 256 spaces":        {func(d *syncs.Draft) { d.CronExpression = new(strings.Repeat(" ", 256)) }, one("cron_expression", "too_long", "must have at most 255 characters, got 256")},
		"cron of 256 rockets":       {func(d *syncs.Draft) { d.CronExpression = new(strings.Repeat("🚀", 256)) }, one("cron_expression", "too_long", "must have at most 255 characters, got 256")},
		"cursor of 255":             {func(d *syncs.Draft) { d.CursorField = new(strings.Repeat("ü", 255)) }, nil},
		"cursor of 256":             {func(d *syncs.Draft) { d.CursorField = new(strings.Repeat("ü", 256)) }, one("cursor_field", "too_long", "must have at most 255 characters, got 256")},
		"cursor in spaces":          {func(d *syncs.Draft) { d.CursorField = new(" \u3000" + strings.Repeat("ü", 255) + "\u00a0") }, nil},
		"no cursor":                 {func(d *syncs.Draft) { d.CursorField = new("") }, nil},
		"blank cursor":              {func(d *syncs.Draft) { d.CursorField = new(" \u00a0\u3000") }, one("cursor_field", "blank", wantVisible)},
		"invisible cursor":          {func(d *syncs.Draft) { d.CursorField = new("\u200b") }, one("cursor_field", "blank", wantVisible)},
		"cursor with a line end":    {func(d *syncs.Draft) { d.CursorField = new("id\n") }, one("cursor_field", "control_character", "must not contain control characters such as line breaks and tabs")},
		"cursor of another type":    {func(d *syncs.Draft) { d.CursorField, d.Mistyped = nil, []string{"cursor_field"} }, one("cursor_field", "wrong_type", "must be a string of 1 to 255 characters")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draft := good()
			test.edit(&draft)
			if diff := cmp.Diff(test.want, fieldsOf(t, draft.Validate())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestValidateReportsAll checks that one error has every violation, in the order of
// the public document.
func TestValidateReportsAll(t *testing.T) {
	t.Parallel()
	var got []string
	for _, field := range fieldsOf(t, syncs.Draft{CronExpression: new("never"), CursorField: new(strings.Repeat("a", 256))}.Validate()) {
		got = append(got, field.Name+" "+field.Code)
	}
	want := []string{
		"source_id required", "destination_id required", "model_id required", "schedule_type required",
		"configuration required", "stream_name required", "sync_mode required", "sync_interval required",
		"sync_interval_unit required", "cron_expression invalid_cron", "cursor_field too_long",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestValidateExplainsCron(t *testing.T) {
	t.Parallel()
	for _, cron := range []string{"*/90 * * * *", "0 0 30 2 *", "0 6 * * 1-5 *", "L", strings.Repeat("🚀", 255)} {
		draft := good()
		draft.CronExpression = &cron
		fields := fieldsOf(t, draft.Validate())
		if len(fields) != 1 || fields[0].Code != "invalid_cron" || !strings.Contains(fields[0].Detail, `such as "0 6 * * 1-5": `) {
			t.Errorf("%s: got %+v", cron, fields)
		}
	}
}

// TestInvisible checks names of one character: those without a glyph are blank, and
// the code points next to them are not.
func TestInvisible(t *testing.T) {
	t.Parallel()
	for _, c := range "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180e\u180f\u200b\u200f\u2028\u202a\u202e\u205f\u2060\u2065\u206f\u2800\u3164\ufe00\ufe0f\ufeff\uffa0\ufff0\ufff8\ufff9\ufffb\U0001bca0\U0001d173\U0001d17a\U000e0000\U000e0001\U000e0041\U000e0100\U000e0fff" {
		for _, text := range []string{string(c), "\u3000" + string(c) + " " + string(c), strings.Repeat(string(c), 255)} {
			draft := good()
			draft.StreamName, draft.CursorField = &text, &text
			var got []string
			for _, f := range fieldsOf(t, draft.Validate()) {
				got = append(got, f.Name+" "+f.Code)
			}
			if diff := cmp.Diff([]string{"stream_name blank", "cursor_field blank"}, got); diff != "" {
				t.Errorf("%U: %s", c, diff)
			}
		}
		text := "a" + string(c)
		draft := good()
		draft.StreamName, draft.CursorField = &text, &text
		if err := draft.Validate(); err != nil {
			t.Errorf("a and %U: %v", c, err)
		}
	}
	// Arabic number signs are format characters with a glyph.
	for _, c := range "!aé🚀\u0301\u0600\u06dd\u115e\u1161\u2010\u27ff\u2801\u3163\u3165\uff9f\uffa1\ufffc\U000110bd\U000e1000" {
		text := string(c)
		draft := good()
		draft.StreamName, draft.CursorField = &text, &text
		if err := draft.Validate(); err != nil {
			t.Errorf("%U: %v", c, err)
		}
	}
}

func TestDepth(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		`1`: 0, `"[{"`: 0, `{}`: 1, `[]`: 1, `{"a":[1,[2],3]}`: 3, `{"\"{[":{}}`: 2, `{"a":"\\"}`: 1, `[[],[[]],[]]`: 3,
	} {
		if got := syncs.Depth(text); got != want {
			t.Errorf("Depth(%s) = %d, want %d", text, got, want)
		}
	}
}

func nested(levels int) string {
	return strings.Repeat(`{"a":`, levels-1) + "{}" + strings.Repeat("}", levels-1)
}

// fieldsOf returns the violations in err, which must be a fault.Invalid or nil.
func fieldsOf(t *testing.T, err error) []fault.Field {
	t.Helper()
	if err == nil {
		return nil
	}
	invalid, ok := errors.AsType[*fault.Error](err)
	if !ok || invalid.Kind != fault.Invalid {
		t.Fatalf("got %v, want a fault.Invalid", err)
	}
	return invalid.Fields
}
