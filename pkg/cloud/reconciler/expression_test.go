package reconciler_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/schedule"
	"syncplane/pkg/schedule/scheduletest"
)

func parse(tb rapid.TB, text string) schedule.Schedule {
	tb.Helper()
	c, err := schedule.Parse(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return schedule.At(c)
}

// calendar holds the days, and the minutes of a day, at which a schedule runs.
type calendar struct {
	days    [years * 366]bool // from firstDay on
	minutes [24 * 60]bool
}

const years = 9 // with three leap years

func firstDay() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// date is a day of a calendar.
type date struct {
	start               time.Time
	month, day, weekday int // the latter from 1 on, as in an expression of Scheduler
}

// dates returns the days of a calendar, and the day after them.
func dates() *[years*366 + 1]date {
	var all [years*366 + 1]date
	for i := range all {
		start := firstDay().AddDate(0, 0, i)
		all[i] = date{start, int(start.Month()), start.Day(), int(start.Weekday()) + 1}
	}
	return &all
}

// runsOf returns when s runs according to Next, which the tests of pkg/schedule
// compare with POSIX. A cron expression runs at the same minutes on each of its
// days.
func runsOf(s schedule.Schedule, dates *[years*366 + 1]date) calendar {
	var c calendar
	measured := false
	next := s.Next(dates[0].start.Add(-time.Second))
	for i := range c.days {
		day, end := dates[i].start, dates[i+1].start
		if c.days[i] = next.Before(end); !c.days[i] {
			continue
		}
		for ; !measured && next.Before(end); next = s.Next(next) {
			c.minutes[int(next.Sub(day)/time.Minute)] = true
		}
		measured = true
		next = s.Next(end.Add(-time.Second))
	}
	return c
}

// members evaluates a field of Scheduler's: ?, *, or values and ranges.
func members(tb rapid.TB, text string, low, high int) (all [60]bool) {
	tb.Helper()
	for item := range strings.SplitSeq(text, ",") {
		if item == "?" {
			continue
		}
		from, to := low, high
		if item != "*" {
			first, last, ranged := strings.Cut(item, "-")
			from, _ = strconv.Atoi(first)
			to = from
			if ranged {
				to, _ = strconv.Atoi(last)
			}
		}
		if from < low || to > high {
			tb.Fatalf("%q is not between %d and %d", item, low, high)
		}
		for v := from; v <= to; v++ {
			all[v] = true
		}
	}
	return all
}

// evaluate returns when an expression runs as EventBridge Scheduler's user guide
// defines it.
func evaluate(tb rapid.TB, text string, dates *[years*366 + 1]date) calendar {
	tb.Helper()
	inner, ok := strings.CutPrefix(text, "cron(")
	inner, closed := strings.CutSuffix(inner, ")")
	f := strings.Fields(inner)
	if !ok || !closed || len(f) != 6 || f[5] != "*" || (f[2] == "?") == (f[4] == "?") || len(text) > 256 {
		tb.Fatalf("%q is not a valid expression of Scheduler", text)
	}
	minutes, hours := members(tb, f[0], 0, 59), members(tb, f[1], 0, 23)
	days, months, weekdays := members(tb, f[2], 1, 31), members(tb, f[3], 1, 12), members(tb, f[4], 1, 7)
	var c calendar
	anyDay, anyWeekday := f[2] == "?", f[4] == "?"
	for i := range c.days {
		d := &dates[i]
		c.days[i] = months[d.month] && (anyDay || days[d.day]) && (anyWeekday || weekdays[d.weekday])
	}
	for h := range 24 {
		for m := range 60 {
			c.minutes[h*60+m] = hours[h] && minutes[m]
		}
	}
	return c
}

// TestExpressions checks over several years that the expressions of a schedule run
// at the same minutes as the schedule, and that each of them runs at all.
func TestExpressions(t *testing.T) {
	t.Parallel()
	dates := dates()
	rapid.Check(t, func(t *rapid.T) {
		text := scheduletest.DrawCron(t)
		var got calendar
		expressions := reconciler.Expressions(parse(t, text))
		for i, e := range expressions {
			one := evaluate(t, e, dates)
			if one.days == (calendar{}).days {
				t.Fatalf("%s: %s never fires", text, e)
			}
			for day, fires := range one.days {
				got.days[day] = got.days[day] || fires
			}
			if i > 0 && got.minutes != one.minutes {
				t.Fatalf("%s: the two expressions differ in more than days: %v", text, expressions)
			}
			got.minutes = one.minutes
		}
		if want := runsOf(parse(t, text), dates); got != want {
			t.Fatalf("%s as %v: %s", text, expressions, cmp.Diff(want, got, cmp.AllowUnexported(calendar{})))
		}
	})
}

func TestExpressionsByExample(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"* * * * *":             {"cron(* * * * ? *)"},
		"0 6 * * 1-5":           {"cron(0 6 ? * 2-6 *)"},
		"0 0 * * 0":             {"cron(0 0 ? * 1 *)"},
		"0 0 * * 7":             {"cron(0 0 ? * 1 *)"},
		"0 0 1 * *":             {"cron(0 0 1 * ? *)"},
		"0 0 13 * FRI":          {"cron(0 0 13 * ? *)", "cron(0 0 ? * 6 *)"},
		"0 0 30 2 MON":          {"cron(0 0 ? 2 2 *)"},
		"0 0 1-31 * 1":          {"cron(0 0 * * ? *)"},
		"0 0 13 * 0-6":          {"cron(0 0 * * ? *)"},
		"0 0 30 2 0-6":          {"cron(0 0 * 2 ? *)"},
		"*/20 8-18 * JAN,FEB *": {"cron(0,20,40 8-18 * 1-2 ? *)"},
	} {
		if diff := cmp.Diff(want, reconciler.Expressions(parse(t, text))); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	for minutes, want := range map[int64]string{1: "rate(1 minute)", 123: "rate(123 minutes)", 527040: "rate(527040 minutes)"} {
		if diff := cmp.Diff([]string{want}, reconciler.Expressions(schedule.Every(minutes, firstDay()))); diff != "" {
			t.Error(diff)
		}
	}
	longest := "0-1,3-4,6-7,9-10,12-13,15-16,18-19,21-22,24-25,27-28,30-31,33-34,36-37,39-40,42-43,45-46,48-49,51-52,54-55,57-58 " +
		"0-1,3-4,6-7,9-10,12-13,15-16,18-19,21-22 1-2,4-5,7-8,10-11,13-14,16-17,19-20,22-23,25-26,28-29,31 1-2,4-5,7-8,10-11 *"
	evaluate(t, reconciler.Expressions(parse(t, longest))[0], dates())
	if words := parse(t, longest).String(); len(words) > 512 { // the longest description that Scheduler takes
		t.Errorf("%d characters: %s", len(words), words)
	}
}
