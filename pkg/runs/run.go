// Package runs implements the life cycle of a run, one execution of a sync: when it is
// created, who may execute it and how it ends. It decides, and a Store commits the
// changes. It does not know transports, storage backends or wire formats.
package runs

import (
	"fmt"
	"slices"
	"time"
)

// The time limits of a run. Our own choices, except where a source is named.
const (
	// ClaimWithin is how long a queued run waits for an executor.
	ClaimWithin = time.Hour

	// RunWithin is the longest duration of a run, all attempts together.
	RunWithin = 24 * time.Hour

	// MinLease, DefaultLease and MaxLease bound the lease of one claim or
	// heartbeat. MaxLease is the longest visibility timeout of SQS, for which
	// an executor behind a queue can hold a message.
	MinLease     = 30 * time.Second
	DefaultLease = 5 * time.Minute
	MaxLease     = 12 * time.Hour

	// MaxAttempts is how many times a run is claimed at most: when the lease of
	// the last attempt expires, the run fails.
	MaxAttempts = 3
)

// Status is the state of a run.
type Status string

// The states. Success, Failed, Canceled and Skipped are final.
const (
	Pending    Status = "pending"     // waits until the open run of its sync ends
	Queued     Status = "queued"      // may be claimed
	InProgress Status = "in_progress" // leased to an executor
	Success    Status = "success"
	Failed     Status = "failed"
	Canceled   Status = "canceled"
	Skipped    Status = "skipped" // does not start; final from its creation
)

// Statuses returns every Status, in the order of the life cycle.
func Statuses() []Status {
	return []Status{Pending, Queued, InProgress, Success, Failed, Canceled, Skipped}
}

// transitions returns the states that may follow each state.
func transitions() map[Status][]Status {
	return map[Status][]Status{
		Pending:    {Queued, Canceled},
		Queued:     {InProgress, Canceled, Failed},
		InProgress: {InProgress, Queued, Success, Failed, Canceled},
	}
}

// Allows reports whether a run may go from s to next.
func (s Status) Allows(next Status) bool { return slices.Contains(transitions()[s], next) }

// Final reports whether s is a final state.
func (s Status) Final() bool {
	switch s {
	case Success, Failed, Canceled, Skipped:
		return true
	case Pending, Queued, InProgress:
	}
	return false
}

// The values of Run.ErrorCode that this package sets. Executors send their own.
const (
	CodeOverlap      = "overlap"       // skipped: another run of the sync was open
	CodeSuperseded   = "superseded"    // skipped: a newer run of the sync exists
	CodeNotClaimed   = "not_claimed"   // failed: no executor claimed it in time
	CodeLeaseExpired = "lease_expired" // failed: the last attempt's lease expired
	CodeTimedOut     = "timed_out"     // failed: it took RunWithin
)

// Trigger is what caused a run.
type Trigger string

// The triggers.
const (
	BySchedule Trigger = "schedule"
	ByAPI      Trigger = "api"
	ByEvent    Trigger = "event"
)

// Type distinguishes test runs, whose outcome does not change the status of the sync.
type Type string

// The types.
const (
	General Type = "general"
	Test    Type = "test"
)

// Types returns every Type.
func Types() []Type { return []Type{General, Test} }

// Key identifies a run: the scheduled time is unique within its sync.
type Key struct {
	Workspace string
	SyncID    string
	Time      time.Time // UTC, whole seconds
}

// Counters are the numbers of rows that an executor reports: totals since the start of
// the attempt, ≥ 0. A nil counter was not reported.
type Counters struct {
	TotalQueryRows *int64
	TotalRows      *int64
	SkippedRows    *int64
	SuccessfulRows *int64
	FailedRows     *int64
}

// merge returns c with the counters of old where c has none.
func (c Counters) merge(old Counters) Counters {
	pick := func(now, before *int64) *int64 {
		if now != nil {
			return now
		}
		return before
	}
	return Counters{
		TotalQueryRows: pick(c.TotalQueryRows, old.TotalQueryRows),
		TotalRows:      pick(c.TotalRows, old.TotalRows),
		SkippedRows:    pick(c.SkippedRows, old.SkippedRows),
		SuccessfulRows: pick(c.SuccessfulRows, old.SuccessfulRows),
		FailedRows:     pick(c.FailedRows, old.FailedRows),
	}
}

