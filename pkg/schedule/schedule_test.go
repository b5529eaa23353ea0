package schedule_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adhocore/gronx"
	"github.com/google/go-cmp/cmp"
	netresearch "github.com/netresearch/go-cron"
	robfig "github.com/robfig/cron/v3"
	"pgregory.net/rapid"

	"syncplane/pkg/schedule"
	"syncplane/pkg/schedule/scheduletest"
)

var start = time.Date(2026, time.November, 24, 3, 14, 15, 926e6, time.UTC)

func parse(tb rapid.TB, text string) schedule.Schedule {
	tb.Helper()
	c, err := schedule.Parse(text)
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return schedule.At(c)
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"* * * * *":       {"2026-11-24T03:15", "2026-11-24T03:16"},
		"*/20 * * * *":    {"2026-11-24T03:20", "2026-11-24T03:40", "2026-11-24T04:00"},
		"0 6 * * 1-5":     {"2026-11-24T06:00", "2026-11-25T06:00", "2026-11-26T06:00", "2026-11-27T06:00", "2026-11-30T06:00"},
		"14 3 * * *":      {"2026-11-25T03:14"},
		"0 0 29 2 *":      {"2028-02-29T00:00", "2032-02-29T00:00"},
		"59 23 31 * *":    {"2026-12-31T23:59", "2027-01-31T23:59", "2027-03-31T23:59"},
		"0 0 13 * FRI":    {"2026-11-27T00:00", "2026-12-04T00:00", "2026-12-11T00:00", "2026-12-13T00:00"},
		"0 0 30 2 MON":    {"2027-02-01T00:00", "2027-02-08T00:00"},
		"5,1 12,0 1 1 *":  {"2027-01-01T00:01", "2027-01-01T00:05", "2027-01-01T12:01"},
		"0 0 * * 7":       {"2026-11-29T00:00", "2026-12-06T00:00"},
		"30 1-2,22 1 * *": {"2026-12-01T01:30", "2026-12-01T02:30", "2026-12-01T22:30", "2027-01-01T01:30"},
	} {
		var got []string
		for _, at := range parse(t, text).Times(start, len(want)) {
			got = append(got, at.Format("2006-01-02T15:04"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	// 2100 is not a leap year.
	century := parse(t, "0 0 29 2 *").Next(time.Date(2096, time.March, 1, 0, 0, 0, 0, time.UTC))
	if want := time.Date(2104, time.February, 29, 0, 0, 0, 0, time.UTC); !century.Equal(want) {
		t.Errorf("got %v, want %v", century, want)
	}
}

// TestNoDrift checks that the millionth run of an interval is exact to the second, for
// any times at which Next is called.
func TestNoDrift(t *testing.T) {
	t.Parallel()
	for _, minutes := range []int64{1, 7, 45, 90, 123, 1440, 527040} {
		s := schedule.Every(minutes, start)
		at := start
		for range 1_000_000 {
			at = s.Next(at)
		}
		if want := start.Unix() + 1_000_000*minutes*60; at.Unix() != want || at.Nanosecond() != 0 {
			t.Errorf("every %d minutes: got %d, want %d", minutes, at.Unix(), want)
		}
	}
}

// TestInterval checks that Next returns the first multiple of the interval after a
// time.
func TestInterval(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.Int64Range(1, 527040).Draw(t, "minutes")
		anchor := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "anchor"), rapid.Int64Range(0, 999_999_999).Draw(t, "fraction"))
		after := anchor.Add(time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "seconds"))*time.Second + time.Duration(rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")))
		s := schedule.Every(minutes, anchor)
		next, step := s.Next(after), time.Duration(minutes)*time.Minute
		runs := next.Sub(anchor.Truncate(time.Second)) / step
		if !next.After(after) || runs < 1 || next.Sub(anchor.Truncate(time.Second))%step != 0 {
			t.Fatalf("after %v comes %v", after, next)
		}
		if runs > 1 && next.Add(-step).After(after) {
			t.Fatalf("after %v comes %v, and a run was left out", after, next)
		}
	})
}

// TestFrom checks that an interval which starts too late is extended into the past, and
// that others are not changed.
func TestFrom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.Int64Range(1, 527040).Draw(t, "minutes")
		behind := time.Duration(rapid.Int64Range(-1e9, 1e9).Draw(t, "behind")) * time.Second
		s, step := schedule.Every(minutes, start), time.Duration(minutes)*time.Minute
		moment := start.Add(-behind)
		next := s.From(moment).Next(moment)
		want := s.Next(moment)
		if behind > time.Minute {
			want = want.Add(-want.Sub(moment.Add(1)) / step * step)
		}
		if !next.Equal(want) || !next.After(moment) {
			t.Fatalf("%v before its beginning a run every %v is at %v, want %v", behind, step, next, want)
		}
	})
	cron := parse(t, "0 6 * * *")
	if got := cron.From(time.Unix(0, 0)); got != cron {
		t.Errorf("a cron becomes %v", got)
	}
}

