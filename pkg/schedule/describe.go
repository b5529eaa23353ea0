package schedule

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// String returns a description of s, such as "at 06:00 UTC on Monday to Friday".
func (s Schedule) String() string {
	const hour, day = 60, 24 * 60
	switch {
	case s.minutes == 0:
		return s.cron.String()
	case s.minutes%day == 0:
		return every(s.minutes/day, "day")
	case s.minutes%hour == 0:
		return every(s.minutes/hour, "hour")
	default:
		return every(s.minutes, "minute")
	}
}

func every(n int64, unit string) string {
	if n == 1 {
		return "every " + unit
	}
	return fmt.Sprintf("every %d %ss", n, unit)
}

// String returns a description of c.
func (c Cron) String() string {
	text := c.time() + " UTC"
	if day := c.day(); day != "" {
		text += " " + day
	}
	if months := fields[3]; c.months != allValues(months) {
		text += " in " + words(c.months, months, func(v int) string { return time.Month(v).String() })
	}
	return text
}

// maxTimes is the largest number of times of day that String lists one by one.
const maxTimes = 4

// time describes the times of day.
func (c Cron) time() string {
	minutes, hours := fields[0], fields[1]
	allHours := c.hours == allValues(hours)
	switch {
	case allHours && c.minutes == allValues(minutes):
		return "every minute"
	case bits.OnesCount64(c.minutes)*bits.OnesCount64(c.hours) <= maxTimes:
		var times []string
		for h := following(c.hours, 0); h >= 0; h = following(c.hours, h+1) {
			for m := following(c.minutes, 0); m >= 0; m = following(c.minutes, m+1) {
				times = append(times, fmt.Sprintf("%02d:%02d", h, m))
			}
		}
		return "at " + enumerate(times)
	}
	text := "every minute"
	if c.minutes != allValues(minutes) {
		text = "at minute " + words(c.minutes, minutes, nil)
	}
	if allHours {
		return text + " of every hour"
	}
	return text + " of hour " + words(c.hours, hours, nil)
}

// day describes the days; "" for every day.
func (c Cron) day() string {
	days, weekdays := fields[2], fields[4]
	var parts []string
	if c.days != allValues(days) {
		parts = append(parts, "on day "+words(c.days, days, nil)+" of the month")
	}
	if c.weekdays != allValues(weekdays) {
		weekdays.max = 6
		parts = append(parts, "on "+words(c.weekdays, weekdays, func(v int) string { return time.Weekday(v).String() }))
	}
	switch {
	case c.eitherDay && len(parts) < 2: // one of the fields matches every day
		return ""
	case c.eitherDay:
		return strings.Join(parts, " or ")
	default:
		return strings.Join(parts, " ")
	}
}

// words describes a set by its values and ranges, with name if it is not nil.
func words(set uint64, f field, name func(v int) string) string {
	if name == nil {
		name = func(v int) string { return fmt.Sprint(v) }
	}
	var items []string
	for v := following(set, 0); v >= 0 && v <= f.max; v = following(set, v+1) {
		low := v
		for set>>(v+1)&1 == 1 && v < f.max {
			v++
		}
		switch v - low {
		case 0:
			items = append(items, name(v))
		case 1:
			items = append(items, name(low), name(v))
		default:
			items = append(items, name(low)+" to "+name(v))
		}
	}
	return enumerate(items)
}

// enumerate joins items with commas and "and".
func enumerate(items []string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:len(items)-1], ", ") + " and " + items[len(items)-1]
}
