package schedule_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncplane/pkg/schedule"
)

// TestParse checks that equivalent expressions parse to equal values.
func TestParse(t *testing.T) {
	t.Parallel()
	for text, same := range map[string]string{
		schedule.Example:          "0 6 * * MON-FRI",
		"* * * * *":               "*/1 0-23 1-31/1 1-12 */1",
		"  0\t6  * * * ":          "0 6 * * *",
		"0 0 1 jan *":             "0 0 1 1 *",
		"0 0 1 JAN,Feb-apr,12 *":  "0 0 1 1-4,12 *",
		"0 0 * * 7":               "0 0 * * 0",
		"0 0 * * SUN":             "0 0 * * 0",
		"0 0 * * FRI-SUN":         "0 0 * * 0,5,6",
		"0 0 * * SUN-TUE":         "0 0 * * 0-2",
		"0 0 * * SUN-SUN":         "0 0 * * 0",
		"0 0 * * sUn-tUE":         "0 0 * * 0-2",
		"0 0 * * FRI-sun":         "0 0 * * 0,5,6",
		"0 0 */01 * 1":            "0 0 * * 1",
		"0 0 1 * */001":           "0 0 1 * *",
		"*/01 */1 */1 */0001 */1": "* * * * *",
		"*/45 * * * *":            "0,45 * * * *",
		"*/045 * * * *":           "0,45 * * * *",
		"0 0 * * 5-7":             "0 0 * * 0,5,6",
		"*/20 * * * *":            "0,20,40 * * * *",
		"10-40/15 * * * *":        "10,25,40 * * * *",
		"*/60 */24 * */12 *":      "0 0 * 1 *",
		"0 0 */31 * *":            "0 0 1 * *",
		"0 0 * * */7":             "0 0 * * 0",
		"59 23 31 12 6":           "59 23 31 12 SAT",
		"00 006 * * *":            "0 6 * * *",
		"0 0 29 2 *":              "0 0 29 feb *",
		"0 0 31 2,4,5 *":          "0 0 31 5,4,2 *",
		"0 0 30 2 MON":            "0 0 30 2 1", // either day: Mondays in February
		"1,1,1 * * * *":           "1 * * * *",
	} {
		got, err := schedule.Parse(text)
		want, err2 := schedule.Parse(same)
		if err != nil || err2 != nil || got != want {
			t.Errorf("%q: %+v, %v; %q: %+v, %v", text, got, err, same, want, err2)
		}
	}
}

