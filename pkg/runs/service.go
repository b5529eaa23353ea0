package runs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/backoff"
	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// Syncs reads syncs with strong consistency.
type Syncs interface {
	Read(ctx context.Context, workspace, id string) (syncs.Sync, error)
}

// Retention is how long a run is stored, counted from its scheduled time.
type Retention struct {
	Runs    time.Duration // at least MinRetention
	Skipped time.Duration // of runs that were skipped
}

// MinRetention is the shortest Retention.Runs: a sync.due event that was in a
// dead-letter queue for 14 days still finds its run.
const MinRetention = 15 * 24 * time.Hour

// DefaultRetention returns the Retention for a deployment that sets none.
func DefaultRetention() Retention {
	return Retention{Runs: 30 * 24 * time.Hour, Skipped: 7 * 24 * time.Hour}
}

// Service implements the operations on runs. Every entry point calls it. Its methods
// return a fault.Forbidden to a caller without the scope, and the errors of the store.
//
// Every method reads the stored state, applies the deadlines that have passed (see
// Run.At), decides, and commits on the condition that the state has not changed since.
// If it has, the method starts again.
type Service struct {
	Store     Store
	Syncs     Syncs
	Now       func() time.Time
	Retention Retention
}

// ErrNotFound is returned for a run that does not exist.
var ErrNotFound error = fault.New(fault.NotFound, "not_found", "there is no run at this time")

// ErrUnreadable is the error for a stored run or slot that this version cannot read.
var ErrUnreadable = errors.New("the stored run cannot be read")

// ErrStale is returned for a change whose preconditions no longer hold.
var ErrStale error = fault.New(fault.Conflict, "overtaken", "other changes to this run keep coming first; please try again")

// errBusy is ErrStale for executors. They drop a run on every conflict, so a request that
// they should repeat must not end in one.
var errBusy error = fault.New(fault.Unavailable, "store_unavailable", "other changes to this run keep coming first; please try again")

// conflict returns the error for a request that the state of a run or its sync does not
// permit, and that is not to be repeated.
func conflict(code, format string, args ...any) error {
	err := fault.New(fault.Conflict, code, format, args...)
	err.RetryAfter = fault.Never
	return err
}

// isStale reports whether a concurrent change has prevented a commit, so that another
// attempt may succeed.
func isStale(err error) bool {
	return errors.Is(err, ErrStale) || errors.Is(err, syncs.ErrOvertaken)
}

// retry calls do again while its error is isStale, as long as ctx leaves time.
func retry(ctx context.Context, do func() error) error { return backoff.Retry(ctx, isStale, do) }

// retryExecutor is retry for the requests of executors.
func retryExecutor(ctx context.Context, do func() error) error {
	err := retry(ctx, do)
	if isStale(err) {
		return errBusy
	}
	return err
}

// Due records that a run of a sync is due. It is idempotent. created is false if
// nothing was written: the run exists, or the sync is deleted or paused. A run that
// cannot start, because another is open or a newer one exists, is recorded as skipped.
func (s *Service) Due(ctx context.Context, key Key, late bool) (run Run, created bool, err error) {
	key.Time = key.Time.UTC().Truncate(time.Second)
	err = retry(ctx, func() error {
		run, created, err = s.due(ctx, key, late)
		return err
	})
	if err != nil {
		return Run{}, false, fmt.Errorf("record run %s of sync %s: %w", key.Time.Format(time.RFC3339), key.SyncID, err)
	}
	if created && run.Status == Queued {
		err = s.recheck(ctx, key)
	}
	return run, created, err
}

func (s *Service) due(ctx context.Context, key Key, late bool) (Run, bool, error) {
	sync, err := s.Syncs.Read(ctx, key.Workspace, key.SyncID)
	switch {
	case fault.Is(err, fault.NotFound):
		return Run{}, false, nil
	case err != nil:
		return Run{}, false, err
	case sync.Status == syncs.Disabled:
		return Run{}, false, nil
	}
	run, change, err := s.begin(ctx, key, late)
	if err != nil || change == nil {
		return run, false, err
	}
	return run, true, s.Store.Commit(ctx, *change)
}

