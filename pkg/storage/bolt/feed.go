package bolt

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"syncplane/pkg/event"
)

// maxFeed is how many delivered events the feed keeps for clients that reconnect:
// about 100 MB at most with usual configurations. Our own choice.
const maxFeed = 100_000

// maxTrimmed is how many old events a commit removes at most: more than it adds,
// so that the feed shrinks back to its bound.
const maxTrimmed = 2 * maxGroup

// Entry is an event in the feed. Sequence numbers start at 1 and increase by 1.
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

// feed notifies readers of new events.
type feed struct {
	mu      sync.Mutex
	head    uint64
	changed chan struct{} // closed when head increases
}

func (f *feed) advance(head uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if head > f.head {
		f.head = head
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

// Head returns the sequence number of the newest event that was announced, and a
// channel that is closed when there is a newer one.
func (st *Store) Head() (sequence uint64, changed <-chan struct{}) {
	st.feed.mu.Lock()
	defer st.feed.mu.Unlock()
	return st.feed.head, st.feed.changed
}

// LastSequence returns the sequence number of the newest event that is stored, 0 if
// there never was one. Head may not announce it yet.
func (st *Store) LastSequence() (sequence uint64, err error) {
	err = st.view(func(tx *tx) error {
		sequence = tx.feed.Sequence()
		return nil
	})
	return sequence, err
}

// Events returns at most limit events of the feed after a sequence number, oldest
// first. If the next events were removed, it starts with the oldest that is kept.
// An event that cannot be read is left out and logged.
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

// Publish appends events to the feed and sets a checkpoint, in one commit.
func (st *Store) Publish(ctx context.Context, events []event.Event, checkpoint string, sequence uint64) error {
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
		return tx.checkpoints.Put([]byte(checkpoint), sequenceKey(sequence))
	})
}

// Checkpoint returns the checkpoint with a name. ok is false if it was never set.
func (st *Store) Checkpoint(name string) (sequence uint64, ok bool, err error) {
	err = st.view(func(tx *tx) error {
		if value := tx.checkpoints.Get([]byte(name)); value != nil {
			sequence, ok = binary.BigEndian.Uint64(value), true
		}
		return nil
	})
	return sequence, ok, err
}

// StartCheckpoint returns the checkpoint with a name. If it was never set, it sets it to
// the newest event that is stored, so that its reader reads the events from now on.
func (st *Store) StartCheckpoint(ctx context.Context, name string) (sequence uint64, err error) {
	sequence, ok, err := st.Checkpoint(name)
	if ok || err != nil {
		return sequence, err
	}
	return writeResult(ctx, st, func(tx *tx) (uint64, error) {
		newest := tx.feed.Sequence()
		return newest, tx.checkpoints.Put([]byte(name), sequenceKey(newest))
	})
}

// The names of the checkpoints that hold events in the feed: an event is kept until
// the checkpoint has reached it.
const (
	SenderCheckpoint   = "reader"   // of the sender of webhooks
	RecorderCheckpoint = "recorder" // of the recorder of runs
)

// append adds an event to the feed.
func (t *tx) append(encoded []byte) error {
	sequence, err := t.feed.NextSequence()
	if err != nil {
		return err
	}
	return t.feed.Put(sequenceKey(sequence), encoded)
}

// trim removes old events, but none that the sender has yet to read or deliver and
// none that the recorder has yet to handle.
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
