package bolt

import (
	"context"
	"encoding/binary"
	"strconv"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// DueRun is a run that is due by what is known of its sync.
type DueRun struct {
	Event   event.Event
	Version int64 // of the sync that is known

	// StillDue reports whether the run is due by another version of the sync.
	// It is called in the commit, for a sync that is not paused.
	StillDue func(syncs.Sync) bool
}

// Progress is how far the runs have begun: all that are due until a second, and
// of those that are due in the next one those of syncs up to an ID.
type Progress struct {
	Second    int64  // since 1970
	ID        string // of a sync; "" is none
	LatestRun int64  // since 1970: the latest run that began before the clock was set back; 0 if it was not
}

// progressCheckpoint is the mark that holds a Progress.
const progressCheckpoint = "clock"

// StartRuns puts the events of runs into the feed, and stores p, in one commit. It leaves out the runs that are not due any more in this very
// commit: their sync is gone, paused or unreadable, or has another schedule. So
// none follows the acknowledgement of such a change.
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

// encode writes eight bytes for each of the numbers, and the ID.
func (p Progress) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Second)) //nolint:gosec // as below
	b = binary.BigEndian.AppendUint64(b, uint64(p.LatestRun)) //nolint:gosec // any int64 comes back
	return append(b, p.ID...)
}

// Progress returns what Begin stored last. ok is false if it stored nothing.
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

// due reports whether a run is due by what is stored now.
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

// hasVersion reports whether a stored sync has this version, by the beginning of
// its row alone: a row may have hundreds of kilobytes, and a commit may ask for a
// thousand of them. false may be wrong.
func hasVersion(value []byte, id string, version int64) bool {
	beginning := make([]byte, 0, 96)
	beginning = append(append(append(beginning, `{"id":"`...), id...), `","version":`...)
	beginning = append(strconv.AppendInt(beginning, version, 10), ',')
	return len(value) > len(beginning) && string(value[:len(beginning)]) == string(beginning)
}