// begin returns the scheduled run with a key and the change that creates it. The
// change is nil if the run exists.
func (s *Service) begin(ctx context.Context, key Key, late bool) (Run, *Change, error) {
	newest, any, _, err := s.newest(ctx, key)
	if err != nil {
		return Run{}, nil, err
	}
	if any && !newest.Time.Before(key.Time) {
		existing, err := s.Store.Run(ctx, key)
		if !fault.Is(err, fault.NotFound) {
			return existing, nil, err
		}
		run := s.newRun(key, Skipped, BySchedule, General)
		run.Late, run.ErrorCode = late, CodeSuperseded
		return run, &Change{Runs: []Run{run}}, nil
	}
	_, busy, err := s.settle(ctx, key)
	if err != nil {
		return Run{}, nil, err
	}
	if busy {
		run := s.newRun(key, Skipped, BySchedule, General)
		run.Late, run.ErrorCode = late, CodeOverlap
		return run, &Change{Runs: []Run{run}}, nil
	}
	run := s.newRun(key, Queued, BySchedule, General)
	run.Late = late
	return run, openChange(run), nil
}

// newest returns the newest run of a sync, in any state. any is false if there is none.
// Runs in the future are left out, and ahead is true if there are some: the clock was
// ahead when they were created.
func (s *Service) newest(ctx context.Context, key Key) (run Run, any, ahead bool, err error) {
	future := s.future(key)
	for _, before := range []time.Time{{}, future} {
		runs, _, err := s.Store.Runs(ctx, key.Workspace, key.SyncID, before, 1)
		if err != nil || len(runs) == 0 {
			return Run{}, false, ahead, err
		}
		if run = runs[0]; run.Time.Before(future) {
			break
		}
		ahead = true
	}
	return run, true, ahead, nil
}