// TestParseDistinguishes checks that expressions which are not equivalent parse to
// different values.
func TestParseDistinguishes(t *testing.T) {
	t.Parallel()
	for text, other := range map[string]string{
		"0 0 1 * *": "0 0 1 * 1",
		"0 0 * * 1": "0 0 1-31 * 1", // 1-31 is restricted, so either day is enough
		"0 0 2 * *": "0 0 */2 * *",
		"0 * * * *": "* 0 * * *",
	} {
		got, err := schedule.Parse(text)
		differs, err2 := schedule.Parse(other)
		if err != nil || err2 != nil || got == differs {
			t.Errorf("%q: %+v, %v; %q: %+v, %v", text, got, err, other, differs, err2)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const fields = "expected the fields minute, hour, day-of-month, month and day-of-week, got "
	for text, want := range map[string]string{
		"":                                   fields + "0 of them",
		"@daily":                             fields + "1 of them",
		"0 6 * *":                            fields + "4 of them",
		"0 0 6 * * *":                        fields + "6 of them",
		"CRON_TZ=UTC 0 6 * * *":              fields + "6 of them",
		"60 * * * *":                         `minute must be 0-59, got "60"`,
		"-1 * * * *":                         `minute must be 0-59, got ""`,
		"+5 * * * *":                         `minute must be 0-59, got "+5"`,
		"\u0665 * * * *":                     "minute must be 0-59, got \"\u0665\"",
		"0 24 * * *":                         `hour must be 0-23, got "24"`,
		"0 0 0 * *":                          `day-of-month must be 1-31, got "0"`,
		"0 0 32 * *":                         `day-of-month must be 1-31, got "32"`,
		"0 0 L * *":                          `day-of-month must be 1-31, got "L"`,
		"0 0 15W * *":                        `day-of-month must be 1-31, got "15W"`,
		"0 0 ? * *":                          `day-of-month must be 1-31, got "?"`,
		"0 0 1 0 *":                          `month must be 1-12, got "0"`,
		"0 0 1 13 *":                         `month must be 1-12, got "13"`,
		"0 0 * * \u017fun":                   "day-of-week must be 0-7, got \"\u017fun\"",
		"0 0 * * FRI-\u017fUN":               "day-of-week must be 0-7, got \"\u017fUN\"",
		"0 0 * * \uff33\uff35\uff2e":         "day-of-week must be 0-7, got \"\uff33\uff35\uff2e\"",
		"0 0 1 \u017fep *":                   "month must be 1-12, got \"\u017fep\"",
		"*/\u0661 * * * *":                   "minute \"*/\u0661\" has a step that is not a number from 1 to 60",
		"0 0 1 MON *":                        `month must be 1-12, got "MON"`,
		"0 0 1 january *":                    `month must be 1-12, got "january"`,
		"0 0 * * 8":                          `day-of-week must be 0-7, got "8"`,
		"0 0 * * mon#1":                      `day-of-week must be 0-7, got "mon#1"`,
		"0,, * * * *":                        `minute must be 0-59, got ""`,
		"1--2 * * * *":                       `minute must be 0-59, got "-2"`,
		"0\n 6 * * *":                        `minute must be 0-59, got "0\n"`,
		"99999999999999999999 * * * *":       `minute must be 0-59, got "99999999999999999999"`,
		"30-10 * * * *":                      `minute "30-10" is a range that runs backwards; list two ranges instead`,
		"0 0 * * FRI-MON":                    `day-of-week "FRI-MON" is a range that runs backwards; list two ranges instead`,
		"5/15 * * * *":                       `minute "5/15" has a step on a single value; write 5-59/15`,
		"*/0 * * * *":                        `minute "*/0" has a step that is not a number from 1 to 60`,
		"*/ * * * *":                         `minute "*/" has a step that is not a number from 1 to 60`,
		"*/5/5 * * * *":                      `minute "*/5/5" has a step that is not a number from 1 to 60`,
		"*/61 * * * *":                       `minute "*/61" has a step longer than the field's 60 values, so it would not fire every 61; use sync_interval for that`,
		"*/90 * * * *":                       `minute "*/90" has a step longer than the field's 60 values, so it would not fire every 90; use sync_interval for that`,
		"0 */25 * * *":                       `hour "*/25" has a step longer than the field's 24 values, so it would not fire every 25; use sync_interval for that`,
		"0 0 */32 * *":                       `day-of-month "*/32" has a step longer than the field's 31 values, so it would not fire every 32; use sync_interval for that`,
		"0 0 * */13 *":                       `month "*/13" has a step longer than the field's 12 values, so it would not fire every 13; use sync_interval for that`,
		"0 0 * * */8":                        `day-of-week "*/8" has a step longer than the field's 7 values, so it would not fire every 8; use sync_interval for that`,
		"0 0 30 2 *":                         "it never fires, as no month that it names has such a day",
		"0 0 31 2,4,6,9,11 *":                "it never fires, as no month that it names has such a day",
		strings.Repeat("1", 50) + " * * * *": `minute must be 0-59, got "` + strings.Repeat("1", 40) + `…"`,
	} {
		if _, err := schedule.Parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// TestParseGrammar draws fields from the grammar and checks that each is accepted, and
// that a list is equivalent to the list of its values.
func TestParseGrammar(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bounds := [][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 6}}
		var written, listed []string
		for _, b := range bounds {
			low := rapid.IntRange(b[0], b[1]).Draw(t, "low")
			high := rapid.IntRange(low, b[1]).Draw(t, "high")
			step := rapid.IntRange(1, b[1]-b[0]+1).Draw(t, "step")
			written = append(written, fmt.Sprintf("%d-%d/%d", low, high, step))
			var values []string
			for v := low; v <= high; v += step {
				values = append(values, fmt.Sprint(v))
			}
			listed = append(listed, strings.Join(values, ","))
		}
		got, err := schedule.Parse(strings.Join(written, " "))
		want, err2 := schedule.Parse(strings.Join(listed, " "))
		if err != nil || err2 != nil || got != want {
			t.Fatalf("%v: %+v, %v; %v: %+v, %v", written, got, err, listed, want, err2)
		}
	})
}

// TestParseStored checks that an expression which an earlier version accepted keeps
// its run times.
func TestParseStored(t *testing.T) {
	t.Parallel()
	for text, same := range map[string]string{
		schedule.Example:                                 schedule.Example,
		"0 0 * * \u017fun":                               "0 0 * * SUN",
		"0 0 * * FRI-\u017fUN":                           "0 0 * * FRI-SUN",
		"0 0 1 \u017fep \u017fAT":                        "0 0 1 SEP SAT",
		"0" + strings.Repeat(",0", 100_000) + " 6 * * *": "0 6 * * *",
	} {
		got, err := schedule.ParseStored(text)
		want, err2 := schedule.Parse(same)
		if err != nil || err2 != nil || got != want {
			t.Errorf("%.40q: %+v, %v; %q: %+v, %v", text, got, err, same, want, err2)
		}
	}
	for _, text := range []string{"", "0 0 * * \uff33\uff35\uff2e", "*/90 * * * *", "0 0 30 2 *", "0 6 * * * *"} {
		_, want := schedule.Parse(text)
		if _, err := schedule.ParseStored(text); err == nil || want == nil || err.Error() != want.Error() {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
	}
}

// TestUneven checks which steps are reported, and when they run.
func TestUneven(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		schedule.Example:            nil,
		"*/15 */6 * */3 *":          nil,
		"*/1 */01 */1 * */1":        nil,
		"*/60 */24 */31 */12 */7":   nil,
		"10-40/15 8-18/2 * * *":     nil,
		"*/30,*/20 * * * *":         nil,
		"*/45 * * * *":              {"minute */45 runs at 0 and 45, not every 45 minutes"},
		"*/045 * * * *":             {"minute */045 runs at 0 and 45, not every 45 minutes"},
		"*/7 * * * *":               {"minute */7 runs at 0, 7, 14, 21, 28, 35, 42, 49 and 56, not every 7 minutes"},
		"*/31 * * * *":              {"minute */31 runs at 0 and 31, not every 31 minutes"},
		"0-59/59 * * * *":           {"minute 0-59/59 runs at 0 and 59, not every 59 minutes"},
		"0 */5 * * *":               {"hour */5 runs at 0, 5, 10, 15 and 20, not every 5 hours"},
		"0 */23 * * *":              {"hour */23 runs at 0 and 23, not every 23 hours"},
		"0 0 */2 * *":               {"day-of-month */2 runs at 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29 and 31, not every 2 days"},
		"0 0 */16 * *":              {"day-of-month */16 runs at 1 and 17, not every 16 days"},
		"0 0 1 */5 *":               {"month */5 runs at 1, 6 and 11, not every 5 months"},
		"0 0 1 JAN-dec/7 *":         {"month JAN-dec/7 runs at 1 and 8, not every 7 months"},
		"0 0 * * */2":               {"day-of-week */2 runs at 0, 2, 4 and 6, not every 2 days"},
		"0 0 * * 1-7/4":             {"day-of-week 1-7/4 runs at 1 and 5, not every 4 days"},
		"0 8-18/7 * * *":            {"hour 8-18/7 runs at 8 and 15, not every 7 hours"},
		"0-10/30 * * * *":           {"minute 0-10/30 runs at 0, not every 30 minutes"},
		"7-7/5 * * * *":             {"minute 7-7/5 runs at 7, not every 5 minutes"},
		"7-7/1 3-3/24 * * *":        nil,
		"5,*/45,20-30/25 */9 * * *": {"minute */45 runs at 0 and 45, not every 45 minutes", "minute 20-30/25 runs at 20, not every 25 minutes", "hour */9 runs at 0, 9 and 18, not every 9 hours"},
		"*/" + strings.Repeat("0", 60) + "45 * * * *": {"minute */" + strings.Repeat("0", 38) + "… runs at 0 and 45, not every 45 minutes"},
		"*/90 * * * *": nil, // it is refused
		"no cron":      nil,
	} {
		if diff := cmp.Diff(want, schedule.Uneven(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

// TestUnevenGaps checks against the run times that a step which is not reported runs
// at equal gaps around the clock, and that a reported one does not.
func TestUnevenGaps(t *testing.T) {
	t.Parallel()
	for step := 1; step <= 60; step++ {
		text := fmt.Sprintf("*/%d * * * *", step)
		at, gaps := start, map[time.Duration]bool{}
		for i := range 200 {
			next := parse(t, text).Next(at)
			if i > 0 {
				gaps[next.Sub(at)] = true
			}
			at = next
		}
		even := len(gaps) == 1 && gaps[time.Duration(step)*time.Minute]
		if got := schedule.Uneven(text); (len(got) == 0) != even {
			t.Errorf("%s: the gaps are %v, reported is %v", text, gaps, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{schedule.Example, "*/90 * * * *", "0 0 30 2 *", "@daily", "0 0 * * FRI-SUN", "5/15 * * * *"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := schedule.Parse(text)
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("an error of %d bytes: %v", len(err.Error()), err)
		}
		if _, stored := schedule.ParseStored(text); err == nil && stored != nil {
			t.Errorf("%q is accepted by Parse and not by ParseStored: %v", text, stored)
		}
		if err != nil && len(schedule.Uneven(text)) > 0 {
			t.Errorf("%q is invalid, and Uneven returns %v", text, schedule.Uneven(text))
		}
	})
}
