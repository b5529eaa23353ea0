// Package bolt keeps syncs in one bbolt file, for one machine. It has the
// sorted keys of the DynamoDB table, and knows neither HTTP nor AWS.
package bolt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// bucket holds everything; keys are sorted in it as in the DynamoDB table.
const bucket = "syncplane"

// lockPatience is how long Open waits for another process that has the file.
const lockPatience = time.Second

// Store is a syncs.Store. Close it.
type Store struct {
	db     *bbolt.DB
	writes chan write
	done   chan struct{} // closed when the committer has ended
	closed chan struct{} // closed by Close
}

// Open opens the store in the file path and makes both where they are missing.
func Open(path string) (*Store, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout:        lockPatience,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true, // it is rebuilt on opening; a commit writes less
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is in use by another process", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte(bucket))
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	st := &Store{db: db, writes: make(chan write), done: make(chan struct{}), closed: make(chan struct{})}
	go st.commit()
	return st, nil
}

// Close commits what is under way and closes the file.
func (st *Store) Close() error {
	close(st.closed)
	<-st.done
	return st.db.Close()
}

// Create writes s and returns when it is on the disk.
func (st *Store) Create(ctx context.Context, s syncs.Sync) error {
	value, err := json.Marshal(rowOf(s))
	if err != nil {
		return fmt.Errorf("encode the sync: %w", err)
	}
	key := keyOf(s.Workspace, s.ID)
	return st.write(ctx, func(b *bbolt.Bucket) error {
		if b.Get(key) != nil {
			return &fault.Error{Kind: fault.Conflict, Code: "already_exists", Message: "a sync with this id exists"}
		}
		return b.Put(key, value)
	})
}

// Read reads one sync.
func (st *Store) Read(_ context.Context, workspace, id string) (syncs.Sync, error) {
	var r row
	err := st.db.View(func(tx *bbolt.Tx) error {
		value := tx.Bucket([]byte(bucket)).Get(keyOf(workspace, id))
		if value == nil {
			return &fault.Error{Kind: fault.NotFound, Code: "not_found", Message: "there is no sync with this id"}
		}
		return json.Unmarshal(value, &r)
	})
	if err != nil {
		return syncs.Sync{}, fmt.Errorf("read sync %s: %w", id, err)
	}
	return r.sync(workspace, id), nil
}