// Run is one execution of a sync. All times are UTC; those of the run's key
// and its deadlines are whole seconds and milliseconds respectively. A zero
// time is not set.
type Run struct {
	Key
	Version int64 // 1 at creation, incremented by every write
	Status  Status
	Trigger Trigger
	Type    Type
	Late    bool // recorded long after its time, in place of all missed runs before it

	Attempt    int           // claims so far, at most MaxAttempts
	Executor   string        // of the last attempt
	Lease      time.Duration // granted last
	DeadlineAt time.Time     // Queued: the end of the time for a claim; InProgress: the end of the lease
	EndBy      time.Time     // StartedAt + RunWithin; no deadline is later

	Counters
	Error     string
	ErrorCode string
	LogURL    string

	CreatedAt         time.Time
	UpdatedAt         time.Time
	StartedAt         time.Time // of the first attempt
	FinishedAt        time.Time
	CancelRequestedAt time.Time

	Reported   bool        // ended by its executor's report, not by time or a cancel
	LateReport *LateReport // the last report that was received too late
	HasRecords bool        // failed rows were reported
	ExpiresAt  time.Time   // from then on the run is hidden; it is deleted some time later

	Transition string // the event that the last write causes; "" for none
}

// LateReport is a report that was refused because its fence was no longer that of the
// current attempt. It is stored for troubleshooting and has no effect.
type LateReport struct {
	Fence      int64
	Status     Status
	ReceivedAt time.Time
	Counters
	Error     string
	ErrorCode string
	LogURL    string
}

// CheckStored returns nil or ErrUnreadable, for a run that another version or another
// program stored: the deadlines of such a run cannot be applied.
func (r Run) CheckStored() error {
	switch {
	case r.Version < 1:
		return fmt.Errorf("%w: it has version %d", ErrUnreadable, r.Version)
	case !slices.Contains(Statuses(), r.Status):
		return fmt.Errorf("%w: it has the status %q", ErrUnreadable, r.Status)
	case (r.Status == Queued || r.Status == InProgress) && r.DeadlineAt.IsZero():
		return fmt.Errorf("%w: it is %s without a deadline", ErrUnreadable, r.Status)
	case r.Status == InProgress && (r.StartedAt.IsZero() || r.EndBy.IsZero()):
		return fmt.Errorf("%w: it is %s without a start or an end", ErrUnreadable, r.Status)
	}
	return nil
}

// Fence returns the fencing token of the current attempt. It grows with every
// attempt of a sync and is at most 2^53−1 until the year 287396.
func (r Run) Fence() int64 { return r.Time.Unix()*1000 + int64(r.Attempt) }

// Duration returns the time from the start of the run to its end. ok is false if it has
// not started or not ended.
func (r Run) Duration() (d time.Duration, ok bool) {
	if r.StartedAt.IsZero() || r.FinishedAt.IsZero() {
		return 0, false
	}
	return r.FinishedAt.Sub(r.StartedAt), true
}

// Expired reports whether the retention of r has ended, so that r must not be shown. A run
// that is open has to end first, by its deadlines: otherwise it would be open again without
// a slot if the clock was ahead and is set back.
func (r Run) Expired(now time.Time) bool {
	return r.Status.Final() && !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt)
}

// At returns the state of a stored run at a time: deadlines take effect when they
// pass, also before that is stored. steps is the number of changes since the stored
// state. A Pending run has no deadline; it changes when the run that it waits for ends.
//
// If the clock was set back since the run was written, its times are set back by as
// much, so that no deadline is further away than it was.
func (r Run) At(now time.Time) (current Run, steps int) {
	if moved, ok := r.setBack(now); ok {
		r, steps = moved, 1
	}
	for {
		next, changed := r.expire(now)
		if !changed {
			return r, steps
		}
		r = next
		steps++
	}
}

// clockTolerance is how far the clocks of two machines may differ. Our own choice.
const clockTolerance = time.Minute

// isSet reports whether the clock of the machine is set: one without a battery starts in
// 1970 or in the year of its firmware.
func isSet(now time.Time) bool {
	const earliest = 1_704_067_200 // 2024-01-01, before every version of this program
	return now.Unix() >= earliest
}

// setBack returns r as if the clock had not been ahead when r was written. ok is false
// if it was not, if r has no deadline, or if the clock is not set.
func (r Run) setBack(now time.Time) (moved Run, ok bool) {
	ahead := r.UpdatedAt.Sub(now)
	if r.Status != Queued && r.Status != InProgress || ahead <= clockTolerance || !isSet(now) {
		return r, false
	}
	for _, at := range []*time.Time{&r.UpdatedAt, &r.StartedAt, &r.DeadlineAt, &r.EndBy, &r.CancelRequestedAt} {
		if !at.IsZero() {
			*at = instant(at.Add(-ahead))
		}
	}
	r.Transition = ""
	return r, true
}

