package bolt

import (
	"context"
	"strconv"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// Due is a run that is due by what is known of its sync.
type Due struct {
	Event   event.Event
	Version int64 // of the sync that is known

	// Still reports whether the run is due by another version of the sync.
	// It is called in the commit, for a sync that is not paused.
	Still func(syncs.Sync) bool
}

// Begin puts the events of runs into the feed, and marks how far their maker is,
// in one commit. It leaves out the runs that are not due any more in this very
// commit: their sync is gone, paused or unreadable, or has another schedule. So
// none follows the acknowledgement of such a change.
func (st *Store) Begin(ctx context.Context, runs []Due, name string, mark uint64) error {
	rows, err := encodeRuns(runs)
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
		return tx.marks.Put([]byte(name), sequenceKey(mark))
	})
}

func encodeRuns(runs []Due) ([][]byte, error) {
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
func (t *tx) due(r Due) bool {
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
	return s.Version == r.Version || s.Status != syncs.Disabled && r.Still(s)
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
