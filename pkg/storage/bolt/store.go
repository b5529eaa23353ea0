// Package bolt keeps syncs in one bbolt file, for one machine. It has the
// sorted keys of the DynamoDB table, and knows neither HTTP nor AWS.
package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// The buckets: one holds everything, its keys sorted as in the DynamoDB table;
// one says when what expires does; the others are the change feed, how far its
// readers are, and what one of them has yet to deliver.
const (
	allBucket        = "syncplane"
	expiryBucket     = "expiry"
	feedBucket       = "feed"
	checkpointBucket = "marks"
)

// lockTimeout is how long Open waits for another process that has the file.
const lockTimeout = time.Second

// Store is a syncs.Store. Close it.
type Store struct {
	// Log gets what is left out since it cannot be read; nil is nothing. It
	// must be set before the store is used.
	Log *slog.Logger

	db     *bbolt.DB
	writes chan write
	done   chan struct{} // closed when the committer has ended
	closed chan struct{} // closed by Close

	verifying sync.WaitGroup
	damaged   chan error
	feed      feed
}

// Open opens the store in the file path and makes both where they are missing.
// The error says what to do about a file that is damaged or in use.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	st := &Store{writes: make(chan write), done: make(chan struct{}), closed: make(chan struct{}), damaged: make(chan error, 1)}
	if err := guard(func() error { return st.open(path) }); err != nil {
		if st.db != nil {
			err = errors.Join(err, guard(st.db.Close))
		}
		return nil, describe(path, err)
	}
	go st.commitLoop()
	st.verifying.Go(func() {
		defer close(st.damaged)
		if err := st.verify(); err != nil {
			st.damaged <- describe(path, err)
		}
	})
	timeout := time.NewTimer(verifyTimeout)
	defer timeout.Stop()
	select {
	case err, failed := <-st.damaged:
		if failed {
			return nil, errors.Join(err, st.Close())
		}
	case <-timeout.C:
	}
	return st, nil
}

// Damaged returns a channel that receives an error if a page of the file turns
// out to be damaged after Open has returned, and is closed when all were read.
func (st *Store) Damaged() <-chan error { return st.damaged }

// open opens the file, makes the buckets that are missing and reads where the
// feed is.
func (st *Store) open(path string) (err error) {
	if st.db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType}); err != nil {
		return err
	}
	err = st.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range []string{allBucket, expiryBucket, feedBucket, checkpointBucket, pendingBucket} {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	st.feed.changed = make(chan struct{})
	return st.view(func(tx *tx) error { st.feed.head = tx.feed.Sequence(); return nil })
}

// Close commits what is under way and closes the file.
func (st *Store) Close() error {
	close(st.closed)
	<-st.done
	st.verifying.Wait()
	return guard(st.db.Close)
}

// Create writes s and returns when it is on the disk.
func (st *Store) Create(ctx context.Context, s syncs.Sync) error {
	value, err := encode(rowOf(s))
	if err != nil {
		return err
	}
	change, err := encode(feedRowOf(event.OfChange(nil, &s)))
	if err != nil {
		return err
	}
	return st.write(ctx, func(tx *tx) error { return tx.create(s, value, change) })
}

// CreateOnce writes s and its idempotency record in one commit.
func (st *Store) CreateOnce(ctx context.Context, s syncs.Sync, key syncs.IdempotencyKey) (syncs.Sync, error) {
	value, err := encode(rowOf(s))
	if err != nil {
		return syncs.Sync{}, err
	}
	record, err := encode(idempotencyRow{Fingerprint: key.Fingerprint, Expires: key.Expires, First: rowOf(s)})
	if err != nil {
		return syncs.Sync{}, err
	}
	change, err := encode(feedRowOf(event.OfChange(nil, &s)))
	if err != nil {
		return syncs.Sync{}, err
	}
	var first syncs.Sync
	err = st.write(ctx, func(tx *tx) error {
		first = s
		recordKey := idempotencyKeyOf(s.Workspace, key.Key)
		known, ok, err := tx.created(s.Workspace, key)
		if err != nil {
			return err
		}
		if ok {
			first = known
			return nil
		}
		if err := tx.create(s, value, change); err != nil {
			return err
		}
		return errors.Join(tx.put(recordKey, record), tx.expire(recordKey, key))
	})
	return first, err
}

// Created reads an idempotency record.
func (st *Store) Created(_ context.Context, workspace string, key syncs.IdempotencyKey) (first syncs.Sync, ok bool, err error) {
	err = st.view(func(tx *tx) error {
		first, ok, err = tx.created(workspace, key)
		return err
	})
	return first, ok, err
}

// Read reads one sync.
func (st *Store) Read(_ context.Context, workspace, id string) (s syncs.Sync, err error) {
	err = st.view(func(tx *tx) error {
		s, err = tx.sync(workspace, id)
		return err
	})
	return s, err
}

// unreadable logs what is left out since it cannot be read.
func (st *Store) unreadable(ctx context.Context, err error) {
	if st.Log != nil {
		st.Log.LogAttrs(ctx, slog.LevelError, "unreadable sync", slog.String("error", err.Error()))
	}
}

// List reads backwards through the keys of the workspace.
func (st *Store) List(ctx context.Context, workspace, after string, limit int) (list []syncs.Sync, more bool, err error) {
	prefix := prefixOf(workspace)
	err = st.view(func(tx *tx) error {
		cursor := tx.all.Cursor()
		// Seek stops at the first key that is not less; the one before it is
		// the newest that is older than after. "~" is beyond every ID.
		end := keyOf(workspace, "~")
		if after != "" {
			end = keyOf(workspace, after)
		}
		var value []byte
		key, _ := cursor.Seek(end)
		if key == nil {
			key, value = cursor.Last()
		} else {
			key, value = cursor.Prev()
		}
		for ; bytes.HasPrefix(key, prefix); key, value = cursor.Prev() {
			if len(list) == limit {
				more = true
				return nil
			}
			s, err := decode(workspace, string(key[len(prefix):]), value)
			if err != nil {
				st.unreadable(ctx, err)
				continue
			}
			list = append(list, s)
		}
		return nil
	})
	return list, more, err
}

// Replace writes s if the version before it is there.
func (st *Store) Replace(ctx context.Context, s syncs.Sync) error {
	value, err := encode(rowOf(s))
	if err != nil {
		return err
	}
	return st.write(ctx, func(tx *tx) error {
		before, err := tx.expect(s, s.Version-1)
		if err != nil {
			return err
		}
		change, err := encode(feedRowOf(event.OfChange(&before, &s)))
		if err != nil {
			return err
		}
		return errors.Join(tx.put(keyOf(s.Workspace, s.ID), value), tx.append(change))
	})
}

// Delete removes s if it is there in its version.
func (st *Store) Delete(ctx context.Context, s syncs.Sync) error {
	return st.write(ctx, func(tx *tx) error {
		before, err := tx.expect(s, s.Version)
		if err != nil {
			return err
		}
		deleted := event.OfChange(&before, nil)
		deleted.Time = s.UpdatedAt
		change, err := encode(feedRowOf(deleted))
		if err != nil {
			return err
		}
		return errors.Join(tx.all.Delete(keyOf(s.Workspace, s.ID)), tx.append(change))
	})
}
