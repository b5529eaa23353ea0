// Package runs implements the life of a run, one execution of a sync: when it
// is created, who may execute it, how it ends. It decides; a Store commits.
// It depends on no transport, no storage backend and no wire format.
package runs

import (
	"slices"
	"time"
)

// The time limits of a run. Our own choices, except where a source is named.
const (
	// ClaimWithin is how long a queued run waits for an executor.
	ClaimWithin = time.Hour

	// RunWithin is how long a run may be under way, all attempts together.
	RunWithin = 24 * time.Hour

	// MinLease, DefaultLease and MaxLease bound the lease of one claim or
	// heartbeat. MaxLease is SQS's longest visibility timeout, which is what
	// an executor behind a queue can hold a message for.
	MinLease     = 30 * time.Second
	DefaultLease = 5 * time.Minute
	MaxLease     = 12 * time.Hour

	// MaxAttempts is how often a run is claimed before a lease that expires
	// makes it fail.
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
	Skipped    Status = "skipped" // never begins; final from its creation
)

// Statuses returns every Status, in the order of a run's life.
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

// Final reports whether a run of status s never changes again.
func (s Status) Final() bool {
	switch s {
	case Success, Failed, Canceled, Skipped:
		return true
	case Pending, Queued, InProgress:
	}
	return false
}

// Begun reports whether an executor has the run, or had it last.
func (s Status) Begun() bool { return s != Pending && s != Queued }

// The values of Run.ErrorCode that this package sets. Executors send their own.
const (
	CodeOverlap      = "overlap"       // skipped: another run of the sync was open
	CodeSuperseded   = "superseded"    // skipped: a newer run of the sync exists
	CodeNotClaimed   = "not_claimed"   // failed: no executor claimed it in time
	CodeLeaseExpired = "lease_expired" // failed: the last attempt's lease expired
	CodeTimedOut     = "timed_out"     // failed: it was under way for RunWithin
)

// Trigger is what caused a run.
type Trigger string

// The triggers.
const (
	BySchedule Trigger = "schedule"
	ByAPI      Trigger = "api"
	ByEvent    Trigger = "event"
)

// Type distinguishes test runs, whose outcome does not count for the sync.
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

// Counters are the rows that an executor reports, absolute and ≥ 0. A nil
// counter was not reported.
type Counters struct {
	TotalQueryRows *int64
	TotalRows      *int64
	SkippedRows    *int64
	SuccessfulRows *int64
	FailedRows     *int64
}

// merge replaces the counters that c reports.
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
	Late    bool // begins long after its time, in place of all missed before it

	Attempt    int           // claims so far, at most MaxAttempts
	Executor   string        // the last to claim it
	Lease      time.Duration // that it was granted last
	DeadlineAt time.Time     // Queued: claim until then; InProgress: end of the lease
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
	LateReport *LateReport // the last report that came too late to be effective
	HasRecords bool        // failed rows were reported
	ExpiresAt  time.Time   // hidden, and some time after it deleted, from then on

	Transition string // the event that the last write causes; "" for none
}

// LateReport is a report that was refused because its fence was no longer the
// live one. It is kept for people to look at and has no effect.
type LateReport struct {
	Fence      int64
	Status     Status
	ReceivedAt time.Time
	Counters
	Error     string
	ErrorCode string
	LogURL    string
}

// Fence returns the fencing token of the current attempt. It grows with every
// attempt of a sync and is at most 2^53−1 until the year 287396.
func (r Run) Fence() int64 { return r.Time.Unix()*1000 + int64(r.Attempt) }

// Duration returns how long the run was or has been under way, and whether it
// has begun.
func (r Run) Duration() (time.Duration, bool) {
	if r.StartedAt.IsZero() || r.FinishedAt.IsZero() {
		return 0, false
	}
	return r.FinishedAt.Sub(r.StartedAt), true
}

// Expired reports whether r is past its retention and must not be shown.
func (r Run) Expired(now time.Time) bool { return !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt) }

// At returns what r is at a moment: time alone ends a lease, whatever is
// stored. steps counts the changes that time made; 0 means that r is as it is
// stored. A Pending run waits for another and changes with that one alone.
func (r Run) At(now time.Time) (current Run, steps int) {
	for {
		next, changed := r.expire(now)
		if !changed {
			return r, steps
		}
		r = next
		steps++
	}
}

// expire applies the earliest deadline that has passed, if one has.
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

// end returns r in a final state.
func (r Run) end(status Status, code string, at time.Time) Run {
	r.Status, r.FinishedAt, r.UpdatedAt, r.DeadlineAt = status, at, at, time.Time{}
	if code != "" {
		r.ErrorCode = code
	}
	r.Transition = transitionOf(r)
	return r
}

// requeue returns r waiting for another attempt. The deadline for its claim is
// capped by the end of the whole run.
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

// extend returns r with its lease counted from now. After a request to cancel
// it ends one lease after the request at the latest: an executor that ignores
// the request cannot go on forever.
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

// Beat returns r after a heartbeat, one version on, if it is as Store.Heartbeat
// requires.
func (r Run) Beat(beat Beat) (Run, bool) {
	lease := beat.Lease
	if lease == 0 {
		lease = r.Lease
	}
	if r.Status != InProgress || r.Fence() != beat.Fence || !beat.Now.Before(r.DeadlineAt) ||
		!r.CancelRequestedAt.IsZero() || beat.Now.Add(lease).After(r.EndBy) {
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

// instant returns t as a Run keeps it: in UTC and whole milliseconds.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
