// Package bolt stores syncs, runs, rate limits and the feed of events in one bbolt
// file, and API keys and dead letters in a file each, for a server on one machine.
// The keys sort as those of the DynamoDB table do. It knows the domain and its
// events; it does not know HTTP or AWS.
package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// The buckets of the file, together with pendingBucket. Their names are part of the
// file format.
const (
	allBucket        = "syncplane" // all rows, their keys sorted as in the DynamoDB table
	expiryBucket     = "expiry"    // when rows expire
	feedBucket       = "feed"      // events, by sequence number
	checkpointBucket = "marks"     // how far the readers of the feed are
)

// lockTimeout is how long Open waits for another process that holds the file.
const lockTimeout = time.Second

// Store is a syncs.Store. It must be closed.
type Store struct {
	// Log receives an error for each row that is left out because it cannot be
	// read; nil logs nothing. It must be set before the store is used.
	Log *slog.Logger

	db     *bbolt.DB
	writes chan write
	done   chan struct{} // closed when commitLoop has returned
	closed chan struct{} // closed by Close
	used   chan struct{} // has an element after a transaction

	reading sync.WaitGroup // of the pages of the file
	damaged chan error
	feed    feed
	chunk   int // rows that a walk reads in one read transaction
}

var _ syncs.Store = (*Store)(nil)

// Open opens the store in the file path. It creates the file and its directory if
// they do not exist. The error names the remedy for a file that is damaged or in
// use.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory: %w", err)
	}
	st := &Store{writes: make(chan write), done: make(chan struct{}), closed: make(chan struct{}), used: make(chan struct{}, 1), damaged: make(chan error, 1), chunk: walkChunk}
	if err := guard(func() error { return st.open(path) }); err != nil {
		if st.db != nil {
			err = errors.Join(err, guard(st.db.Close))
		}
		return nil, describe(path, err)
	}
	go st.commitLoop()
	st.reading.Go(func() {
		defer close(st.damaged)
		if err := st.verify(); err != nil {
			st.damaged <- describe(path, err)
		}
	})
	st.reading.Go(st.releaseLoop)
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

// Damaged returns a channel that receives an error if a damaged page is found after
// Open has returned. It is closed when all pages have been read.
func (st *Store) Damaged() <-chan error { return st.damaged }

// open opens the file, creates missing buckets and reads the head of the feed.
func (st *Store) open(path string) (err error) {
	if err := createFile(path); err != nil {
		return err
	}
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

// Close waits for the commit in progress and closes the file.
func (st *Store) Close() error {
	close(st.closed)
	<-st.done
	st.reading.Wait()
	return guard(st.db.Close)
}

// Create writes s and returns when the commit is on the disk.
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
	return writeResult(ctx, st, func(tx *tx) (syncs.Sync, error) {
		recordKey := idempotencyKeyOf(s.Workspace, key.Key)
		known, ok, err := tx.created(s.Workspace, key)
		if err != nil || ok {
			return known, err
		}
		if err := tx.create(s, value, change); err != nil {
			return syncs.Sync{}, err
		}
		return s, errors.Join(tx.put(recordKey, record), tx.expire(recordKey, key))
	})
}

// Created reads an idempotency record.
func (st *Store) Created(ctx context.Context, workspace string, key syncs.IdempotencyKey) (first syncs.Sync, ok bool, err error) {
	err = st.read(ctx, func(tx *tx) error {
		first, ok, err = tx.created(workspace, key)
		return err
	})
	return first, ok, err
}

// Read reads one sync.
func (st *Store) Read(ctx context.Context, workspace, id string) (s syncs.Sync, err error) {
	err = st.read(ctx, func(tx *tx) error {
		s, err = tx.sync(workspace, id)
		return err
	})
	return s, err
}

// unreadable logs that a row is left out because it cannot be read.
func (st *Store) unreadable(ctx context.Context, err error) {
	if st.Log != nil {
		st.Log.LogAttrs(ctx, slog.LevelError, "unreadable sync", slog.String("error", err.Error()))
	}
}

// older yields the IDs and rows of the syncs of a workspace that are older than a sync,
// newest first; all if after is "".
func (t *tx) older(workspace, after string) iter.Seq2[string, []byte] {
	return func(yield func(id string, value []byte) bool) {
		prefix, cursor := prefixOf(workspace), t.all.Cursor()
		// Seek finds the first key that is not less than end; the key before it
		// is the newest sync older than after. "~" sorts after every ID.
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
		for bytes.HasPrefix(key, prefix) && yield(string(key[len(prefix):]), value) {
			key, value = cursor.Prev()
		}
	}
}

// List returns syncs of the workspace, newest first, by reading its keys backwards.
func (st *Store) List(ctx context.Context, workspace, after string, limit int) (list []syncs.Sync, more bool, err error) {
	err = st.read(ctx, func(tx *tx) error {
		for id, value := range tx.older(workspace, after) {
			if len(list) == limit {
				more = true
				return nil
			}
			s, err := decode(workspace, id, value)
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

// filter selects rows without decoding them.
type filter struct {
	numbers [][]byte // members that the beginning of a row must have
	status  []byte   // a member that a row must have
}

func filterOf(f syncs.Filter) filter {
	var made filter
	for name, id := range map[string]int64{"source_id": f.SourceID, "destination_id": f.DestinationID, "model_id": f.ModelID} {
		if id != 0 {
			made.numbers = append(made.numbers, fmt.Appendf(nil, `,"%s":%d,`, name, id))
		}
	}
	if f.Status != "" {
		made.status = fmt.Appendf(nil, `,"status":"%s",`, f.Status)
	}
	return made
}

// rejects reports whether a row that rowOf has written does not match. Its numbers are
// before the configuration. A text in it cannot contain a member, because its quotation
// marks are escaped. A row in another form is not rejected.
func (f filter) rejects(value []byte) bool {
	const longest = 400 // bytes before the configuration
	end := bytes.Index(value[:min(len(value), longest)], []byte(`,"configuration":`))
	if end < 0 || !bytes.HasPrefix(value, []byte(`{"id":"`)) {
		return false
	}
	for _, member := range f.numbers {
		if !bytes.Contains(value[:end+1], member) {
			return true
		}
	}
	return f.status != nil && !bytes.Contains(value[end:], f.status)
}

// Search decodes only those rows whole that match.
func (st *Store) Search(ctx context.Context, workspace string, search syncs.Search) (found syncs.Found, err error) {
	err = st.read(ctx, func(tx *tx) error {
		read, quick := 0, filterOf(search.Filter)
		for id, value := range tx.older(workspace, search.After) {
			if read == search.Read {
				found.More = true
				return nil
			}
			read++
			found.Last = id
			if quick.rejects(value) {
				continue
			}
			s, err := decode(workspace, id, value)
			if err != nil {
				st.unreadable(ctx, err)
				continue
			}
			if !search.Filter.Matches(s) {
				continue
			}
			found.Syncs = append(found.Syncs, s)
		}
		return nil
	})
	if search.Read >= st.chunk {
		st.release()
	}
	return found, err
}

// Replace writes s if the stored sync has the version before that of s.
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

// Delete removes s if the stored sync has the version of s.
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
