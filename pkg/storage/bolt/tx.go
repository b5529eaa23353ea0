package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/syncs"
)

// tx is a transaction with its buckets open.
type tx struct {
	all         *bbolt.Bucket
	expiry      *bbolt.Bucket
	feed        *bbolt.Bucket
	checkpoints *bbolt.Bucket
	raw         *bbolt.Tx
}

func open(raw *bbolt.Tx) *tx {
	return &tx{
		all: raw.Bucket([]byte(allBucket)), expiry: raw.Bucket([]byte(expiryBucket)),
		feed: raw.Bucket([]byte(feedBucket)), checkpoints: raw.Bucket([]byte(checkpointBucket)), raw: raw,
	}
}

// pending opens the bucket of pending events, which few transactions use.
func (t *tx) pending() *bbolt.Bucket { return t.raw.Bucket([]byte(pendingBucket)) }

func (st *Store) view(read func(tx *tx) error) error {
	defer st.use()
	return guard(func() error {
		return st.db.View(func(raw *bbolt.Tx) error { return read(open(raw)) })
	})
}

// read is view for a caller that may have given up: it refuses a ctx that has ended.
func (st *Store) read(ctx context.Context, read func(tx *tx) error) error {
	if ctx.Err() != nil {
		return timeoutFault(ctx, "the sync")
	}
	return st.view(read)
}

func (st *Store) update(change func(tx *tx) error) error {
	defer st.use()
	return guard(func() error {
		return st.db.Update(func(raw *bbolt.Tx) error { return change(open(raw)) })
	})
}

// read decodes the row at key into value and reports whether there is one.
func (t *tx) read(key []byte, value any) (bool, error) {
	text := t.all.Get(key)
	if text == nil {
		return false, nil
	}
	if err := json.Unmarshal(text, value); err != nil {
		return false, fmt.Errorf("decode the row %q: %w", key, err)
	}
	return true, nil
}

func (t *tx) put(key, value []byte) error { return t.all.Put(key, value) }

// create writes a new sync and appends the change to the feed. It returns
// syncs.ErrExists if there is a sync with its key.
func (t *tx) create(s syncs.Sync, value, change []byte) error {
	key := keyOf(s.Workspace, s.ID)
	if t.all.Get(key) != nil {
		return syncs.ErrExists
	}
	return errors.Join(t.put(key, value), t.append(change))
}

// created returns the sync that was created with an idempotency key, as it was
// created. ok is false if the key was not used or has expired.
func (t *tx) created(workspace string, key syncs.IdempotencyKey) (first syncs.Sync, ok bool, err error) {
	var known idempotencyRow
	switch found, err := t.read(idempotencyKeyOf(workspace, key.Key), &known); {
	case err != nil:
		return syncs.Sync{}, false, err
	case !found || !known.Expires.After(key.Now):
		return syncs.Sync{}, false, nil
	case known.Fingerprint != key.Fingerprint:
		return syncs.Sync{}, false, syncs.ErrKeyReused
	}
	return known.First.sync(workspace), true, nil
}

// sync returns a sync, or syncs.ErrNotFound.
func (t *tx) sync(workspace, id string) (syncs.Sync, error) {
	value := t.all.Get(keyOf(workspace, id))
	if value == nil {
		return syncs.Sync{}, syncs.ErrNotFound
	}
	return decode(workspace, id, value)
}

// expect returns the stored sync with the ID of s if it has this version.
func (t *tx) expect(s syncs.Sync, version int64) (syncs.Sync, error) {
	found, err := t.sync(s.Workspace, s.ID)
	if err != nil {
		return syncs.Sync{}, err
	}
	if found.Version != version {
		return syncs.Sync{}, syncs.ErrOvertaken
	}
	return found, nil
}

// maxExpired is how many expired records are removed when a run or an idempotency record
// is added: more than are added, so that they do not accumulate.
const maxExpired = 4

// expire schedules the removal of the record at key for some time after it expires,
// and removes the oldest records that have expired.
func (t *tx) expire(recordKey []byte, key syncs.IdempotencyKey) error {
	return errors.Join(t.removeExpired(key.Now), t.expireAt(recordKey, key.Expires))
}

// expireAt schedules the removal of the record at key for some time after at.
func (t *tx) expireAt(key []byte, at time.Time) error {
	return t.expiry.Put(expiryKey(at.Unix(), key), nil)
}

// removeExpired removes the oldest maxExpired records that have expired.
func (t *tx) removeExpired(now time.Time) error {
	cursor := t.expiry.Cursor()
	limit := expiryKey(now.Unix(), nil)
	for range maxExpired {
		due, _ := cursor.First()
		if due == nil || bytes.Compare(due, limit) >= 0 {
			break
		}
		// A newer record may have been written under the same key.
		stale := due[len(limit):]
		var known expiringRow
		found, err := t.read(stale, &known)
		if err != nil || found && !known.Expires.After(now) && !known.ExpiresAt.After(now) { // it cannot be read, or it has expired
			if err := t.all.Delete(stale); err != nil {
				return err
			}
		}
		if err := cursor.Delete(); err != nil {
			return err
		}
	}
	return nil
}

// expiringRow is the expiry of a record of any kind: Expires of an idempotency
// record, ExpiresAt of all others.
type expiringRow struct {
	Expires   time.Time `json:"expires"`
	ExpiresAt time.Time `json:"expires_at"`
}

// expiryKey returns a key that sorts by time, in seconds since 1970.
func expiryKey(at int64, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(at)), key...) //nolint:gosec // after 1970
}

func encode(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, errors.Join(errors.New("encode a record"), err)
	}
	return text, nil
}
