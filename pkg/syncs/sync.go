// Package syncs is the domain: what a sync is, which drafts are valid, and which
// operations a caller may do. It defines Store, which the storage backends
// implement. It does not know HTTP, JSON encoding or AWS: entry points decode a
// Draft, call Service and map the fields that an error names to their own places.
package syncs

import (
	"fmt"
	"slices"
	"time"

	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
)

// maxStoredInterval is the longest interval accepted from a store, in minutes: a
// hundred times what a create accepts. With a longer one the next run may be after
// the year 9999, which RFC 3339 cannot represent.
const maxStoredInterval = 100 * MaxInterval

// Schedule returns the schedule of s: by its cron expression, or else by its
// interval. It returns ErrUnreadable if this version can read neither.
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

// NextRun returns the time of the first run of s after a time. ok is false if s
// does not run: it is paused, or its schedule cannot be read.
func (s Sync) NextRun(after time.Time) (next time.Time, ok bool) {
	when, err := s.Schedule()
	if err != nil || s.Status == Disabled {
		return time.Time{}, false
	}
	return when.From(after).Next(after), true
}

// Status is the state of a sync in its life cycle.
type Status string

// The statuses.
const (
	Pending  Status = "pending"  // accepted, or resumed, and waiting for its next run
	Healthy  Status = "healthy"  // its last run succeeded
	Failed   Status = "failed"   // its last run failed
	Disabled Status = "disabled" // paused; it does not run
)

// Statuses returns every Status, in the order of the life cycle.
func Statuses() []Status { return []Status{Pending, Healthy, Failed, Disabled} }

// next returns the statuses that may follow s.
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
	return fault.New(fault.Conflict, "wrong_status", "a sync that is %s cannot become %s", s, next)
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

// RunResult is the outcome of a run, as far as it changes the status of its sync.
type RunResult int

// The results.
const (
	RunSucceeded  RunResult = iota
	RunFailed               // an executor claimed the run, and it failed
	RunNotClaimed           // no executor claimed the run
)

// AfterRun returns s with the status that follows from the result of a run, one
// version on, and true; or s and false if the status stays. A paused sync stays
// paused. A run that was not claimed fails a healthy sync only, so that a sync
// without an executor stays pending.
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