// future returns the earliest time that no run of a correct clock has, nor the run with
// the key. While the clock is not set, no time is in the future.
func (s *Service) future(key Key) time.Time {
	if !isSet(s.Now()) {
		return time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	return latest(s.Now(), key.Time).UTC().Truncate(time.Second).Add(clockTolerance + time.Second)
}

// newRun returns the first version of a run, in a status.
func (s *Service) newRun(key Key, status Status, trigger Trigger, kind Type) Run {
	now := instant(s.Now())
	run := Run{Key: key, Version: 1, Status: status, Trigger: trigger, Type: kind, CreatedAt: now, UpdatedAt: now}
	keep := s.Retention.Runs
	switch status {
	case Queued:
		run.DeadlineAt = now.Add(ClaimWithin)
	case Skipped:
		keep = s.Retention.Skipped
		run.FinishedAt = now
	case Pending, InProgress, Success, Failed, Canceled:
	}
	// A run may be recorded long after its time; its retention then begins when
	// it is recorded.
	run.ExpiresAt = latest(key.Time, now).Add(keep).Truncate(time.Second)
	run.Transition = transitionOf(run)
	return run
}

// openChange creates a run and the slot that it takes.
func openChange(run Run) *Change {
	return &Change{
		Runs: []Run{run},
		Slot: &SlotChange{After: &Slot{Workspace: run.Workspace, SyncID: run.SyncID, Version: 1, Open: run.Time}},
	}
}

// occupied is a slot with the runs in it.
type occupied struct {
	slot    Slot
	open    Run
	waiting *Run
}

// load reads the slot of a sync and its runs as they are stored. ok is false
// if no run is open.
func (s *Service) load(ctx context.Context, key Key) (o occupied, ok bool, err error) {
	if o.slot, ok, err = s.Store.Slot(ctx, key.Workspace, key.SyncID); err != nil || !ok {
		return occupied{}, false, err
	}
	var lost bool
	if o.open, lost, err = s.occupant(ctx, key, o.slot.Open); err != nil {
		return occupied{}, false, err
	}
	if !o.slot.Waiting.IsZero() {
		waiting, gone, err := s.occupant(ctx, key, o.slot.Waiting)
		if err != nil {
			return occupied{}, false, err
		}
		if lost = lost || gone; !gone {
			o.waiting = &waiting
		}
	}
	if lost {
		if err := s.dropLost(ctx, o); err != nil {
			return occupied{}, false, err
		}
		return occupied{}, false, ErrStale
	}
	return o, true, nil
}

// occupant returns the run of a slot at a time. lost is true if there is none, or if it
// has ended: either the slot has changed since it was read, or the retention of the run
// ended while nothing was running that could end it.
func (s *Service) occupant(ctx context.Context, key Key, at time.Time) (run Run, lost bool, err error) {
	run, err = s.Store.Run(ctx, Key{key.Workspace, key.SyncID, at})
	if fault.Is(err, fault.NotFound) {
		return Run{}, true, nil
	}
	return run, err == nil && run.Status.Final(), err
}

// dropLost removes the runs that are lost from a slot, so that its sync runs again. A
// slot that has changed since it was read stays as it is.
func (s *Service) dropLost(ctx context.Context, o occupied) error {
	before := o.slot
	change := Change{Slot: &SlotChange{Before: &before}}
	after := before
	after.Version++
	after.Waiting = time.Time{}
	switch openLost := o.open.Version == 0 || o.open.Status.Final(); {
	case !openLost:
		change.Slot.After = &after
	case o.waiting != nil:
		promoted := o.waiting.promote(instant(s.Now()))
		promoted.Version++
		change.Runs = []Run{promoted}
		after.Open = promoted.Time
		change.Slot.After = &after
	}
	return s.Store.Commit(ctx, change)
}

// settle stores the effects of the deadlines of a sync's open run that have passed, and
// returns the slot after that. ok is false if no run is open.
func (s *Service) settle(ctx context.Context, key Key) (o occupied, ok bool, err error) {
	for {
		o, ok, err = s.load(ctx, key)
		if err != nil || !ok {
			return o, ok, err
		}
		current, steps := o.open.At(s.Now())
		if steps == 0 {
			return o, true, nil
		}
		current.Version++
		if err := s.store(ctx, o, current, nil); err != nil {
			return occupied{}, false, err
		}
	}
}

// store commits a new version of the open run of a slot and its consequences: a run
// that has ended frees the slot, or leaves it to the waiting run, and may change the
// status of its sync.
func (s *Service) store(ctx context.Context, o occupied, run Run, records []Record) error {
	change := Change{Runs: []Run{run}, Records: records}
	if run.Status.Final() {
		if err := s.free(ctx, &change, o, run); err != nil {
			return err
		}
	}
	return s.Store.Commit(ctx, change)
}

func (s *Service) free(ctx context.Context, change *Change, o occupied, run Run) error {
	before := o.slot
	change.Slot = &SlotChange{Before: &before}
	if o.waiting != nil {
		promoted := o.waiting.promote(instant(s.Now()))
		promoted.Version++
		change.Runs = append(change.Runs, promoted)
		change.Slot.After = &Slot{Workspace: before.Workspace, SyncID: before.SyncID, Version: before.Version + 1, Open: promoted.Time}
	}
	result, counts := resultOf(run)
	if !counts {
		return nil
	}
	sync, err := s.Syncs.Read(ctx, run.Workspace, run.SyncID)
	if err != nil {
		if fault.Is(err, fault.NotFound) {
			return nil // deleted
		}
		return err
	}
	if after, flips := sync.AfterRun(result, s.Now()); flips {
		change.Sync = &after
	}
	return nil
}

// resultOf returns the result of a run for the status of its sync. counts is false if
// the run does not affect it.
func resultOf(run Run) (result syncs.RunResult, counts bool) {
	if run.Type == Test {
		return 0, false
	}
	switch {
	case run.Status == Success:
		return syncs.RunSucceeded, true
	case run.Status == Failed && run.ErrorCode == CodeNotClaimed && !run.Reported:
		return syncs.RunNotClaimed, true
	case run.Status == Failed:
		return syncs.RunFailed, true
	}
	return 0, false
}

// recheck cancels a run that was just queued if its sync is paused or deleted. A
// concurrent pause or delete may not have seen the run.
func (s *Service) recheck(ctx context.Context, key Key) error {
	return s.Stop(ctx, key.Workspace, key.SyncID)
}

// Stop cancels the runs of a sync that is paused or deleted: those that have not
// started, and, if the sync is deleted, the one in progress at its executor's next
// heartbeat. It reads the current state of the sync, so that it may be called at any
// time and repeatedly.
func (s *Service) Stop(ctx context.Context, workspace, syncID string) error {
	key := Key{Workspace: workspace, SyncID: syncID}
	err := retry(ctx, func() error {
		sync, err := s.Syncs.Read(ctx, workspace, syncID)
		deleted := fault.Is(err, fault.NotFound)
		if err != nil && !deleted || err == nil && sync.Status != syncs.Disabled {
			return err
		}
		for {
			o, ok, err := s.settle(ctx, key)
			if err != nil || !ok {
				return err
			}
			now := instant(s.Now())
			switch {
			case o.waiting != nil:
				err = s.cancelWaiting(ctx, o)
			case o.open.Status == Queued:
				err = s.store(ctx, o, s.canceled(o.open, ""), nil)
			case deleted && o.open.CancelRequestedAt.IsZero():
				run := o.open.requestCancel(now)
				run.Version++
				err = s.store(ctx, o, run, nil)
			default:
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
	if err != nil {
		return fmt.Errorf("stop the runs of sync %s: %w", syncID, err)
	}
	return nil
}

// canceled returns the next version of run, canceled now.
func (s *Service) canceled(run Run, code string) Run {
	run = run.end(Canceled, code, instant(s.Now()))
	run.Version++
	return run
}

// cancelWaiting ends the pending run of a slot.
func (s *Service) cancelWaiting(ctx context.Context, o occupied) error {
	before, after := o.slot, o.slot
	after.Version++
	after.Waiting = time.Time{}
	return s.Store.Commit(ctx, Change{
		Runs: []Run{s.canceled(*o.waiting, "")},
		Slot: &SlotChange{Before: &before, After: &after},
	})
}

// Expire stores the effects of the deadlines of a sync's open run that have passed, and
// returns the run that is open after that. ok is false if there is none.
func (s *Service) Expire(ctx context.Context, workspace, syncID string) (open Run, ok bool, err error) {
	err = retry(ctx, func() error {
		var o occupied
		o, ok, err = s.settle(ctx, Key{Workspace: workspace, SyncID: syncID})
		open = o.open
		return err
	})
	if err != nil {
		return Run{}, false, fmt.Errorf("expire the run of sync %s: %w", syncID, err)
	}
	return open, ok, nil
}

// TriggerRequest requests a run now.
type TriggerRequest struct {
	SyncID         string
	Type           Type
	Trigger        Trigger
	IdempotencyKey *syncs.IdempotencyKey // makes the request safe to repeat
}

// Triggered is the response to a TriggerRequest.
type Triggered struct {
	Run      Run
	Created  bool // false if a run that had not started was returned instead
	Replayed bool // the response is that of an earlier request with the same idempotency key
}

// Trigger returns a run whose last attempt starts after the call: a new one, or one that
// has not started. While another run is in progress, the new one waits for its end. It
// returns a fault.Conflict if the sync is paused.
func (s *Service) Trigger(ctx context.Context, who auth.Caller, in TriggerRequest) (out Triggered, err error) {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return Triggered{}, err
	}
	err = retry(ctx, func() error {
		out, err = s.trigger(ctx, who.Workspace, in)
		return err
	})
	if err != nil {
		return Triggered{}, fmt.Errorf("trigger a run of sync %s: %w", in.SyncID, err)
	}
	if out.Created && !out.Replayed {
		err = s.recheck(ctx, out.Run.Key)
	}
	return out, err
}

func (s *Service) trigger(ctx context.Context, workspace string, in TriggerRequest) (Triggered, error) {
	if in.IdempotencyKey != nil {
		run, created, ok, err := s.Store.Replay(ctx, workspace, *in.IdempotencyKey)
		if err != nil || ok {
			return Triggered{Run: run, Created: created, Replayed: true}, err
		}
	}
	sync, err := s.Syncs.Read(ctx, workspace, in.SyncID)
	switch {
	case err != nil:
		return Triggered{}, err
	case sync.Status == syncs.Disabled:
		return Triggered{}, errDisabled
	}
	key := Key{Workspace: workspace, SyncID: sync.ID}
	o, busy, err := s.settle(ctx, key)
	if err != nil {
		return Triggered{}, err
	}
	if busy {
		if existing, ok := o.unclaimed(in.Type); ok {
			if in.IdempotencyKey != nil {
				err = s.Store.Commit(ctx, Change{IdempotencyKey: in.IdempotencyKey, Answer: &existing})
			}
			return Triggered{Run: existing}, err
		}
		if o.waiting != nil {
			return Triggered{}, conflict("run_pending", "a %s run of this sync is waiting already, at %s", o.waiting.Type, o.waiting.Time.Format(time.RFC3339))
		}
	}
	newest, any, ahead, err := s.newest(ctx, key)
	if err != nil {
		return Triggered{}, err
	}
	key.Time = s.Now().UTC().Truncate(time.Second)
	if any && !newest.Time.Before(key.Time) {
		key.Time = newest.Time.Add(time.Second)
	}
	if ahead {
		if key, err = s.unused(ctx, key); err != nil {
			return Triggered{}, err
		}
	}
	var change *Change
	if busy {
		run := s.newRun(key, Pending, in.Trigger, in.Type)
		before, after := o.slot, o.slot
		after.Version++
		after.Waiting = run.Time
		change = &Change{Runs: []Run{run}, Slot: &SlotChange{Before: &before, After: &after}}
	} else {
		change = openChange(s.newRun(key, Queued, in.Trigger, in.Type))
	}
	change.IdempotencyKey, change.Created = in.IdempotencyKey, true
	return Triggered{Run: change.Runs[0], Created: true}, s.Store.Commit(ctx, *change)
}

// unused returns key at the first time from its own on that no run has.
func (s *Service) unused(ctx context.Context, key Key) (Key, error) {
	for {
		_, err := s.Store.Run(ctx, key)
		if fault.Is(err, fault.NotFound) {
			return key, nil
		}
		if err != nil && !errors.Is(err, ErrUnreadable) {
			return key, err
		}
		key.Time = key.Time.Add(time.Second)
	}
}

// unclaimed returns the run of a type in a slot that has not been claimed.
func (o occupied) unclaimed(kind Type) (Run, bool) {
	switch {
	case o.open.Status == Queued && o.open.Type == kind:
		return o.open, true
	case o.waiting != nil && o.waiting.Type == kind:
		return *o.waiting, true
	}
	return Run{}, false
}

var errDisabled = conflict("sync_disabled", "the sync is paused or deleted, so none of its runs starts; resume it first")

// Claim leases a run to an executor and returns it with its sync. A repeated claim of
// the same executor returns the lease that it has. A run that is due and not yet
// recorded is created. A fault.Conflict means that the executor must not execute the
// run.
func (s *Service) Claim(ctx context.Context, who auth.Caller, key Key, in ClaimRequest) (run Run, sync syncs.Sync, err error) {
	if err := mayExecute(who, key.Workspace); err != nil {
		return Run{}, syncs.Sync{}, err
	}
	if err := in.Validate(); err != nil {
		return Run{}, syncs.Sync{}, err
	}
	err = retryExecutor(ctx, func() error {
		run, sync, err = s.claim(ctx, key, *in.Executor, in.lease())
		return err
	})
	if err != nil {
		return Run{}, syncs.Sync{}, fmt.Errorf("claim a run of sync %s: %w", key.SyncID, err)
	}
	return run, sync, nil
}

func (s *Service) claim(ctx context.Context, key Key, executor string, lease time.Duration) (Run, syncs.Sync, error) {
	stored, err := s.Store.Run(ctx, key)
	if fault.Is(err, fault.NotFound) {
		return s.claimUnrecorded(ctx, key, executor, lease)
	}
	if err != nil {
		return Run{}, syncs.Sync{}, err
	}
	run, steps := stored.At(s.Now())
	if run.Status == Pending || steps > 0 && run.Status.Final() {
		// The open run may have reached a deadline and this one be promoted.
		if _, _, err := s.settle(ctx, key); err != nil {
			return Run{}, syncs.Sync{}, err
		}
		if stored, err = s.Store.Run(ctx, key); err != nil {
			return Run{}, syncs.Sync{}, err
		}
		run, _ = stored.At(s.Now())
	}
	switch run.Status {
	case Pending:
		return Run{}, syncs.Sync{}, conflict("run_pending", "the run waits until another run of its sync ends")
	case Success, Failed, Canceled, Skipped:
		return Run{}, syncs.Sync{}, conflict("run_ended", "the run has ended: it is %s", run.Status)
	case InProgress:
		if run.Executor != executor {
			return Run{}, syncs.Sync{}, conflict("run_claimed", "another executor has claimed the run")
		}
	case Queued:
	}
	sync, err := s.Syncs.Read(ctx, key.Workspace, key.SyncID)
	switch {
	case fault.Is(err, fault.NotFound):
		return Run{}, syncs.Sync{}, errDisabled
	case err != nil:
		return Run{}, syncs.Sync{}, err
	case run.Status == InProgress:
		return run, sync, nil
	case sync.Status == syncs.Disabled:
		return Run{}, syncs.Sync{}, errDisabled
	}
	if run.Attempt == 0 {
		superseded, err := s.superseded(ctx, key)
		if err != nil {
			return Run{}, syncs.Sync{}, err
		}
		if superseded {
			if err := s.supersede(ctx, key); err != nil {
				return Run{}, syncs.Sync{}, err
			}
			return Run{}, syncs.Sync{}, conflict("run_ended", "the run has ended: a newer run of its sync was executed first")
		}
	}
	version := stored.Version
	run = run.claim(executor, lease, instant(s.Now()))
	run.Version = version + 1
	return run, sync, s.Store.Commit(ctx, Change{Runs: []Run{run}})
}

// claimUnrecorded claims a run that no event has recorded yet, if it is due by the
// schedule of its sync.
func (s *Service) claimUnrecorded(ctx context.Context, key Key, executor string, lease time.Duration) (Run, syncs.Sync, error) {
	sync, err := s.Syncs.Read(ctx, key.Workspace, key.SyncID)
	switch {
	case fault.Is(err, fault.NotFound):
		return Run{}, syncs.Sync{}, ErrNotFound
	case err != nil:
		return Run{}, syncs.Sync{}, err
	}
	now := instant(s.Now())
	next, runs := sync.NextRun(key.Time.Add(-time.Second))
	switch {
	case sync.Status == syncs.Disabled:
		return Run{}, syncs.Sync{}, errDisabled
	case !runs || !next.Equal(key.Time) || key.Time.After(now) || now.Sub(key.Time) > ClaimWithin,
		!sync.ScheduledAt.After(now) && !key.Time.After(sync.ScheduledAt): // before it had this schedule
		return Run{}, syncs.Sync{}, ErrNotFound
	}
	run, change, err := s.begin(ctx, key, false)
	switch {
	case err != nil:
		return Run{}, syncs.Sync{}, err
	case change == nil:
		return Run{}, syncs.Sync{}, ErrStale // it has been recorded since it was read
	case run.Status == Skipped:
		if err := s.Store.Commit(ctx, *change); err != nil {
			return Run{}, syncs.Sync{}, err
		}
		return Run{}, syncs.Sync{}, conflict("run_ended", "the run has ended: it is skipped, since another run of its sync came first")
	}
	// A newer run may have been executed since begin read the newest one. Only while
	// this one holds the slot is it certain that there is none, so it is stored first.
	if err := s.Store.Commit(ctx, *change); err != nil {
		return Run{}, syncs.Sync{}, err
	}
	if err := s.recheck(ctx, key); err != nil {
		return Run{}, syncs.Sync{}, err
	}
	return s.claim(ctx, key, executor, lease)
}

// lookAhead is how many newer runs superseded reads. Our own choice: while a run is
// queued, which is for ClaimWithin at most, fewer newer ones can be skipped.
const lookAhead = 100

// superseded reports whether a newer run of the sync was executed, so that this one must
// not be: fences must grow. Due reads the newest run before it writes; a run that was
// triggered, claimed and finished in between is found here. Runs in the future do not
// count, as in newest.
func (s *Service) superseded(ctx context.Context, key Key) (bool, error) {
	newer, _, err := s.Store.Runs(ctx, key.Workspace, key.SyncID, s.future(key), lookAhead)
	if err != nil {
		return false, err
	}
	for _, run := range newer {
		if !run.Time.After(key.Time) {
			return false, nil
		}
		if run.Attempt > 0 {
			return true, nil
		}
	}
	return false, nil
}

// supersede cancels a queued run because a newer one was executed.
func (s *Service) supersede(ctx context.Context, key Key) error {
	o, ok, err := s.settle(ctx, key)
	if err != nil || !ok {
		return err
	}
	if !o.open.Time.Equal(key.Time) || o.open.Status != Queued {
		return ErrStale
	}
	return s.store(ctx, o, s.canceled(o.open, CodeSuperseded), nil)
}

// mayExecute returns nil if who may execute the runs of a workspace.
func mayExecute(who auth.Caller, workspace string) error {
	return auth.CheckExecute(who, workspace)
}

// Heartbeat extends the lease of the executor with the fence and stores its progress.
// CancelRequestedAt of the returned run is set if the executor should stop.
func (s *Service) Heartbeat(ctx context.Context, who auth.Caller, key Key, in HeartbeatRequest) (run Run, err error) {
	if err := mayExecute(who, key.Workspace); err != nil {
		return Run{}, err
	}
	if err := in.Validate(); err != nil {
		return Run{}, err
	}
	err = retryExecutor(ctx, func() error {
		run, err = s.heartbeat(ctx, key, in)
		return err
	})
	if err != nil {
		return Run{}, fmt.Errorf("extend a run of sync %s: %w", key.SyncID, err)
	}
	return run, nil
}

func (s *Service) heartbeat(ctx context.Context, key Key, in HeartbeatRequest) (Run, error) {
	now := instant(s.Now())
	run, ok, err := s.Store.Heartbeat(ctx, key, Beat{Fence: *in.Fence, Lease: in.lease(), Counters: in.Counters, Now: now})
	if err != nil || ok {
		return run, err
	}
	current, _ := run.At(now)
	if current.Status != InProgress || current.Fence() != *in.Fence {
		return Run{}, fenced(current)
	}
	lease := in.lease()
	if lease == 0 {
		lease = run.Lease
	}
	next := current.extend(lease, in.Counters, now)
	next.Version++
	return next, s.Store.Commit(ctx, Change{Runs: []Run{next}})
}

// fenced returns the error for an executor whose lease has ended.
func fenced(run Run) error {
	return conflict("fenced", "this fence is not that of the run's live attempt (the run is %s); stop, and do not write any more", run.Status)
}

// Finish ends a run with its executor's report. It returns a fault.Conflict for a report
// that is not of the current attempt, and stores it as LateReport. A repeated report
// changes nothing.
func (s *Service) Finish(ctx context.Context, who auth.Caller, key Key, in Report) (run Run, err error) {
	if err := mayExecute(who, key.Workspace); err != nil {
		return Run{}, err
	}
	if err := in.Validate(); err != nil {
		return Run{}, err
	}
	err = retryExecutor(ctx, func() error {
		run, err = s.finish(ctx, key, in)
		return err
	})
	if err != nil {
		return Run{}, fmt.Errorf("finish a run of sync %s: %w", key.SyncID, err)
	}
	return run, nil
}

func (s *Service) finish(ctx context.Context, key Key, in Report) (Run, error) {
	stored, err := s.Store.Run(ctx, key)
	if err != nil {
		return Run{}, err
	}
	now := instant(s.Now())
	run, steps := stored.At(now)
	switch {
	case run.Status == InProgress && run.Fence() == *in.Fence:
		o, ok, err := s.load(ctx, key)
		if err != nil {
			return Run{}, err
		}
		if !ok || !o.open.Time.Equal(key.Time) || o.open.Version != stored.Version {
			return Run{}, ErrStale
		}
		ended := in.end(run, now)
		if ended.Status == Success && ended.allFailed() {
			return Run{}, errAllFailed() // an earlier heartbeat reported the counters
		}
		ended.Version = stored.Version + 1
		return ended, s.store(ctx, o, ended, in.FailedRecords)
	case run.Reported && run.Fence() == *in.Fence && run.Status == Status(*in.Status):
		return run, nil
	}
	if steps > 0 {
		if _, _, err := s.settle(ctx, key); err != nil {
			return Run{}, err
		}
		return Run{}, ErrStale // decide again with the stored state
	}
	if late := in.late(now); !late.same(stored.LateReport) {
		stored.LateReport, stored.UpdatedAt, stored.Transition = late, now, ""
		stored.Version++
		if err := s.Store.Commit(ctx, Change{Runs: []Run{stored}}); err != nil {
			return Run{}, err
		}
	}
	if run.Reported && run.Fence() == *in.Fence {
		return Run{}, conflict("run_ended", "the run has ended: it was reported as %s before", run.Status)
	}
	return Run{}, fenced(run)
}

// Cancel cancels a run that has not started, and requests the executor of one in
// progress to stop. With force it ends that too, so that its executor is fenced off.
// underWay is true if the run continues until the executor stops or its lease expires.
func (s *Service) Cancel(ctx context.Context, who auth.Caller, key Key, force bool) (run Run, underWay bool, err error) {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return Run{}, false, err
	}
	err = retry(ctx, func() error {
		run, err = s.cancel(ctx, key, force)
		return err
	})
	if err != nil {
		return Run{}, false, fmt.Errorf("cancel a run of sync %s: %w", key.SyncID, err)
	}
	return run, run.Status == InProgress, nil
}

func (s *Service) cancel(ctx context.Context, key Key, force bool) (Run, error) {
	run, err := s.Store.Run(ctx, key)
	switch {
	case err != nil:
		return Run{}, err
	case run.Status == Canceled:
		return run, nil
	case run.Status.Final():
		return Run{}, conflict("run_ended", "the run has ended: it is %s", run.Status)
	}
	o, ok, err := s.settle(ctx, key)
	if err != nil {
		return Run{}, err
	}
	switch {
	case !ok:
		return Run{}, ErrStale
	case o.waiting != nil && o.waiting.Time.Equal(key.Time):
		return s.canceled(*o.waiting, ""), s.cancelWaiting(ctx, o)
	case !o.open.Time.Equal(key.Time):
		return Run{}, ErrStale // it has reached a deadline: decide again
	case o.open.Status == Queued || force:
		ended := s.canceled(o.open, "")
		if ended.CancelRequestedAt.IsZero() && !ended.StartedAt.IsZero() {
			ended.CancelRequestedAt = ended.FinishedAt
		}
		return ended, s.store(ctx, o, ended, nil)
	case !o.open.CancelRequestedAt.IsZero():
		return o.open, nil
	}
	requested := o.open.requestCancel(instant(s.Now()))
	requested.Version++
	return requested, s.store(ctx, o, requested, nil)
}

// Read returns the current state of a run, and the number of changes since the stored
// state (see Run.At).
func (s *Service) Read(ctx context.Context, who auth.Caller, key Key) (Run, int, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return Run{}, 0, err
	}
	run, err := s.Store.Run(ctx, key)
	if err != nil {
		return Run{}, 0, err
	}
	current, steps := run.At(s.Now())
	return current, steps, nil
}

// Records returns the failed rows that the report of a run named.
func (s *Service) Records(ctx context.Context, who auth.Caller, key Key) ([]Record, error) {
	run, _, err := s.Read(ctx, who, key)
	if err != nil || !run.HasRecords {
		return nil, err
	}
	return s.Store.Records(ctx, key)
}

// The bounds of a page of runs.
const (
	DefaultPage = 20
	MaxPage     = 100
)

// The bounds of a request with a filter. Our own choices.
const (
	readAhead = 1000 // runs that one query of the store reads

	// A page that is not full ends after searchTime, an empty one searchMargin before
	// the deadline of the request or after maxSearchTime.
	searchTime    = time.Second
	searchMargin  = 2 * time.Second
	maxSearchTime = 10 * time.Second
)

// Query selects the runs of a sync.
type Query struct {
	SyncID string
	Size   int       // 1 … MaxPage
	Before time.Time // the time of the last run of the previous page; zero for the first page
	Status Status    // "" for any
}

// Page is one page of a list, newest first.
type Page struct {
	Runs []Run
	Next time.Time // the Before of the next page; zero on the last page
}

// List returns a page of the runs of a sync in their current state. With a filter a page
// may have fewer than q.Size runs and still not be the last one, and it may be empty if
// the time of the request ends before a run matches.
func (s *Service) List(ctx context.Context, who auth.Caller, q Query) (Page, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return Page{}, err
	}
	soon, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	last, cancel := context.WithTimeout(ctx, maxSearchTime)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		last, cancel = context.WithDeadline(last, deadline.Add(-searchMargin))
		defer cancel()
	}
	page, before, now := Page{}, q.Before, s.Now()
	for {
		limit := q.Size + 1 - len(page.Runs)
		if q.Status != "" {
			limit = readAhead
		}
		runs, more, err := s.Store.Runs(ctx, who.Workspace, q.SyncID, before, limit)
		if err != nil {
			return Page{}, err
		}
		if len(runs) == 0 && q.Before.IsZero() && len(page.Runs) == 0 {
			_, err := s.Syncs.Read(ctx, who.Workspace, q.SyncID) // the list is empty only if the sync exists
			return page, err
		}
		for _, stored := range runs {
			run, _ := stored.At(now)
			if q.Status == "" || run.Status == q.Status {
				if len(page.Runs) == q.Size {
					page.Next = before
					return page, nil
				}
				page.Runs = append(page.Runs, run)
			}
			before = stored.Time
		}
		switch {
		case !more:
			return page, nil
		case len(page.Runs) > 0 && soon.Err() != nil, last.Err() != nil:
			page.Next = before
			return page, nil
		}
	}
}

