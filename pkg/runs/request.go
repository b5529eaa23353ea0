package runs

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// The bounds of what executors send. Lengths are in characters (Unicode code
// points), the size of all failed rows in bytes of their text.
const (
	MaxExecutor     = 255
	MaxError        = 1000
	MaxErrorCode    = 100
	MaxLogURL       = 2048
	MaxRecords      = 100
	MaxRecordsSize  = 64 << 10
	MaxPrimaryKey   = 255
	MaxAction       = 50
	MaxCounter      = 1<<53 - 1 // the largest integer that every JSON decoder represents exactly (RFC 7493)
	maxFence        = 1<<53 - 1
	minLeaseSeconds = int64(MinLease / time.Second)
	maxLeaseSeconds = int64(MaxLease / time.Second)
)

// ClaimRequest requests the lease of a run. A nil field was not given.
type ClaimRequest struct {
	Executor     *string
	LeaseSeconds *int64 // DefaultLease if nil

	// Mistyped names the fields that were given with a type that the request
	// cannot hold, as do those of the other requests.
	Mistyped []string
}

func (r ClaimRequest) lease() time.Duration {
	if r.LeaseSeconds == nil {
		return DefaultLease
	}
	return time.Duration(*r.LeaseSeconds) * time.Second
}

// Validate returns nil or a fault.Invalid with every violation.
func (r ClaimRequest) Validate() error {
	v := violations{mistyped: r.Mistyped}
	v.text("executor", r.Executor, true, MaxExecutor)
	v.leaseSeconds(r.LeaseSeconds)
	return v.err()
}

// HeartbeatRequest extends a lease.
type HeartbeatRequest struct {
	Fence        *int64
	LeaseSeconds *int64 // that of the claim if nil
	Counters     Counters
	Mistyped     []string
}

func (r HeartbeatRequest) lease() time.Duration {
	if r.LeaseSeconds == nil {
		return 0
	}
	return time.Duration(*r.LeaseSeconds) * time.Second
}

// Validate returns nil or a fault.Invalid with every violation.
func (r HeartbeatRequest) Validate() error {
	v := violations{mistyped: r.Mistyped}
	v.integer("fence", r.Fence, true, 0, maxFence)
	v.leaseSeconds(r.LeaseSeconds)
	v.counters(r.Counters)
	return v.err()
}

// Report is an executor's report that a run has ended.
type Report struct {
	Fence         *int64
	Status        *string // one of ReportStatuses
	Counters      Counters
	Error         *string
	ErrorCode     *string
	LogURL        *string
	FailedRecords []Record
	Mistyped      []string
}

// ReportStatuses returns the states in which an executor may end a run.
func ReportStatuses() []Status { return []Status{Success, Failed, Canceled} }

// Validate returns nil or a fault.Invalid with every violation.
func (r Report) Validate() error {
	v := violations{mistyped: r.Mistyped}
	v.integer("fence", r.Fence, true, 0, maxFence)
	want := `"success", "failed" or "canceled"`
	if v.usable("status", want, r.Status != nil, true) {
		switch {
		case !slices.Contains(ReportStatuses(), Status(*r.Status)):
			v.reject("status", "not_in_enum", "must be %s", want)
		case Status(*r.Status) == Success && r.Counters.allFailed():
			v.rejectSuccess()
		}
	}
	v.counters(r.Counters)
	v.text("error", r.Error, false, MaxError)
	v.text("error_code", r.ErrorCode, false, MaxErrorCode)
	v.address("log_url", r.LogURL)
	v.records(r.FailedRecords)
	return v.err()
}

// allFailed reports whether rows failed and none succeeded.
func (c Counters) allFailed() bool {
	return c.FailedRows != nil && *c.FailedRows > 0 && c.SuccessfulRows != nil && *c.SuccessfulRows == 0
}

func (v *violations) rejectSuccess() {
	v.reject("status", "all_rows_failed", `must be "failed" if rows failed and none succeeded`)
}

// errAllFailed returns the error for a run that is reported as a success although all its
// rows failed.
func errAllFailed() error {
	var v violations
	v.rejectSuccess()
	return v.err()
}

// end returns run with the state and the counters of r.
func (r Report) end(run Run, now time.Time) Run {
	run.Counters = r.Counters.merge(run.Counters)
	run.Error, run.ErrorCode, run.LogURL = value(r.Error), value(r.ErrorCode), value(r.LogURL)
	run.Reported = true
	run.HasRecords = len(r.FailedRecords) > 0
	return run.end(Status(*r.Status), "", now)
}

// late returns r as it is stored on a run that it does not end.
func (r Report) late(now time.Time) *LateReport {
	return &LateReport{
		Fence: *r.Fence, Status: Status(*r.Status), ReceivedAt: now, Counters: r.Counters,
		Error: value(r.Error), ErrorCode: value(r.ErrorCode), LogURL: value(r.LogURL),
	}
}