// TestLast checks that Last returns the latest of all runs in a period.
func TestLast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := parse(t, scheduletest.DrawCron(t))
		if rapid.Bool().Draw(t, "interval") {
			s = schedule.Every(rapid.Int64Range(1, 5000).Draw(t, "minutes"), start)
		}
		since := start.Add(time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "since")) * time.Second)
		until := since.Add(time.Duration(rapid.Int64Range(0, 3e6).Draw(t, "for")) * time.Second)
		var want time.Time
		for at := s.Next(since); !at.IsZero() && !at.After(until); at = s.Next(at) {
			want = at
		}
		got, ok := s.Last(since, until)
		if ok != !want.IsZero() || ok && !got.Equal(want) {
			t.Fatalf("from %v to %v: got %v %v, want %v", since, until, got, ok, want)
		}
	})
}

// matcher is the set of values of a field.
type matcher map[int]bool

// parseField parses a field, independently of the parser under test.
func parseField(text string, low, high int) matcher {
	m := matcher{}
	for item := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		from, to := low, high
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			from, _ = strconv.Atoi(first)
			to = from
			if ranged {
				to, _ = strconv.Atoi(last)
			}
		}
		step := 1
		if stepped {
			step, _ = strconv.Atoi(stepText)
		}
		for v := from; v <= to; v += step {
			m[v] = true
		}
	}
	return m
}

// calendar holds the days and the times of day at which an expression fires.
type calendar struct {
	days  [years * 366]bool // since 2026-01-01
	times [24 * 60]bool     // by minute of the day
}

const years = 9 // with three leap years

// firstDay returns the first day of a calendar.
func firstDay() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// date is a day of a calendar.
type date struct{ day, month, weekday int }

// dates returns the days of a calendar.
var dates = sync.OnceValue(func() []date {
	var all []date
	for day := firstDay(); day.Year() < 2026+years; day = day.AddDate(0, 0, 1) {
		all = append(all, date{day.Day(), int(day.Month()), int(day.Weekday())})
	}
	return all
})

func calendarOf(fires func(day date) bool, minutes, hours matcher) calendar {
	var c calendar
	for i, day := range dates() {
		c.days[i] = fires(day)
	}
	for m := range minutes {
		for h := range hours {
			c.times[h*60+m] = true
		}
	}
	return c
}

// posix evaluates an expression as the standard defines it (XCU, crontab).
func posix(text string) calendar {
	f := strings.Fields(text)
	days, months, weekdays := parseField(f[2], 1, 31), parseField(f[3], 1, 12), parseField(f[4], 0, 7)
	open := func(field string) bool {
		return field == "*" || strings.TrimLeft(strings.TrimPrefix(field, "*/"), "0") == "1" && field[0] == '*'
	}
	return calendarOf(func(d date) bool {
		weekday := weekdays[d.weekday] || d.weekday == 0 && weekdays[7]
		switch {
		case !months[d.month]:
			return false
		case open(f[2]) || open(f[4]):
			return days[d.day] && weekday
		default:
			return days[d.day] || weekday
		}
	}, parseField(f[0], 0, 59), parseField(f[1], 0, 23))
}

// TestFields checks that the listed values, evaluated as documented, are those of
// the standard.
func TestFields(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := scheduletest.DrawCron(t)
		c, ok := parse(t, text).Cron()
		if _, interval := parse(t, text).Interval(); !ok || interval {
			t.Fatalf("%s is an interval", text)
		}
		f := c.Fields()
		set := func(values []int) matcher {
			if !slices.IsSorted(values) {
				t.Fatalf("%s: %v is not sorted", text, values)
			}
			m := matcher{}
			for _, v := range values {
				m[v] = true
			}
			return m
		}
		days, months, weekdays := set(f.Days), set(f.Months), set(f.Weekdays)
		got := calendarOf(func(d date) bool {
			day, weekday := days[d.day], weekdays[d.weekday]
			return months[d.month] && (day && weekday || f.EitherDay && (day || weekday))
		}, set(f.Minutes), set(f.Hours))
		if want := posix(text); got != want {
			t.Fatalf("%s as %+v: %s", text, f, cmp.Diff(want, got, cmp.AllowUnexported(calendar{})))
		}
	})
	s := schedule.Every(45, start)
	_, cron := s.Cron()
	if minutes, ok := s.Interval(); minutes != 45 || !ok || cron {
		t.Errorf("got %d %v, a cron %v", minutes, ok, cron)
	}
	impossible, _ := parse(t, "0 0 30 2 MON").Cron()
	if days := impossible.Fields().Days; len(days) > 0 {
		t.Errorf("February has day %v", days)
	}
}

