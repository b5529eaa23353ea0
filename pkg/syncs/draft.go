package syncs

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
)

// The bounds of a sync. Those of numbers and text are the contract's.
const (
	MaxID       = 1<<53 - 1     // the largest integer that every JSON reader keeps exactly (RFC 7493)
	MaxInterval = 366 * 24 * 60 // minutes; a leap year
	MaxText     = 255           // characters (Unicode code points) of stream_name, cursor_field and cron_expression
	MaxDepth    = 64            // levels of nesting in configuration, itself the first
)

// wantLabel describes stream_name and cursor_field, as far as a type does; the
// number is MaxText. It is a constant because every create passes by it.
const wantLabel = "a string of 1 to 255 characters"

// The enumerations of the public document: one value each today.
const (
	ScheduleAutomated = "automated"
	ModeFullRefresh   = "full_refresh"
	UnitMinutes       = "minutes"
)

// Draft is what a client asks for, before it is checked. A nil field was not
// given.
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
	CronExpression   *string // "" is none, as is nil
	CursorField      *string // "" is none, as is nil

	// Status, ID and CreatedAt are for a change alone, whose client may send
	// all that it has read: they must be those of the sync.
	Status    *string
	ID        *string
	CreatedAt *time.Time

	// Mistyped names the fields that were given with a type that no Draft
	// can hold, such as a string for source_id.
	Mistyped []string
}

// Validate returns nil or a fault.Invalid with every violation, in the order
// of the public document.
func (d Draft) Validate() error {
	var faults []fault.Field
	reject := func(name, code, format string, args ...any) {
		faults = append(faults, fault.Field{
			Name:   name,
			Code:   code,
			Detail: name + " " + fmt.Sprintf(format, args...),
		})
	}
	// usable reports whether a field has a value worth a closer look.
	usable := func(name, want string, given, required bool) bool {
		switch {
		case slices.Contains(d.Mistyped, name):
			reject(name, "wrong_type", "must be %s", want)
			return false
		case !given && required:
			reject(name, "required", "is required and must be %s", want)
		}
		return given
	}
	integer := func(name string, value *int64, most int64) {
		if value != nil && *value >= 1 && *value <= most && len(d.Mistyped) == 0 {
			return // most are
		}
		want := fmt.Sprintf("an integer from 1 to %d", most)
		if usable(name, want, value != nil, true) && (*value < 1 || *value > most) {
			reject(name, "out_of_range", "must be %s", want)
		}
	}
	constant := func(name string, value *string, only string) {
		if value != nil && *value == only && len(d.Mistyped) == 0 {
			return
		}
		want := fmt.Sprintf("%q", only)
		if usable(name, want, value != nil, true) && *value != only {
			reject(name, "not_in_enum", "must be %s", want)
		}
	}

	label := func(name string, value *string, required bool) {
		if !usable(name, wantLabel, value != nil && (required || *value != ""), required) {
			return
		}
		switch length := utf8.RuneCountInString(strings.TrimSpace(*value)); {
		case strings.ContainsFunc(*value, unicode.IsControl):
			reject(name, "control_character", "must not contain control characters such as line breaks and tabs")
		case !strings.ContainsFunc(*value, visible):
			reject(name, "blank", "must have at least one visible character")
		case length > MaxText:
			reject(name, "too_long", "must have at most %d characters, got %d", MaxText, length)
		}
	}

	integer("source_id", d.SourceID, MaxID)
	integer("destination_id", d.DestinationID, MaxID)
	integer("model_id", d.ModelID, MaxID)
	constant("schedule_type", d.ScheduleType, ScheduleAutomated)
	if usable("configuration", "an object", d.Configuration != nil, true) && Depth(*d.Configuration) > MaxDepth {
		reject("configuration", "too_deep", "must be nested at most %d levels deep", MaxDepth)
	}
	label("stream_name", d.StreamName, true)
	constant("sync_mode", d.SyncMode, ModeFullRefresh)
	integer("sync_interval", d.SyncInterval, MaxInterval)
	constant("sync_interval_unit", d.SyncIntervalUnit, UnitMinutes)
	if usable("cron_expression", "a string", textOf(d.CronExpression) != "", false) {
		if length := utf8.RuneCountInString(*d.CronExpression); length > MaxText {
			reject("cron_expression", "too_long", "must have at most %d characters, got %d", MaxText, length)
		} else if _, err := schedule.Parse(*d.CronExpression); err != nil {
			reject("cron_expression", "invalid_cron", "must be five cron fields that fire at some time, such as %q: %s", schedule.Example, err)
		}
	}
	label("cursor_field", d.CursorField, false)

	if len(faults) > 0 {
		return &fault.Error{Kind: fault.Invalid, Fields: faults}
	}
	return nil
}

// sync is the Sync that a valid d describes, at its beginning.
func (d Draft) sync(workspace, id string, now time.Time) Sync {
	now = instant(now)
	s := Sync{Workspace: workspace, ID: id, Version: 1, Status: Pending, CreatedAt: now, UpdatedAt: now, ScheduledAt: now}
	d.describe(&s)
	return s
}

// describe puts what a valid d says into s.
func (d Draft) describe(s *Sync) {
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

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// visible reports whether a character shows anything. Those that do not are
// white space, format characters and what is default-ignorable (Unicode, PropList
// and DerivedCoreProperties), and the empty Braille pattern. The prepended
// concatenation marks are format characters with a glyph.
func visible(c rune) bool {
	const blankBraille = '\u2800'
	switch {
	case c < unicode.MaxASCII:
		return c > ' '
	case unicode.Is(unicode.Prepended_Concatenation_Mark, c):
		return true
	}
	return c != blankBraille && !unicode.IsSpace(c) && !unicode.IsControl(c) &&
		!unicode.In(c, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// instant is t as a Sync keeps it.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Depth counts the levels of nesting in text, which must be well-formed JSON:
// a scalar has none, {} has one. It is here because the bound on it is a rule
// of the domain, and counting brackets needs no JSON library.
func Depth(text string) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++ // what is escaped is not a closing quote
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}
