package bolt

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// maxFeed is how many events are kept for those who come back for them, some
// 100 MB at most with usual configurations. Our own choice.
const maxFeed = 100_000

// maxTrimmed is how many old events a commit removes: more than it adds, so
// that they never pile up.
const maxTrimmed = 2 * maxGroup

// Entry is an event in the feed. Sequence numbers begin at 1 and grow by one.
type Entry struct {
	Sequence uint64
	event.Event
}

// feedRow is an event as it is stored, in JSON. Data is text inside it, so that
// it comes back byte for byte.
type feedRow struct {
	Kind      string    `json:"kind"`
	ID        string    `json:"id"`
	Subject   string    `json:"subject"`
	Workspace string    `json:"workspace"`
	Time      time.Time `json:"time"`
	Data      string    `json:"data"`
}

func feedRowOf(e event.Event) feedRow {
	return feedRow{string(e.Kind), e.ID, e.Subject, e.Workspace, e.Time, string(e.Data)}
}

func (r feedRow) event() event.Event {
	return event.Event{Kind: event.Kind(r.Kind), ID: r.ID, Subject: r.Subject, Workspace: r.Workspace, Time: r.Time.UTC(), Data: []byte(r.Data)}
}

// feed tells those who wait for events that there are more.
type feed struct {
	mu      sync.Mutex
	head    uint64
	changed chan struct{} // closed when last grows
}

func (f *feed) advance(last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if last > f.head {
		f.head = last
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// Head is the sequence number of the newest event, and a channel that is closed
// when there is a newer one.
func (st *Store) Head() (sequence uint64, grown <-chan struct{}) {
	st.feed.mu.Lock()
	defer st.feed.mu.Unlock()
	return st.feed.head, st.feed.changed
}

// LastSequence returns the sequence number of the newest event that is stored, 0 if
// none ever was. Last may not know it yet.
func (st *Store) LastSequence() (sequence uint64, err error) {
	err = st.view(func(tx *tx) error {
		sequence = tx.feed.Sequence()
		return nil
	})
	return sequence, err
}

// Events are at most limit events of the feed after a sequence number, oldest
// first. Of very old ones the oldest that are kept come. One that cannot be read
// is left out and logged.
func (st *Store) Events(after uint64, limit int) ([]Entry, error) {
	var entries []Entry
	err := st.view(func(tx *tx) error {
		cursor := tx.feed.Cursor()
		for key, value := cursor.Seek(sequenceKey(after + 1)); key != nil && len(entries) < limit; key, value = cursor.Next() {
			var r feedRow
			if err := json.Unmarshal(value, &r); err != nil {
				st.unreadable(context.Background(), fmt.Errorf("decode event %d: %w", binary.BigEndian.Uint64(key), err))
				continue
			}
			entries = append(entries, Entry{binary.BigEndian.Uint64(key), r.event()})
		}
		return nil
	})
	return entries, err
}

// Publish puts events into the feed, and marks how far their maker is, in one
// commit.
func (st *Store) Publish(ctx context.Context, events []event.Event, name string, mark uint64) error {
	rows := make([][]byte, 0, len(events))
	for _, e := range events {
		encoded, err := encode(feedRowOf(e))
		if err != nil {
			return err
		}
		rows = append(rows, encoded)
	}
	return st.write(ctx, func(tx *tx) error {
		for _, encoded := range rows {
			if err := tx.append(encoded); err != nil {
				return err
			}
		}
		return tx.checkpoints.Put([]byte(name), sequenceKey(mark))
	})
}

// Checkpoint is what was last marked under a name. ok is false if nothing was.
func (st *Store) Checkpoint(name string) (mark uint64, ok bool, err error) {
	err = st.view(func(tx *tx) error {
		if value := tx.checkpoints.Get([]byte(name)); value != nil {
			mark, ok = binary.BigEndian.Uint64(value), true
		}
		return nil
	})
	return mark, ok, err
}

// SenderCheckpoint is the mark of a reader whose events are kept until it has read them.
const SenderCheckpoint = "reader"

// RecorderCheckpoint is the mark of the recorder of runs, whose events are kept until it has
// handled them.
const RecorderCheckpoint = "recorder"

// Each calls visit for every sync there is, until one returns an error. One that
// cannot be read is left out and logged.
func (st *Store) Each(visit func(syncs.Sync) error) error {
	return st.view(func(tx *tx) error {
		cursor := tx.all.Cursor()
		for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
			workspace, id, ok := splitKey(key)
			if !ok {
				continue
			}
			s, err := decode(workspace, id, value)
			if err != nil {
				st.unreadable(context.Background(), err)
				continue
			}
			if err := visit(s); err != nil {
				return err
			}
		}
		return nil
	})
}

// append adds an event to the feed.
func (t *tx) append(encoded []byte) error {
	sequence, err := t.feed.NextSequence()
	if err != nil {
		return err
	}
	return t.feed.Put(sequenceKey(sequence), encoded)
}

// trim removes old events, but none that the Reader has yet to read or deliver, or
// the Recorder to handle.
func (t *tx) trim() error {
	last := t.feed.Sequence()
	if last <= maxFeed {
		return nil
	}
	keep := last - maxFeed
	for _, name := range []string{SenderCheckpoint, RecorderCheckpoint} {
		if read := t.checkpoints.Get([]byte(name)); read != nil {
			keep = min(keep, binary.BigEndian.Uint64(read))
		}
	}
	if first, _ := t.pending().Cursor().First(); first != nil {
		keep = min(keep, binary.BigEndian.Uint64(first)-1)
	}
	cursor := t.feed.Cursor()
	for range maxTrimmed {
		key, _ := cursor.First()
		if key == nil || binary.BigEndian.Uint64(key) > keep {
			return nil
		}
		if err := cursor.Delete(); err != nil {
			return err
		}
	}
	return nil
}

func sequenceKey(sequence uint64) []byte { return binary.BigEndian.AppendUint64(nil, sequence) }