// TestNextByStandard checks that Next returns every minute at which an expression fires
// by the definition of POSIX, and no other.
func TestNextByStandard(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := scheduletest.DrawCron(t)
		s, want := parse(t, text), posix(text)
		at := firstDay().Add(-time.Minute)
		end := at.AddDate(0, rapid.IntRange(1, 3).Draw(t, "months"), 0)
		for day, i := firstDay(), 0; day.Before(end); day, i = day.AddDate(0, 0, 1), i+1 {
			for minute, fires := range want.times {
				if !fires || !want.days[i] {
					continue
				}
				next := day.Add(time.Duration(minute) * time.Minute)
				if at = s.Next(at); !at.Equal(next) {
					t.Fatalf("%s: got %v, want %v", text, at, next)
				}
			}
		}
	})
}

func TestString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"* * * * *":         "every minute UTC",
		"0 6 * * 1-5":       "at 06:00 UTC on Monday to Friday",
		"0,30 6,18 * * *":   "at 06:00, 06:30, 18:00 and 18:30 UTC",
		"5 * * * *":         "at minute 5 of every hour UTC",
		"*/15 8-18 * * *":   "at minute 0, 15, 30 and 45 of hour 8 to 18 UTC",
		"* 3 * * *":         "every minute of hour 3 UTC",
		"0 0 13 * FRI":      "at 00:00 UTC on day 13 of the month or on Friday",
		"0 0 1-31 * 1":      "at 00:00 UTC",
		"0 0 29 2 *":        "at 00:00 UTC on day 29 of the month in February",
		"0 0 * 1-3,12 6,0":  "at 00:00 UTC on Sunday and Saturday in January to March and December",
		"0 0 1,15-20,3 * *": "at 00:00 UTC on day 1, 3 and 15 to 20 of the month",
	} {
		if got := parse(t, text).String(); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	for minutes, want := range map[int64]string{1: "every minute", 45: "every 45 minutes", 60: "every hour", 90: "every 90 minutes", 180: "every 3 hours", 1440: "every day", 10080: "every 7 days"} {
		if got := schedule.Every(minutes, start).String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestOtherLibraries compares Next with widely used libraries, where their definitions
// agree with POSIX: for netresearch/go-cron, in which both restricted day fields must
// match, at most one is restricted; Sunday is 0; and no restricted day field contains
// a *, which each library treats differently.
func TestOtherLibraries(t *testing.T) {
	t.Parallel()
	counted := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		text := scheduletest.DrawCron(t)
		f := strings.Fields(text)
		both := f[2] != "*" && f[4] != "*"
		if strings.Contains(f[4], "7") || both && strings.Contains(f[2]+f[4], "*") {
			return
		}
		s := parse(t, text)
		others := map[string]func(after time.Time) time.Time{
			"gronx": func(after time.Time) time.Time {
				next, err := gronx.NextTickAfter(text, after, false)
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				return next
			},
		}
		if one, err := robfig.ParseStandard(text); err == nil {
			others["robfig"] = one.Next
		} else {
			t.Fatalf("%s: %v", text, err)
		}
		if one, err := netresearch.ParseStandard(text); err == nil && !both {
			others["netresearch"] = one.Next
		}
		for name, next := range others {
			at := start
			for range 20 {
				want := s.Next(at)
				if want.Year() > 2029 { // some give up after a few years
					break
				}
				if got := next(at); !got.Equal(want) {
					t.Fatalf("%s after %v: %s returns %v, we %v", text, at, name, got, want)
				}
				at = want
				counted[name]++
			}
		}
	})
	for _, name := range []string{"gronx", "netresearch", "robfig"} {
		if counted[name] == 0 {
			t.Errorf("nothing was compared with %s", name)
		}
	}
	t.Log(counted)
}

// TestOtherLibrariesDiffer records where the libraries differ from POSIX, and that
// Next does not.
func TestOtherLibrariesDiffer(t *testing.T) {
	t.Parallel()
	if _, err := robfig.ParseStandard("*/90 * * * *"); err != nil {
		t.Error("robfig/cron refuses */90 by now")
	}
	if !gronx.IsValid("*/90 * * * *") {
		t.Error("gronx refuses */90 by now")
	}
	if _, err := schedule.Parse("*/90 * * * *"); err == nil || !strings.Contains(err.Error(), "use sync_interval") {
		t.Errorf("got %v", err)
	}
	if _, err := robfig.ParseStandard("0 0 * * 7"); err == nil {
		t.Error("robfig/cron takes Sunday as 7 by now")
	}
	friday13, err := netresearch.ParseStandard("0 0 13 * FRI")
	if err != nil {
		t.Fatal(err)
	}
	if ours := parse(t, "0 0 13 * FRI").Next(start); !slices.Contains([]int{13, 27}, ours.Day()) || friday13.Next(start).Equal(ours) {
		t.Error("netresearch/go-cron takes either day by now")
	}
}
