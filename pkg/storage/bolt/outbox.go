package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"syncplane/pkg/event"
)

// pendingBucket is the bucket of the pending events, by sequence number.
const pendingBucket = "waiting"

// Pending is an event that the sender has read from the feed and not yet delivered.
// The feed keeps it.
type Pending struct {
	Sequence    uint64
	Since       time.Time // when the sender read it, in whole seconds
	OrderingKey string    // events with the same key are delivered in order
}

// AddPending stores that the sender has read the feed up to a sequence number and
// that these events are to be delivered.
func (st *Store) AddPending(ctx context.Context, events []Pending, checkpoint uint64) error {
	return st.write(ctx, func(tx *tx) error {
		pending := tx.pending()
		for _, e := range events {
			value := append(binary.BigEndian.AppendUint64(nil, uint64(e.Since.Unix())), e.OrderingKey...) //nolint:gosec // the conversion is reversible for every int64
			if err := pending.Put(sequenceKey(e.Sequence), value); err != nil {
				return err
			}
		}
		return tx.checkpoints.Put([]byte(SenderCheckpoint), sequenceKey(checkpoint))
	})
}

// Pending returns the pending events, oldest first.
func (st *Store) Pending() (events []Pending, err error) {
	err = st.view(func(tx *tx) error {
		cursor := tx.pending().Cursor()
		for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
			if len(value) < 8 {
				continue
			}
			since := int64(binary.BigEndian.Uint64(value)) //nolint:gosec // as in AddPending
			events = append(events, Pending{binary.BigEndian.Uint64(key), time.Unix(since, 0), string(value[8:])})
		}
		return nil
	})
	return events, err
}

// RemovePending removes events that were delivered or given up.
func (st *Store) RemovePending(ctx context.Context, sequences ...uint64) error {
	return st.write(ctx, func(tx *tx) error {
		pending := tx.pending()
		for _, sequence := range sequences {
			if err := pending.Delete(sequenceKey(sequence)); err != nil {
				return err
			}
		}
		return nil
	})
}

// ResetDelivery removes all pending events and the checkpoint of the sender, so
// that the feed no longer keeps events for it.
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

// Event returns one event of the feed. ok is false if the event was removed or
// cannot be read; the latter is logged.
func (st *Store) Event(sequence uint64) (e event.Event, ok bool, err error) {
	entries, err := st.Events(sequence-1, 1)
	if err != nil || len(entries) == 0 || entries[0].Sequence != sequence {
		return event.Event{}, false, err
	}
	return entries[0].Event, true, nil
}