// OpenQuery selects the open runs of a workspace.
type OpenQuery struct {
	Size   int    // 1 … MaxPage syncs
	After  string // the ID of the last sync of the previous page; "" for the first page
	Status Status // "" for any
}

// OpenPage is one page of the list of open runs, by sync.
type OpenPage struct {
	Runs []Run
	Next string // the After of the next page; "" on the last page
}

// Open returns a page of the runs of the caller's workspace that have not ended, for
// executors that poll for work. It leaves out runs that a deadline has ended.
func (s *Service) Open(ctx context.Context, who auth.Caller, q OpenQuery) (OpenPage, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return OpenPage{}, err
	}
	page, now := OpenPage{}, s.Now()
	slots, more, err := s.Store.Slots(ctx, who.Workspace, q.After, q.Size)
	if err != nil {
		return OpenPage{}, err
	}
	var keys []Key
	for _, slot := range slots {
		keys = append(keys, Key{slot.Workspace, slot.SyncID, slot.Open})
		if !slot.Waiting.IsZero() {
			keys = append(keys, Key{slot.Workspace, slot.SyncID, slot.Waiting})
		}
		page.Next = slot.SyncID
	}
	found, err := s.Store.Batch(ctx, keys)
	if err != nil {
		return OpenPage{}, err
	}
	for _, stored := range found {
		if run, _ := stored.At(now); !run.Status.Final() && (q.Status == "" || run.Status == q.Status) {
			page.Runs = append(page.Runs, run)
		}
	}
	slices.SortFunc(page.Runs, func(x, y Run) int {
		return cmp.Or(strings.Compare(x.SyncID, y.SyncID), x.Time.Compare(y.Time))
	})
	if !more {
		page.Next = ""
	}
	return page, nil
}
