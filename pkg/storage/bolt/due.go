package bolt

import (
	"context"
	"encoding/binary"
	"strconv"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// DueRun is a run that is due according to one version of its sync.
type DueRun struct {
	Event   event.Event
	Version int64 // of the sync

	// StillDue reports whether the run is due according to another version of
	// the sync. It is called in the commit, for a sync that is not paused.
	StillDue func(syncs.Sync) bool
}

// Progress is the checkpoint of the local scheduler: all runs that are due up to
// Second have been started, and in the second after it those of the syncs up to
// ID.
type Progress struct {
	Second    int64  // since 1970
	ID        string // of a sync; "" is none
	LatestRun int64  // scheduled time, in seconds since 1970, of the latest run started before the clock was set back; 0 if it was not
}

// progressCheckpoint is the name under which a Progress is stored.
const progressCheckpoint = "clock"

// StartRuns appends the events of runs to the feed and stores p, in one commit. It
// leaves out the runs that are no longer due in this commit because their sync was
// deleted or paused, cannot be read or has another schedule. So no run starts
// after such a change was acknowledged.
func (st *Store) StartRuns(ctx context.Context, runs []DueRun, p Progress) error {
	rows, err := encodeDueRuns(runs)
	if err != nil {
		return err
	}
	return st.write(ctx, func(tx *tx) error {
		for i, r := range runs {
			if !tx.due(r) {
				continue
			}
			if err := tx.append(rows[i]); err != nil {
				return err
			}
		}
		return tx.checkpoints.Put([]byte(progressCheckpoint), p.encode())
	})
}

// encode returns the two numbers in eight bytes each, followed by the ID.
func (p Progress) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Second)) //nolint:gosec // as below
	b = binary.BigEndian.AppendUint64(b, uint64(p.LatestRun)) //nolint:gosec // the conversion is reversible for every int64
	return append(b, p.ID...)
}

// Progress returns the Progress that StartRuns stored last. ok is false if it stored none.
func (st *Store) Progress() (p Progress, ok bool, err error) {
	err = st.view(func(tx *tx) error {
		b := tx.checkpoints.Get([]byte(progressCheckpoint))
		if ok = len(b) >= 8; ok {
			p.Second = int64(binary.BigEndian.Uint64(b)) //nolint:gosec // as encode
		}
		if len(b) >= 16 { // the first versions stored the second alone
			p.LatestRun, p.ID = int64(binary.BigEndian.Uint64(b[8:])), string(b[16:]) //nolint:gosec // as encode
		}
		return nil
	})
	return p, ok, err
}

func encodeDueRuns(runs []DueRun) ([][]byte, error) {
	rows := make([][]byte, 0, len(runs))
	for _, r := range runs {
		encoded, err := encode(feedRowOf(r.Event))
		if err != nil {
			return nil, err
		}
		rows = append(rows, encoded)
	}
	return rows, nil
}

// due reports whether a run is due according to the stored sync.
func (t *tx) due(r DueRun) bool {
	value := t.all.Get(keyOf(r.Event.Workspace, r.Event.Subject))
	if value == nil {
		return false
	}
	if hasVersion(value, r.Event.Subject, r.Version) {
		return true
	}
	s, err := decode(r.Event.Workspace, r.Event.Subject, value)
	if err != nil { // the reader of the change logs it
		return false
	}
	return s.Version == r.Version || s.Status != syncs.Disabled && r.StillDue(s)
}

// hasVersion reports whether a stored sync has this version. It reads only the
// beginning of the row: a row may have hundreds of kilobytes, and a commit may check
// for a thousand of them. A result of false may be wrong.
func hasVersion(value []byte, id string, version int64) bool {
	beginning := make([]byte, 0, 96)
	beginning = append(append(append(beginning, `{"id":"`...), id...), `","version":`...)
	beginning = append(strconv.AppendInt(beginning, version, 10), ',')
	return len(value) > len(beginning) && string(value[:len(beginning)]) == string(beginning)
}
