package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"syncplane/pkg/event"
)

// pendingBucket holds what the Reader has taken over and not delivered, by
// sequence number.
const pendingBucket = "waiting"

// Pending is an event of the feed that the Reader has taken over and that is not
// delivered. The feed keeps it.
type Pending struct {
	Sequence    uint64
	Since       time.Time // when it was taken over, in whole seconds
	OrderingKey string    // those of one line are delivered in order
}

// AddPending stores that the Reader has taken over these events, and every other one
// until a sequence number.
func (st *Store) AddPending(ctx context.Context, events []Pending, until uint64) error {
	return st.write(ctx, func(tx *tx) error {
		waiting := tx.pending()
		for _, w := range events {
			value := append(binary.BigEndian.AppendUint64(nil, uint64(w.Since.Unix())), w.OrderingKey...) //nolint:gosec // any int64 comes back
			if err := waiting.Put(sequenceKey(w.Sequence), value); err != nil {
				return err
			}
		}
		return tx.checkpoints.Put([]byte(SenderCheckpoint), sequenceKey(until))
	})
}

// Pending returns what waits, oldest first.
func (st *Store) Pending() (events []Pending, err error) {
	err = st.view(func(tx *tx) error {
		cursor := tx.pending().Cursor()
		for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
			if len(value) < 8 {
				continue
			}
			since := int64(binary.BigEndian.Uint64(value)) //nolint:gosec // as in Await
			events = append(events, Pending{binary.BigEndian.Uint64(key), time.Unix(since, 0), string(value[8:])})
		}
		return nil
	})
	return events, err
}

// RemovePending stores that events do not wait any more.
func (st *Store) RemovePending(ctx context.Context, sequences ...uint64) error {
	return st.write(ctx, func(tx *tx) error {
		waiting := tx.pending()
		for _, sequence := range sequences {
			if err := waiting.Delete(sequenceKey(sequence)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ResetDelivery has no event wait or be kept for the Reader any more.
func (st *Store) ResetDelivery(ctx context.Context) error {
	return st.write(ctx, func(tx *tx) error {
		cursor := tx.pending().Cursor()
		for key, _ := cursor.First(); key != nil; key, _ = cursor.First() {
			if err := cursor.Delete(); err != nil {
				return err
			}
		}
		return tx.checkpoints.Delete([]byte(SenderCheckpoint))
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
