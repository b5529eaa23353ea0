package bolt

import (
	"bytes"
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

// pending is opened where it is used, since few transactions do.
func (t *tx) pending() *bbolt.Bucket { return t.raw.Bucket([]byte(pendingBucket)) }

func (st *Store) view(read func(tx *tx) error) error {
	return guard(func() error {
		return st.db.View(func(raw *bbolt.Tx) error { return read(open(raw)) })
	})
}

func (st *Store) update(change func(tx *tx) error) error {
	return guard(func() error {
		return st.db.Update(func(raw *bbolt.Tx) error { return change(open(raw)) })
	})
}

// read decodes what is at key into value, and reports whether there is
// anything.
func (t *tx) read(key []byte, value any) (bool, error) {
	text := t.all.Get(key)
	if text == nil {
		return false, nil
	}
	if err := json.Unmarshal(text, value); err != nil {
		return false, fmt.Errorf("decode what is at %q: %w", key, err)
	}
	return true, nil
}

func (t *tx) put(key, value []byte) error { return t.all.Put(key, value) }

// create puts a sync where none is, and the change into the feed.
func (t *tx) create(s syncs.Sync, value, change []byte) error {
	key := keyOf(s.Workspace, s.ID)
	if t.all.Get(key) != nil {
		return syncs.ErrExists
	}
	return errors.Join(t.put(key, value), t.append(change))
}

// created returns the sync that was created with a key, as it was then. ok is
// false if the key is free.
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

// sync returns a sync, or a fault.NotFound.
func (t *tx) sync(workspace, id string) (syncs.Sync, error) {
	value := t.all.Get(keyOf(workspace, id))
	if value == nil {
		return syncs.Sync{}, syncs.ErrNotFound
	}
	return decode(workspace, id, value)
}

// expect returns what is in the place of s if that has this version.
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

// maxExpired is how many expired records each new one takes with it: more than
// one, so that they never pile up.
const maxExpired = 4

// expire has the record at key removed some time after it expires: whenever
// a record is added, the oldest that have expired go.
func (t *tx) expire(recordKey []byte, key syncs.IdempotencyKey) error {
	cursor := t.expiry.Cursor()
	limit := expiryKey(key.Now.Unix(), nil)
	for range maxExpired {
		due, _ := cursor.First()
		if due == nil || bytes.Compare(due, limit) >= 0 {
			break
		}
		// The record may have been renewed since, under the same key.
		stale := due[len(limit):]
		var known expiringRow
		found, err := t.read(stale, &known)
		if err != nil || found && !known.Expires.After(key.Now) && !known.ExpiresAt.After(key.Now) { // nothing can be made of it, or it has expired
			if err := t.all.Delete(stale); err != nil {
				return err
			}
		}
		if err := cursor.Delete(); err != nil {
			return err
		}
	}
	return t.expiry.Put(expiryKey(key.Expires.Unix(), recordKey), nil)
}

// expiringRow is when a record of any kind expires: Expires of an idempotency
// record, ExpiresAt of all others.
type expiringRow struct {
	Expires   time.Time `json:"expires"`
	ExpiresAt time.Time `json:"expires_at"`
}

// expiryKey sorts by time, in seconds since 1970.
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
