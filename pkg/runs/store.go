package runs

import (
	"context"
	"time"

	"syncplane/pkg/syncs"
)

// Slot records the runs of a sync that have not ended. It exists while a run is open,
// so that a condition on its key prevents a second one.
type Slot struct {
	Workspace string
	SyncID    string
	Version   int64     // 1 at creation, incremented by every write
	Open      time.Time // the scheduled time of the open run
	Waiting   time.Time // that of the pending run; zero if there is none
}

// Store stores runs. Package storagetest/runstest tests its promises over every
// storage backend. What a method has acknowledged survives a crash. Expired runs and
// idempotency keys are treated as absent. A run or a slot that this version cannot read
// is left out of every list and logged; a method that reads it alone returns
// ErrUnreadable. All reads are strongly consistent: they see every write that returned
// before they were called. A method returns a fault.Unavailable, and changes nothing, if
// its context has ended before the call.
type Store interface {
	// Run returns a run as it was last written, or a fault.NotFound.
	Run(ctx context.Context, key Key) (Run, error)

	// Batch returns those of up to 200 runs that exist, in any order. Each is
	// as it was last written; they may have been read at different times.
	Batch(ctx context.Context, keys []Key) ([]Run, error)

	// Runs returns up to limit runs of a sync, newest first, that are older
	// than before; the newest if before is zero. more is true if there may be
	// others. It may return fewer than limit, but at least one, while there
	// are more.
	Runs(ctx context.Context, workspace, syncID string, before time.Time, limit int) (runs []Run, more bool, err error)

	// Slot returns the slot of a sync. ok is false if no run is open.
	Slot(ctx context.Context, workspace, syncID string) (slot Slot, ok bool, err error)

	// Slots returns up to limit slots of a workspace, in the order of their
	// sync IDs, beginning after a sync ID; with the first if after is "".
	Slots(ctx context.Context, workspace, after string, limit int) (slots []Slot, more bool, err error)

	// Records returns the failed rows in the report of a run, if any.
	Records(ctx context.Context, key Key) ([]Record, error)

	// Replay returns the run that a trigger with an idempotency key returned,
	// as it was then, and whether it was created by the trigger. ok is false if
	// the workspace has not used the key. It returns syncs.ErrKeyReused if the
	// key was used with another fingerprint.
	Replay(ctx context.Context, workspace string, key syncs.IdempotencyKey) (run Run, created, ok bool, err error)

	// Commit writes a change atomically. It returns ErrStale and changes
	// nothing if anything that the change replaces is not what the change was
	// computed from.
	Commit(ctx context.Context, change Change) error

	// Heartbeat extends the lease of a run that is in progress with the
	// fence of beat, if its deadline is after beat.Now, its new deadline is
	// not after EndBy, no cancel was requested, and UpdatedAt is not after
	// beat.Latest: one write without a read.
	// Otherwise it changes nothing and returns the stored run and ok false; it
	// may also do so for a beat without a lease. It returns a fault.NotFound
	// if there is no run.
	Heartbeat(ctx context.Context, key Key, beat Beat) (run Run, ok bool, err error)
}

// Change is a set of writes that are committed atomically.
type Change struct {
	// Runs are written, each over the version before it; a run of Version 1
	// must not exist yet. All are of one sync.
	Runs []Run

	// Slot, if set, replaces the slot from which it was computed.
	Slot *SlotChange

	// Sync, if set, is written over the sync of the version before.
	Sync *syncs.Sync

	// Records, if any, are the failed rows of the first run.
	Records []Record

	// IdempotencyKey, if set, is stored with the first run as its answer. The
	// key must be unused. Answer, if set, is stored in place of the first run,
	// for a run that is returned and not written.
	IdempotencyKey *syncs.IdempotencyKey
	Answer         *Run
	Created        bool // the answer was a new run
}

// Answered returns the run that is the answer to the request.
func (c Change) Answered() Run {
	if c.Answer != nil {
		return *c.Answer
	}
	return c.Runs[0]
}

// SlotChange replaces a slot. Before is nil if there is none; a nil After deletes it.
type SlotChange struct {
	Before, After *Slot
}

// Beat is a heartbeat of the executor whose fence it has.
type Beat struct {
	Fence    int64
	Lease    time.Duration // 0 for the lease granted last
	Counters Counters
	Now      time.Time
}

// Latest returns the latest time of the last write of a run by a clock that was not
// ahead of that of b.
func (b Beat) Latest() time.Time { return b.Now.Add(clockTolerance) }

// Record identifies a row that an executor could not write. It does not hold the data
// of the row.
type Record struct {
	PrimaryKey string
	Action     string
	Error      string
}
