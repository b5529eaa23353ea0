// Package syncs is the domain: what a sync is, when one is valid, and what
// may be done with it. It knows no HTTP, no JSON library and no AWS.
package syncs

import (
	"fmt"
	"slices"
	"time"

	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
)

// Sync is a reverse-ETL job: copy the rows of a model from a source to a
// destination on a schedule.
type Sync struct {
	Workspace string // who owns it; the first half of its key
	ID        string // UUIDv7 (RFC 9562), so that IDs sort by creation
	Version   int64  // 1 at creation, one more with every change

	SourceID         int64 // 1 … MaxID, as are the next two
	DestinationID    int64
	ModelID          int64
	Configuration    string // a JSON object, byte for byte as the client wrote it
	ScheduleType     string
	SyncMode         string
	SyncInterval     int64  // in SyncIntervalUnit, 1 … MaxInterval
	SyncIntervalUnit string // "minutes"
	CronExpression   string // "" if there is none; decides over the interval if there is one
	CursorField      string // "" if there is none
	StreamName       string

	Status      Status
	CreatedAt   time.Time // UTC, whole milliseconds
	UpdatedAt   time.Time // UTC, whole milliseconds
	ScheduledAt time.Time // UTC, whole milliseconds: when its schedule was set; an interval counts from here
}

// maxStoredInterval is the longest interval that is read, in minutes: a hundred
// times what a create accepts. The next run of a longer one may be after the year
// 9999, which RFC 3339 cannot write.
const maxStoredInterval = 100 * MaxInterval

// Schedule is when s runs: by its cron expression, else by its interval. It
// returns ErrUnreadable if s has neither in a form that this version knows.
func (s Sync) Schedule() (schedule.Schedule, error) {
	if s.CronExpression == "" && (s.SyncInterval < 1 || s.SyncInterval > maxStoredInterval) {
		return schedule.Schedule{}, fmt.Errorf("%w: its interval is %d", ErrUnreadable, s.SyncInterval)
	}
	if s.CronExpression == "" {
		return schedule.Every(s.SyncInterval, s.ScheduledAt), nil
	}
	cron, err := schedule.ParseStored(s.CronExpression)
	if err != nil {
		return schedule.Schedule{}, fmt.Errorf("%w: its cron expression: %w", ErrUnreadable, err)
	}
	return schedule.At(cron), nil
}

// NextRun is the first run of s after a moment. ok is false for one that does
// not run: it is paused, or has no schedule that can be read.
func (s Sync) NextRun(after time.Time) (next time.Time, ok bool) {
	when, err := s.Schedule()
	if err != nil || s.Status == Disabled {
		return time.Time{}, false
	}
	return when.From(after).Next(after), true
}

// Status is where a sync stands in its life.
type Status string

// The statuses there are.
const (
	Pending  Status = "pending"  // accepted, or resumed, and waiting for its next run
	Healthy  Status = "healthy"  // its last run succeeded
	Failed   Status = "failed"   // its last run failed
	Disabled Status = "disabled" // paused; it does not run
)

// Statuses is every Status, in the order of a sync's life.
func Statuses() []Status { return []Status{Pending, Healthy, Failed, Disabled} }

// next is where each status leads.
func (s Status) next() []Status {
	switch s {
	case Pending:
		return []Status{Healthy, Failed, Disabled}
	case Healthy:
		return []Status{Failed, Disabled}
	case Failed:
		return []Status{Healthy, Disabled}
	case Disabled:
		return []Status{Pending}
	}
	return nil
}

// To returns nil if a sync of status s may become next, and a fault.Conflict
// if not.
func (s Status) To(next Status) error {
	if slices.Contains(s.next(), next) {
		return nil
	}
	return &fault.Error{
		Kind: fault.Conflict, Code: "wrong_status",
		Message: fmt.Sprintf("a sync that is %s cannot become %s", s, next),
	}
}

// become returns s with another status, one version on. It returns a
// fault.Conflict if s may not have that status next.
func (s Sync) become(next Status, now time.Time) (Sync, error) {
	if err := s.Status.To(next); err != nil {
		return Sync{}, err
	}
	s.Status = next
	return s.touched(now), nil
}

// RunResult is what the end of a run says about its sync.
type RunResult int

// The results that count.
const (
	RunSucceeded  RunResult = iota
	RunFailed               // an executor had it
	RunNotClaimed           // no executor claimed it
)

// AfterRun returns s as it is after a run, one version on, and whether that
// differs from s: a sync whose runs end as the last one did keeps its version.
// A paused sync stays paused. A run that was not claimed makes a healthy sync
// fail and no other, so that one whose executor never reports stays pending.
func (s Sync) AfterRun(result RunResult, now time.Time) (Sync, bool) {
	next := Failed
	switch {
	case s.Status == Disabled:
		return s, false
	case result == RunSucceeded:
		next = Healthy
	case result == RunNotClaimed && s.Status != Healthy:
		return s, false
	}
	if s.Status == next {
		return s, false
	}
	s.Status = next
	return s.touched(now), true
}
