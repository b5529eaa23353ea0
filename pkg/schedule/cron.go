// Package schedule computes when a sync runs: by an interval or by a cron expression,
// which it parses, evaluates and describes in words. It does not know syncs, time
// zones other than UTC or the expressions of EventBridge Scheduler. It uses the
// standard library only; the caller passes the time.
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

// Cron is a parsed cron expression: for each field the set of values that match, one
// bit each. The zero Cron matches nothing; Parse returns others.
//
// A day matches as in POSIX: if both day fields are restricted, a match of either is
// enough. A field is restricted unless it is * or */1.
type Cron struct {
	minutes, hours, days, months, weekdays uint64
	eitherDay                              bool // both day fields are restricted: a match of either is enough
}

// field describes one of the five fields. The bounds are those of POSIX (crontab,
// XCU); 7 for Sunday is an extension that cron implementations share.
type field struct {
	name     string
	unit     string // of a step
	min, max int
	values   int // the number of different values
	names    []string
}

var fields = [5]field{ //nolint:gochecknoglobals // a table
	{"minute", "minutes", 0, 59, 60, nil},
	{"hour", "hours", 0, 23, 24, nil},
	{"day-of-month", "days", 1, 31, 31, nil},
	{"month", "months", 1, 12, 12, []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{"day-of-week", "days", 0, 7, 7, []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

// Parse parses five POSIX fields: minute, hour, day of month, month, day of week, in
// UTC. It returns an error, whose text may be shown to a client, for a malformed
// expression and for one that never fires.
func Parse(text string) (Cron, error) {
	parts := split(text)
	if len(parts) != 5 {
		return Cron{}, fmt.Errorf("expected the fields minute, hour, day-of-month, month and day-of-week, got %d of them", len(parts))
	}
	var sets [5]uint64
	for i := range fields {
		set, err := fields[i].parse(parts[i])
		if err != nil {
			return Cron{}, err
		}
		sets[i] = set
	}
	c := Cron{sets[0], sets[1], sets[2], sets[3], sets[4], restricted(parts[2]) && restricted(parts[4])}
	if c.weekdays&(1<<7) != 0 {
		c.weekdays = c.weekdays&^(1<<7) | 1
	}
	if !c.fires() {
		return Cron{}, errors.New("it never fires, as no month that it names has such a day")
	}
	return c, nil
}

// fires reports whether any date matches: if either day field is enough, some weekday
// does; otherwise a month must have one of the days.
func (c Cron) fires() bool { return c.eitherDay || c.dated() }

// dated reports whether one of the months of c has one of its days.
func (c Cron) dated() bool {
	for month := 1; month <= 12; month++ {
		if c.months&(1<<month) != 0 && bits.TrailingZeros64(c.days) <= maxDays(month) {
			return true
		}
	}
	return false
}

// maxDays returns the largest number of days that a month can have: 29 for February.
func maxDays(month int) int {
	return time.Date(2024, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// parse parses a list of *, values, ranges and steps into a set of bits.
func (f *field) parse(text string) (uint64, error) {
	var set uint64
	for part := range strings.SplitSeq(text, ",") {
		it, err := f.parseItem(part)
		if err != nil {
			return 0, err
		}
		for v := it.low; v <= it.high; v += it.step {
			set |= 1 << v
		}
	}
	return set, nil
}

// item is one element of a list: every step-th value from low to high.
type item struct{ low, high, step int }

// parseItem parses one element of a list.
func (f *field) parseItem(text string) (item, error) {
	span, stepText, stepped := strings.Cut(text, "/")
	it := item{f.min, f.max, 1}
	if span != "*" {
		from, to, ranged := strings.Cut(span, "-")
		var err error
		if it.low, err = f.parseValue(from); err != nil {
			return it, err
		}
		it.high = it.low
		if ranged {
			if it.high, err = f.parseValue(to); err != nil {
				return it, err
			}
			if it.high < it.low && f.max == 7 && equalFold(to, "SUN") {
				it.high = 7 // as in FRI-SUN
			}
		} else if stepped {
			return it, fmt.Errorf("%s %q has a step on a single value; write %d-%d/%s", f.name, truncate(text), it.low, f.max, truncate(stepText))
		}
		if it.low > it.high {
			return it, fmt.Errorf("%s %q is a range that runs backwards; list two ranges instead", f.name, truncate(text))
		}
	}
	if stepped {
		var err error
		if it.step, err = parseDigits(stepText); err != nil || it.step < 1 {
			return it, fmt.Errorf("%s %q has a step that is not a number from 1 to %d", f.name, truncate(text), f.values)
		}
		if it.step > f.values {
			return it, fmt.Errorf("%s %q has a step longer than the field's %d values, so it would not fire every %d; use sync_interval for that", f.name, truncate(text), f.values, it.step)
		}
	}
	return it, nil
}

// restricted reports whether a valid field is other than * and */1; the 1 may have
// leading zeros.
func restricted(text string) bool {
	step, stepped := strings.CutPrefix(text, "*/")
	return text != "*" && (!stepped || strings.TrimLeft(step, "0") != "1")
}

// parseValue parses a number or a name.
func (f *field) parseValue(text string) (int, error) {
	for i, name := range f.names {
		if equalFold(text, name) {
			return f.min + i, nil
		}
	}
	v, err := parseDigits(text)
	if err != nil || v < f.min || v > f.max {
		return 0, fmt.Errorf("%s must be %d-%d, got %q", f.name, f.min, f.max, truncate(text))
	}
	return v, nil
}

// equalFold reports whether text equals an ASCII name, ignoring case. For
// strings.EqualFold a long s also equals an S; its encoding has more bytes.
func equalFold(text, name string) bool {
	return len(text) == len(name) && strings.EqualFold(text, name)
}

// ParseStored parses an expression that was validated when it was stored. In addition
// to Parse it accepts what earlier versions did: names with a letter that Unicode
// folds to an ASCII one.
func ParseStored(text string) (Cron, error) {
	cron, err := Parse(text)
	if err == nil {
		return cron, nil
	}
	folded := strings.NewReplacer("\u017f", "s", "\u212a", "k").Replace(text) // the only such letters (Unicode, CaseFolding)
	if folded == text {
		return cron, err
	}
	return Parse(folded)
}

// Uneven returns a sentence for each step of an expression that does not divide its
// field or whose range has a single value, so that some runs are not a step apart. It
// returns none for an invalid expression.
func Uneven(text string) []string {
	if !strings.Contains(text, "/") {
		return nil
	}
	if _, err := Parse(text); err != nil {
		return nil
	}
	var sentences []string
	for i := range fields {
		f := &fields[i]
		for part := range strings.SplitSeq(split(text)[i], ",") {
			it, err := f.parseItem(part)
			if err != nil {
				return nil
			}
			var runs []string
			for v := it.low; v <= it.high && len(runs) < f.values; v += it.step {
				runs = append(runs, strconv.Itoa(v))
			}
			if f.values%it.step != 0 || it.step > 1 && it.step < f.values && len(runs) == 1 {
				sentences = append(sentences, fmt.Sprintf("%s %s runs at %s, not every %d %s", f.name, truncate(part), enumerate(runs), it.step, f.unit))
			}
		}
	}
	return sentences
}

// split splits an expression into its fields.
func split(text string) []string {
	return strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' })
}

// parseDigits parses a decimal number without a sign, which strconv.Atoi allows.
func parseDigits(text string) (int, error) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.Atoi(text)
}

// truncate shortens a text of the client for an error message.
func truncate(text string) string {
	if len(text) > 40 {
		return strings.ToValidUTF8(text[:40], "") + "…"
	}
	return text
}
