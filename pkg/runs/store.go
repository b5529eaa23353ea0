package runs

import (
	"context"
	"time"

	"syncplane/pkg/syncs"
)

// Slot is the place that a sync has for runs that have not ended. It exists
// while a run is open, so that overlap is a constraint on a key.
type Slot struct {
	Workspace string
	SyncID    string
	Version   int64     // 1 at creation, incremented by every write
	Open      time.Time // the scheduled time of the open run
	Waiting   time.Time // that of the pending run; zero if there is none
}

// Store keeps runs. Package storagetest tests its promises over every storage
// backend. Whatever a method acknowledges survives a crash. Expired runs and
// idempotency keys do not exist. All reads see every write that returned
// before they began.
type Store interface {
	// Run returns a run as it was last written, or a fault.NotFound.
	Run(ctx context.Context, key Key) (Run, error)

	// Batch returns those of up to 200 runs that exist, in any order. Each is as it
	// was last written, but they may be of different moments.
	Batch(ctx context.Context, keys []Key) ([]Run, error)

	// Runs returns up to limit runs of a sync, newest first, that are older
	// than before; from the newest if before is zero. more is true if there
	// may be others. It may return fewer than limit, but not none, while
	// there are more.
	Runs(ctx context.Context, workspace, syncID string, before time.Time, limit int) (runs []Run, more bool, err error)

	// Slot returns the slot of a sync. ok is false if no run is open.
	Slot(ctx context.Context, workspace, syncID string) (slot Slot, ok bool, err error)

	// Slots returns up to limit slots of a workspace, in the order of their
	// sync IDs, after a sync ID; from the first if after is "".
	Slots(ctx context.Context, workspace, after string, limit int) (slots []Slot, more bool, err error)

	// Records returns the failed rows that a run's report named, none if it
	// named none.
	Records(ctx context.Context, key Key) ([]Record, error)

	// Replay returns the run that a trigger with an idempotency key was
	// answered with, as it was then. ok is false if the workspace has not
	// used the key. A key that was used with another fingerprint is a
	// fault.Invalid.
	Replay(ctx context.Context, workspace string, once syncs.IdempotencyKey) (run Run, created, ok bool, err error)

	// Commit makes a change, all of it or nothing. It returns a
	// fault.Conflict, and changes nothing, if anything that the change
	// replaces is not what it was computed from.
	Commit(ctx context.Context, change Change) error

	// Heartbeat extends the lease of a run that is in progress with the
	// fence of beat, whose deadline is after beat.Now and whose new deadline
	// is not after its end, and for which no cancel was requested: one write
	// without a read. Otherwise, and for a beat without a lease at its
	// choice, it changes nothing and returns the stored run and ok false. It
	// returns a fault.NotFound if there is no run.
	Heartbeat(ctx context.Context, key Key, beat Beat) (run Run, ok bool, err error)
}

// Change is a set of writes that are made together.
type Change struct {
	// Runs are written over the run of the version before, or where no run
	// is if their Version is 1. All are of one sync.
	Runs []Run

	// Slot, if set, is written over the slot from which it was computed.
	Slot *SlotChange

	// Sync, if set, is written over the sync of the version before.
	Sync *syncs.Sync

	// Records, if any, are the failed rows of the first run.
	Records []Record

	// IdempotencyKey, if set, is the idempotency key that the first run answers. The
	// key must be unused. Answer, if set, stands in for a first run that is
	// only returned and not written.
	IdempotencyKey *syncs.IdempotencyKey
	Answer         *Run
	Created        bool // the answer was a new run
}

// Answered returns the run that a request is answered with.
func (c Change) Answered() Run {
	if c.Answer != nil {
		return *c.Answer
	}
	return c.Runs[0]
}

// SlotChange replaces a slot. A nil Before means that there is none; a nil
// After deletes it.
type SlotChange struct {
	Before, After *Slot
}

// Beat is a heartbeat of the executor whose fence it has.
type Beat struct {
	Fence    int64
	Lease    time.Duration // 0 keeps that of the claim
	Counters Counters
	Now      time.Time
}

// Record is a row that an executor could not write. It names the row and holds
// none of its data.
type Record struct {
	PrimaryKey string
	Action     string
	Error      string
}