// expire applies the deadline of r if it has passed, and reports whether it has.
func (r Run) expire(now time.Time) (Run, bool) {
	if now.Before(r.DeadlineAt) {
		return r, false
	}
	at := r.DeadlineAt
	switch r.Status {
	case Queued:
		code := CodeNotClaimed
		if !r.EndBy.IsZero() && !at.Before(r.EndBy) {
			code = CodeTimedOut
		}
		return r.end(Failed, code, at), true
	case InProgress:
		switch {
		case !r.CancelRequestedAt.IsZero():
			return r.end(Canceled, "", at), true
		case !at.Before(r.EndBy):
			return r.end(Failed, CodeTimedOut, at), true
		case r.Attempt >= MaxAttempts:
			return r.end(Failed, CodeLeaseExpired, at), true
		}
		return r.requeue(at), true
	case Pending, Success, Failed, Canceled, Skipped:
	}
	return r, false
}

// end returns r in a final state. The clock of the machine that ends it may be behind that
// of the one that started it.
func (r Run) end(status Status, code string, at time.Time) Run {
	at = latest(at, r.StartedAt)
	r.Status, r.FinishedAt, r.UpdatedAt, r.DeadlineAt = status, at, at, time.Time{}
	if code != "" {
		r.ErrorCode = code
	}
	r.Transition = transitionOf(r)
	return r
}

// requeue returns r queued for another attempt. The deadline for the claim is not
// later than EndBy.
func (r Run) requeue(at time.Time) Run {
	r.Status, r.UpdatedAt = Queued, at
	r.DeadlineAt = earliest(at.Add(ClaimWithin), r.EndBy)
	r.Transition = transitionOf(r)
	return r
}

// promote returns a pending run that may now be claimed.
func (r Run) promote(now time.Time) Run {
	r.Status, r.UpdatedAt, r.DeadlineAt = Queued, now, now.Add(ClaimWithin)
	r.Transition = transitionOf(r)
	return r
}

// claim returns r leased to an executor.
func (r Run) claim(executor string, lease time.Duration, now time.Time) Run {
	if r.StartedAt.IsZero() {
		r.StartedAt = now
		r.EndBy = now.Add(RunWithin)
	}
	r.Status, r.UpdatedAt, r.Executor, r.Lease = InProgress, now, executor, lease
	r.Attempt++
	r.DeadlineAt = earliest(now.Add(lease), r.EndBy)
	r.Counters, r.Error, r.ErrorCode, r.LogURL = Counters{}, "", "", ""
	r.Transition = transitionOf(r)
	return r
}

// extend returns r with a lease that starts now. After a request to cancel the lease
// ends one lease after the request at the latest, so that an executor which ignores
// the request cannot continue.
func (r Run) extend(lease time.Duration, counters Counters, now time.Time) Run {
	deadline := earliest(now.Add(lease), r.EndBy)
	if r.CancelRequestedAt.IsZero() {
		r.Lease = lease
		r.DeadlineAt = deadline
	} else if limit := r.CancelRequestedAt.Add(r.Lease); limit.After(r.DeadlineAt) {
		r.DeadlineAt = latest(r.DeadlineAt, earliest(deadline, limit))
	}
	r.Counters = counters.merge(r.Counters)
	r.UpdatedAt, r.Transition = now, ""
	return r
}

// Beat returns r after a heartbeat, one version on. ok is false if r does not meet the
// conditions of Store.Heartbeat.
func (r Run) Beat(beat Beat) (after Run, ok bool) {
	lease := beat.Lease
	if lease == 0 {
		lease = r.Lease
	}
	if r.Status != InProgress || r.Fence() != beat.Fence || !beat.Now.Before(r.DeadlineAt) ||
		!r.CancelRequestedAt.IsZero() || beat.Now.Add(lease).After(r.EndBy) || r.UpdatedAt.After(beat.Latest()) {
		return r, false
	}
	r = r.extend(lease, beat.Counters, beat.Now)
	r.Version++
	return r, true
}

// requestCancel returns r with a request to its executor to stop.
func (r Run) requestCancel(now time.Time) Run {
	r.CancelRequestedAt, r.UpdatedAt = now, now
	r.Transition = TransitionCancelRequested
	return r
}

func latest(times ...time.Time) time.Time { return slices.MaxFunc(times, time.Time.Compare) }

func earliest(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }

// instant returns t with the precision that a Run stores: UTC, whole milliseconds.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
