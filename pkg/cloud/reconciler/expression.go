package reconciler

import (
	"fmt"
	"strconv"
	"strings"

	"syncplane/pkg/schedule"
)

// Expressions returns s in the language of EventBridge Scheduler (its user guide,
// "Schedule types"): one expression, or two if a sync runs when either matches. A
// rate counts from the start date of its schedule, which must be one of its runs.
func Expressions(s schedule.Schedule) []string {
	if minutes, ok := s.Interval(); ok {
		if minutes == 1 {
			return []string{"rate(1 minute)"}
		}
		return []string{fmt.Sprintf("rate(%d minutes)", minutes)}
	}
	cron, _ := s.Cron()
	return cronExpressions(cron.Fields())
}

// cronExpressions returns f as expressions of six fields: minute, hour, day of
// month, month, day of week, year. Scheduler counts weekdays from Sunday as 1,
// requires ? in one of the day fields, and otherwise runs only on days that match
// both. "Either day" therefore takes two expressions.
func cronExpressions(f schedule.Fields) []string {
	const anyDay = "?"
	days, weekdays := anyDay, anyDay
	if len(f.Days) < 31 {
		days = list(f.Days, 1, 31)
	}
	if len(f.Weekdays) < 7 {
		fromOne := make([]int, len(f.Weekdays))
		for i, day := range f.Weekdays {
			fromOne[i] = day + 1
		}
		weekdays = list(fromOne, 1, 7)
	}
	expression := func(days, weekdays string) string {
		return fmt.Sprintf("cron(%s %s %s %s %s *)", list(f.Minutes, 0, 59), list(f.Hours, 0, 23), days, list(f.Months, 1, 12), weekdays)
	}
	switch {
	case f.EitherDay && (days == anyDay || weekdays == anyDay), // one of them matches every day
		days == anyDay && weekdays == anyDay:
		return []string{expression("*", anyDay)}
	case f.EitherDay && len(f.Days) == 0: // no such date: only the weekdays remain
		return []string{expression(anyDay, weekdays)}
	case f.EitherDay:
		return []string{expression(days, anyDay), expression(anyDay, weekdays)}
	default:
		return []string{expression(days, weekdays)}
	}
}

// list writes ascending values as * if they are all from low to high, otherwise as
// single values and ranges. The longest expression has 240 characters; Scheduler
// takes 256.
func list(values []int, low, high int) string {
	if len(values) == high-low+1 {
		return "*"
	}
	var items []string
	for i := 0; i < len(values); i++ {
		first := values[i]
		for i+1 < len(values) && values[i+1] == values[i]+1 {
			i++
		}
		item := strconv.Itoa(first)
		if last := values[i]; last > first {
			item += "-" + strconv.Itoa(last)
		}
		items = append(items, item)
	}
	return strings.Join(items, ",")
}