// same reports whether two late reports are equal but for the time of their receipt.
func (l *LateReport) same(other *LateReport) bool {
	if other == nil {
		return false
	}
	equal := func(x, y *int64) bool { return x == nil && y == nil || x != nil && y != nil && *x == *y }
	return l.Fence == other.Fence && l.Status == other.Status &&
		l.Error == other.Error && l.ErrorCode == other.ErrorCode && l.LogURL == other.LogURL &&
		equal(l.TotalQueryRows, other.TotalQueryRows) && equal(l.TotalRows, other.TotalRows) &&
		equal(l.SkippedRows, other.SkippedRows) && equal(l.SuccessfulRows, other.SuccessfulRows) &&
		equal(l.FailedRows, other.FailedRows)
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// violations collects the violations of a request, in the order of the checks. Names
// of nested fields have a slash: counters/failed_rows.
type violations struct {
	mistyped []string
	fields   []fault.Field
}

func (v *violations) err() error {
	if len(v.fields) == 0 {
		return nil
	}
	return &fault.Error{Kind: fault.Invalid, Fields: v.fields}
}

func (v *violations) reject(name, code, format string, args ...any) {
	label := name[strings.LastIndexByte(name, '/')+1:]
	if label < ":" { // the index of an element
		label = name
	}
	v.fields = append(v.fields, fault.Field{
		Name: name, Code: code, Detail: label + " " + fmt.Sprintf(format, args...),
	})
}

// usable reports whether a field has a value to check further.
func (v *violations) usable(name, want string, given, required bool) bool {
	switch {
	case slices.Contains(v.mistyped, name):
		v.reject(name, "wrong_type", "must be %s", want)
		return false
	case !given && required:
		v.reject(name, "required", "is required and must be %s", want)
	}
	return given
}

func (v *violations) integer(name string, n *int64, required bool, least, most int64) {
	want := fmt.Sprintf("an integer from %d to %d", least, most)
	if v.usable(name, want, n != nil, required) && (*n < least || *n > most) {
		v.reject(name, "out_of_range", "must be %s", want)
	}
}

func (v *violations) leaseSeconds(n *int64) {
	v.integer("lease_seconds", n, false, minLeaseSeconds, maxLeaseSeconds)
}

func (v *violations) counters(c Counters) {
	if !v.usable("counters", "an object", true, false) {
		return
	}
	v.integer("counters/total_query_rows", c.TotalQueryRows, false, 0, MaxCounter)
	v.integer("counters/total_rows", c.TotalRows, false, 0, MaxCounter)
	v.integer("counters/skipped_rows", c.SkippedRows, false, 0, MaxCounter)
	v.integer("counters/successful_rows", c.SuccessfulRows, false, 0, MaxCounter)
	v.integer("counters/failed_rows", c.FailedRows, false, 0, MaxCounter)
}

func (v *violations) text(name string, s *string, required bool, most int) {
	want := fmt.Sprintf("a string of at most %d characters", most)
	if required {
		want = fmt.Sprintf("a string of 1 to %d characters", most)
	}
	if !v.usable(name, want, s != nil, required) {
		return
	}
	length := utf8.RuneCountInString(*s)
	switch {
	case length > most:
		v.reject(name, "too_long", "must have at most %d characters, got %d", most, length)
	case required && strings.ContainsFunc(*s, unicode.IsControl):
		v.reject(name, "control_character", "must not contain control characters such as line breaks and tabs")
	case required && syncs.Blank(*s):
		v.reject(name, "blank", "must have at least one visible character")
	}
}

// address accepts http and https URLs only, since people follow them from a web page.
func (v *violations) address(name string, s *string) {
	want := fmt.Sprintf("an http or https URL of at most %d characters", MaxLogURL)
	if !v.usable(name, want, value(s) != "", false) {
		return
	}
	parsed, err := url.Parse(*s)
	switch {
	case utf8.RuneCountInString(*s) > MaxLogURL:
		v.reject(name, "too_long", "must be %s", want)
	case err != nil || parsed.Hostname() == "" || parsed.Scheme != "https" && parsed.Scheme != "http":
		v.reject(name, "invalid_url", "must be %s", want)
	}
}

func (v *violations) records(records []Record) {
	if !v.usable("failed_records", "an array of objects", true, false) {
		return
	}
	if len(records) > MaxRecords {
		v.reject("failed_records", "too_long", "must name at most %d rows, got %d", MaxRecords, len(records))
		return
	}
	size := 0
	for i, r := range records {
		size += len(r.PrimaryKey) + len(r.Action) + len(r.Error)
		path := fmt.Sprintf("failed_records/%d", i)
		if !v.usable(path, "an object", true, true) {
			continue
		}
		v.text(path+"/primary_key", given(r.PrimaryKey), true, MaxPrimaryKey)
		v.text(path+"/action", given(r.Action), false, MaxAction)
		v.text(path+"/error", given(r.Error), false, MaxError)
	}
	if size > MaxRecordsSize {
		v.reject("failed_records", "too_long", "must have at most %d bytes of text in all, got %d", MaxRecordsSize, size)
	}
}

// given returns s, nil if it is empty.
func given(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
