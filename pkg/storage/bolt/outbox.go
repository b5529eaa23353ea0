package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"syncplane/pkg/event"
)

// waitingBucket holds what the Reader has taken over and not delivered, by
// sequence number.
const waitingBucket = "waiting"

// Waiting is an event of the feed that the Reader has taken over and that is not
// delivered. The feed keeps it.
type Waiting struct {
	Sequence uint64
	Since    time.Time // when it was taken over, in whole seconds
	Line     string    // those of one line are delivered in order
}

// Await stores that the Reader has taken over these events, and every other one
// until a sequence number.
func (st *Store) Await(ctx context.Context, events []Waiting, until uint64) error {
	return st.write(ctx, func(tx *tx) error {
		waiting := tx.waiting()
		for _, w := range events {
			value := append(binary.BigEndian.AppendUint64(nil, uint64(w.Since.Unix())), w.Line...) //nolint:gosec // any int64 comes back
			if err := waiting.Put(sequenceKey(w.Sequence), value); err != nil {
				return err
			}
		}
		return tx.marks.Put([]byte(Reader), sequenceKey(until))
	})
}

// Waiting returns what waits, oldest first.
func (st *Store) Waiting() (events []Waiting, err error) {
	err = st.view(func(tx *tx) error {
		cursor := tx.waiting().Cursor()
		for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
			if len(value) < 8 {
				continue
			}
			since := int64(binary.BigEndian.Uint64(value)) //nolint:gosec // as in Await
			events = append(events, Waiting{binary.BigEndian.Uint64(key), time.Unix(since, 0), string(value[8:])})
		}
		return nil
	})
	return events, err
}

// Delivered stores that events do not wait any more.
func (st *Store) Delivered(ctx context.Context, sequences ...uint64) error {
	return st.write(ctx, func(tx *tx) error {
		waiting := tx.waiting()
		for _, sequence := range sequences {
			if err := waiting.Delete(sequenceKey(sequence)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ForgetReader has no event wait or be kept for the Reader any more.
func (st *Store) ForgetReader(ctx context.Context) error {
	return st.write(ctx, func(tx *tx) error {
		cursor := tx.waiting().Cursor()
		for key, _ := cursor.First(); key != nil; key, _ = cursor.First() {
			if err := cursor.Delete(); err != nil {
				return err
			}
		}
		return tx.marks.Delete([]byte(Reader))
	})
}

// Event returns one event of the feed. ok is false if it is not kept or cannot be
// read, which is logged.
func (st *Store) Event(sequence uint64) (e event.Event, ok bool, err error) {
	entries, err := st.Events(sequence-1, 1)
	if err != nil || len(entries) == 0 || entries[0].Sequence != sequence {
		return event.Event{}, false, err
	}
	return entries[0].Event, true, nil
}
