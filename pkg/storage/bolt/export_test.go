package bolt

import (
	"go.etcd.io/bbolt"

	"syncplane/pkg/syncs"
)

// SetChunk sets how many rows are read in one read transaction, so that a test needs
// fewer rows for several of them.
func (st *Store) SetChunk(rows int) { st.chunk = rows }

// Spoil puts a value in the place of what is at key.
func (st *Store) Spoil(key, value string) error {
	return st.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte(allBucket)).Put([]byte(key), []byte(value)) })
}

// SpoilEvent puts a value in the place of an event.
func (st *Store) SpoilEvent(sequence uint64, value string) error {
	return st.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(feedBucket)).Put(sequenceKey(sequence), []byte(value))
	})
}

// SkipSequence leaves out n numbers of the feed, as if so many events had been
// stored and removed.
func (st *Store) SkipSequence(n uint64) error {
	return st.db.Update(func(tx *bbolt.Tx) error {
		feed := tx.Bucket([]byte(feedBucket))
		return feed.SetSequence(feed.Sequence() + n)
	})
}

// SpoilSync puts a row of s in the place of its sync, whatever that is.
func (st *Store) SpoilSync(s syncs.Sync) error {
	value, err := encode(rowOf(s))
	if err != nil {
		return err
	}
	return st.Spoil(string(keyOf(s.Workspace, s.ID)), string(value))
}

// Reads returns how many read transactions the store has started.
func (st *Store) Reads() int { stats := st.db.Stats(); return stats.TxN }
