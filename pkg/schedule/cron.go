// Package schedule owns when a sync runs. It is pure: standard library only,
// and the clock comes from the caller.
package schedule

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Example is a valid expression, for error messages.
const Example = "0 6 * * 1-5"

// Cron is a parsed cron expression: a bit for each value of each field that
// matches. The zero Cron matches nothing; only Parse makes a useful one.
//
// A day matches as POSIX has it: where both day fields are restricted either is
// enough. A field is restricted unless it is * or */1.
type Cron struct {
	minutes, hours, days, months, weekdays uint64
	eitherDay                              bool // both day fields are restricted: one match is enough
}

// field is one of the five. The bounds are POSIX's (crontab, XCU); that
// Sunday is 7 as well as 0 is every cron's.
type field struct {
	name     string
	unit     string // of a step
	min, max int
	values   int // how many different ones there are
	names    []string
}

func fields() [5]field {
	return [5]field{
		{"minute", "minutes", 0, 59, 60, nil},
		{"hour", "hours", 0, 23, 24, nil},
		{"day-of-month", "days", 1, 31, 31, nil},
		{"month", "months", 1, 12, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
		{"day-of-week", "days", 0, 7, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
	}
}

// Parse reads five POSIX fields: minute, hour, day of month, month, day of
// week, in UTC. The error says what is wrong and is fit for a client. An
// expression that never fires is refused.
func Parse(text string) (Cron, error) {
	parts := split(text)
	if len(parts) != 5 {
		return Cron{}, fmt.Errorf("expected the fields minute, hour, day-of-month, month and day-of-week, got %d of them", len(parts))
	}
	var sets [5]uint64
	for i, f := range fields() {
		set, err := f.parse(parts[i])
		if err != nil {
			return Cron{}, err
		}
		sets[i] = set
	}
	c := Cron{sets[0], sets[1], sets[2], sets[3], sets[4], !open(parts[2]) && !open(parts[4])}
	if c.weekdays&(1<<7) != 0 {
		c.weekdays = c.weekdays&^(1<<7) | 1
	}
	if !c.fires() {
		return Cron{}, errors.New("it never fires, as no month that it names has such a day")
	}
	return c, nil
}

// fires reports whether any date matches. Where weekdays count at all, one
// comes every week; otherwise some month must be long enough.
func (c Cron) fires() bool { return c.eitherDay || c.dated() }

// dated reports whether a month that c names has a day that c names.
func (c Cron) dated() bool {
	for month := 1; month <= 12; month++ {
		if c.months&(1<<month) != 0 && bits.TrailingZeros64(c.days) <= longest(month) {
			return true
		}
	}
	return false
}

// longest is how many days a month has at most: 29 in February.
func longest(month int) int {
	return time.Date(2024, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parse reads a list of *, values, ranges and steps into a set of bits.
func (f field) parse(text string) (uint64, error) {
	var set uint64
	for part := range strings.SplitSeq(text, ",") {
		it, err := f.item(part)
		if err != nil {
			return 0, err
		}
		for v := it.low; v <= it.high; v += it.step {
			set |= 1 << v
		}
	}
	return set, nil
}

// item is one member of a list: each step-th value from low to high.
type item struct{ low, high, step int }

// item reads one member of a list.
func (f field) item(text string) (item, error) {
	span, stepText, stepped := strings.Cut(text, "/")
	it := item{f.min, f.max, 1}
	if span != "*" {
		from, to, ranged := strings.Cut(span, "-")
		var err error
		if it.low, err = f.value(from); err != nil {
			return it, err
		}
		it.high = it.low
		if ranged {
			if it.high, err = f.value(to); err != nil {
				return it, err
			}
			if it.high < it.low && f.max == 7 && equalFold(to, "SUN") {
				it.high = 7 // as in FRI-SUN
			}
		} else if stepped {
			return it, fmt.Errorf("%s %q has a step on a single value; write %d-%d/%s", f.name, cut(text), it.low, f.max, cut(stepText))
		}
		if it.low > it.high {
			return it, fmt.Errorf("%s %q is a range that runs backwards; list two ranges instead", f.name, cut(text))
		}
	}
	if stepped {
		var err error
		if it.step, err = number(stepText); err != nil || it.step < 1 {
			return it, fmt.Errorf("%s %q has a step that is not a number from 1 to %d", f.name, cut(text), f.values)
		}
		if it.step > f.values {
			return it, fmt.Errorf("%s %q has a step longer than the field's %d values, so it would not fire every %d; use sync_interval for that", f.name, cut(text), f.values, it.step)
		}
	}
	return it, nil
}

// open reports whether a field that could be parsed is * or */1, however many
// zeros the 1 has before it.
func open(text string) bool {
	step, stepped := strings.CutPrefix(text, "*/")
	return text == "*" || stepped && strings.TrimLeft(step, "0") == "1"
}

// value reads a number or a name.
func (f field) value(text string) (int, error) {
	for i, name := range f.names {
		if equalFold(text, name) {
			return f.min + i, nil
		}
	}
	v, err := number(text)
	if err != nil || v < f.min || v > f.max {
		return 0, fmt.Errorf("%s must be %d-%d, got %q", f.name, f.min, f.max, cut(text))
	}
	return v, nil
}

// equalFold reports whether text is an ASCII name but for the case of its
// letters. To strings.EqualFold a long s is an S too, but it has more bytes.
func equalFold(text, name string) bool {
	return len(text) == len(name) && strings.EqualFold(text, name)
}

// ParseStored is Parse for an expression that was validated when it was stored.
// It accepts what earlier versions did, too: names with a letter that Unicode
// folds to one of ASCII.
func ParseStored(text string) (Cron, error) {
	cron, err := Parse(text)
	if err == nil {
		return cron, nil
	}
	folded := strings.NewReplacer("\u017f", "s", "\u212a", "k").Replace(text) // all that there are (Unicode, CaseFolding)
	if folded == text {
		return cron, err
	}
	return Parse(folded)
}

// Uneven returns a sentence for each step of an expression that does not divide
// its field, or that its range is too short for: the distances between its runs
// are not all what the step says. There is none for an invalid expression.
func Uneven(text string) []string {
	if !strings.Contains(text, "/") {
		return nil
	}
	if _, err := Parse(text); err != nil {
		return nil
	}
	var sentences []string
	for i, f := range fields() {
		for part := range strings.SplitSeq(split(text)[i], ",") {
			it, err := f.item(part)
			if err != nil {
				return nil
			}
			var runs []string
			for v := it.low; v <= it.high && len(runs) < f.values; v += it.step {
				runs = append(runs, strconv.Itoa(v))
			}
			if f.values%it.step != 0 || it.step > 1 && it.step < f.values && len(runs) == 1 {
				sentences = append(sentences, fmt.Sprintf("%s %s runs at %s, not every %d %s", f.name, cut(part), and(runs), it.step, f.unit))
			}
		}
	}
	return sentences
}

// split returns the fields of an expression.
func split(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' })
}

// number reads digits; no sign, no space, as Atoi would allow.
func number(text string) (int, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(text)
}

// cut shortens what is repeated to the client.
func cut(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}
