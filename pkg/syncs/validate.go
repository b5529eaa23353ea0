package syncs

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
)

// validation collects the violations of a draft. Its methods check one field each,
// by the name of the field and its value, which is nil if the field was not given.
type validation struct {
	mistyped   []string // names of fields whose value has another type
	violations []fault.Field
}

// presence states whether a field must be given.
type presence bool

const (
	required presence = true
	optional presence = false
)

// reject adds a violation. The detail begins with the name of the field.
func (v *validation) reject(name, code, format string, args ...any) {
	v.violations = append(v.violations, fault.Field{
		Name:   name,
		Code:   code,
		Detail: name + " " + fmt.Sprintf(format, args...),
	})
}

// present reports whether a field has a value of its type to check. It adds a
// violation if the type is another, or if a required field was not given.
func (v *validation) present(name, want string, given bool, need presence) bool {
	switch {
	case slices.Contains(v.mistyped, name):
		v.reject(name, "wrong_type", "must be %s", want)
		return false
	case !given && need == required:
		v.reject(name, "required", "is required and must be %s", want)
	}
	return given
}

// integer checks that a required integer is from 1 to most.
func (v *validation) integer(name string, value *int64, most int64) {
	if value != nil && *value >= 1 && *value <= most && len(v.mistyped) == 0 {
		return // without the description, which allocates
	}
	want := fmt.Sprintf("an integer from 1 to %d", most)
	if v.present(name, want, value != nil, required) && (*value < 1 || *value > most) {
		v.reject(name, "out_of_range", "must be %s", want)
	}
}

// constant checks that a required text is the one that is allowed.
func (v *validation) constant(name string, value *string, allowed string) {
	if value != nil && *value == allowed && len(v.mistyped) == 0 {
		return // without the description, which allocates
	}
	want := fmt.Sprintf("%q", allowed)
	if v.present(name, want, value != nil, required) && *value != allowed {
		v.reject(name, "not_in_enum", "must be %s", want)
	}
}

// configuration checks the nesting of a required JSON object.
func (v *validation) configuration(name string, value *string) {
	if v.present(name, "an object", value != nil, required) && Depth(*value) > MaxDepth {
		v.reject(name, "too_deep", "must be nested at most %d levels deep", MaxDepth)
	}
}

// wantLabel describes a label. It is a constant, with the number of MaxText, so
// that a create does not allocate it.
const wantLabel = "a string of 1 to 255 characters"

// label checks a name: 1 to MaxText characters, white space around it not counted.
// An optional label may be "".
func (v *validation) label(name string, value *string, need presence) {
	if !v.present(name, wantLabel, value != nil && (need == required || *value != ""), need) {
		return
	}
	switch length := utf8.RuneCountInString(strings.TrimSpace(*value)); {
	case strings.ContainsFunc(*value, unicode.IsControl):
		v.reject(name, "control_character", "must not contain control characters such as line breaks and tabs")
	case Blank(*value):
		v.reject(name, "blank", "must have at least one visible character")
	case length > MaxText:
		v.reject(name, "too_long", "must have at most %d characters, got %d", MaxText, length)
	}
}

// cron checks an optional cron expression.
func (v *validation) cron(name string, value *string) {
	if !v.present(name, "a string", textOf(value) != "", optional) {
		return
	}
	if length := utf8.RuneCountInString(*value); length > MaxText {
		v.reject(name, "too_long", "must have at most %d characters, got %d", MaxText, length)
	} else if _, err := schedule.Parse(*value); err != nil {
		v.reject(name, "invalid_cron", "must be five cron fields that fire at some time, such as %q: %s", schedule.Example, err)
	}
}

// Blank reports whether text shows nothing: it has no visible character.
func Blank(text string) bool { return !strings.ContainsFunc(text, visible) }

// visible reports whether a character has a glyph. White space, format characters,
// default-ignorable characters (Unicode, PropList and DerivedCoreProperties) and the
// blank Braille pattern have none. The prepended concatenation marks are format
// characters with a glyph.
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

// Depth returns the levels of nesting in text, which must be well-formed JSON: 0
// for a scalar, 1 for {}. It counts brackets, which needs no JSON library.
func Depth(text string) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++ // an escaped quote does not end the string
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
