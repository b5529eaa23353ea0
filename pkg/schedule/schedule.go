package schedule

import (
	"math/bits"
	"time"
)

// Schedule determines when a sync runs: at the minutes that match a Cron, or at an
// interval that starts at an anchor. All times are UTC and whole seconds.
type Schedule struct {
	cron    Cron
	minutes int64 // of the interval; 0 for a cron
	anchor  int64 // of the interval, seconds since 1970
}

// Every returns the Schedule that runs at anchor + k × minutes, k = 1, 2, …. minutes
// is at least 1; a fraction of a second in anchor is dropped.
func Every(minutes int64, anchor time.Time) Schedule {
	return Schedule{minutes: minutes, anchor: anchor.Unix()}
}

// At returns the Schedule that runs whenever c matches.
func At(c Cron) Schedule { return Schedule{cron: c} }

// Next returns the first run later than after, and the zero time if there is none,
// which only the zero Schedule has.
func (s Schedule) Next(after time.Time) time.Time {
	if s.minutes == 0 {
		return s.cron.next(after)
	}
	step := s.minutes * 60
	runs := (after.Unix() - s.anchor) / step
	if after.Unix() < s.anchor {
		runs = 0
	}
	return time.Unix(s.anchor+(runs+1)*step, 0).UTC()
}

// maxSkew is how far the anchor of an interval may be in the future: a later one means
// that the clock has been set back since. Our own choice.
const maxSkew = time.Minute

// From returns s with its runs extended into the past if they would begin more than a
// minute after a moment: an interval that was set while the clock was ahead continues
// with the corrected clock.
func (s Schedule) From(moment time.Time) Schedule {
	if s.minutes > 0 && s.anchor > moment.Add(maxSkew).Unix() {
		step := s.minutes * 60
		s.anchor -= (s.anchor - moment.Unix() + step - 1) / step * step
	}
	return s
}

// Last returns the latest run that is later than since and not later than until. ok is
// false if there is none. It takes the same time for any number of runs.
func (s Schedule) Last(since, until time.Time) (last time.Time, ok bool) {
	first := s.Next(since)
	if first.IsZero() || first.After(until) {
		return time.Time{}, false
	}
	if s.minutes > 0 {
		next := s.Next(until)
		return next.Add(-time.Duration(s.minutes) * time.Minute), true
	}
	return s.cron.last(until), true
}

// Times returns the next n runs.
func (s Schedule) Times(after time.Time, n int) []time.Time {
	times := make([]time.Time, 0, n)
	for len(times) < n {
		after = s.Next(after)
		if after.IsZero() {
			break
		}
		times = append(times, after)
	}
	return times
}

// longestGap is the largest number of years between two runs: eight from one 29
// February to the next around a year such as 1900, which has none.
const longestGap = 8

// next returns the first match after a time, and the zero time if there is none.
func (c Cron) next(after time.Time) time.Time {
	t := after.UTC().Truncate(time.Minute).Add(time.Minute)
	for limit := t.Year() + longestGap; t.Year() <= limit; {
		year, month, day := t.Date()
		if c.months>>month&1 == 0 {
			t = time.Date(year, month+1, 1, 0, 0, 0, 0, time.UTC)
			continue
		}
		hour := following(c.hours, t.Hour())
		if hour < 0 || !c.onDay(t) {
			t = time.Date(year, month, day+1, 0, 0, 0, 0, time.UTC)
			continue
		}
		minute := 0
		if hour == t.Hour() {
			minute = t.Minute()
		}
		if minute = following(c.minutes, minute); minute < 0 {
			t = time.Date(year, month, day, hour+1, 0, 0, 0, time.UTC)
			continue
		}
		return time.Date(year, month, day, hour, minute, 0, 0, time.UTC)
	}
	return time.Time{}
}

// last returns the latest match that is not after a time; there must be one.
func (c Cron) last(until time.Time) time.Time {
	t := until.UTC().Truncate(time.Minute)
	for {
		year, month, day := t.Date()
		hour, minute := preceding(c.hours, t.Hour()), -1
		if hour >= 0 {
			most := 59
			if hour == t.Hour() {
				most = t.Minute()
			}
			if minute = preceding(c.minutes, most); minute < 0 {
				hour, minute = preceding(c.hours, hour-1), preceding(c.minutes, 59)
			}
		}
		switch {
		case c.months>>month&1 == 0:
			t = time.Date(year, month, 1, 0, -1, 0, 0, time.UTC)
		case hour < 0 || !c.onDay(t):
			t = time.Date(year, month, day, 0, -1, 0, 0, time.UTC)
		default:
			return time.Date(year, month, day, hour, minute, 0, 0, time.UTC)
		}
	}
}

// onDay reports whether the day of t matches.
func (c Cron) onDay(t time.Time) bool {
	day, weekday := c.days>>t.Day()&1 == 1, c.weekdays>>t.Weekday()&1 == 1
	if c.eitherDay {
		return day || weekday
	}
	return day && weekday
}

// following returns the smallest value of a set that is at least v, -1 if there is
// none.
func following(set uint64, v int) int {
	if rest := set >> v; rest != 0 {
		return v + bits.TrailingZeros64(rest)
	}
	return -1
}

// preceding returns the largest value of a set that is at most v, -1 if there is
// none.
func preceding(set uint64, v int) int {
	if v < 0 {
		return -1
	}
	return bits.Len64(set<<(63-v)>>(63-v)) - 1
}

// Interval returns the minutes between two runs. ok is false for a Schedule that
// runs by a Cron.
func (s Schedule) Interval() (minutes int64, ok bool) { return s.minutes, s.minutes > 0 }

// Anchor returns the time from which the interval of s counts.
func (s Schedule) Anchor() time.Time { return time.Unix(s.anchor, 0).UTC() }

// Cron returns the expression by which s runs. ok is false for an interval.
func (s Schedule) Cron() (c Cron, ok bool) { return s.cron, s.minutes == 0 }

// Fields lists the values of each field of a Cron, in ascending order.
type Fields struct {
	Minutes, Hours []int
	Days           []int // of the month; empty if none of Months has such a day
	Months         []int // January is 1
	Weekdays       []int // Sunday is 0
	EitherDay      bool  // a date that matches Days or Weekdays is enough; otherwise it must match both
}

// Fields returns the values at which c runs.
func (c Cron) Fields() Fields {
	f := Fields{
		Minutes: values(c.minutes), Hours: values(c.hours), Days: values(c.days),
		Months: values(c.months), Weekdays: values(c.weekdays), EitherDay: c.eitherDay,
	}
	if !c.dated() {
		f.Days = nil
	}
	return f
}

// values returns the members of a set.
func values(set uint64) []int {
	members := make([]int, 0, bits.OnesCount64(set))
	for v := following(set, 0); v >= 0; v = following(set, v+1) {
		members = append(members, v)
	}
	return members
}

// allValues returns the set of all values of a field; Sunday is 0.
func allValues(f field) uint64 {
	var set uint64
	for v := f.min; v < f.min+f.values; v++ {
		set |= 1 << v
	}
	return set
}
