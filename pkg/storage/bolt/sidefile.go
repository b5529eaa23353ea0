package bolt

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"syncplane/pkg/fault"
)

// sideFile is a file with one bucket that is opened for each call, so that other
// commands can use it while a server holds the file of the Store.
type sideFile struct {
	path, bucket string
	label        string // for error messages, such as "the keys"
}

func (f sideFile) view(read func(b *bbolt.Bucket) error) error {
	if _, err := os.Stat(f.path); errors.Is(err, os.ErrNotExist) {
		return f.update(read) // creates the file
	}
	return f.open(&bbolt.Options{Timeout: lockTimeout, ReadOnly: true}, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error { return read(tx.Bucket([]byte(f.bucket))) })
	})
}

func (f sideFile) update(write func(b *bbolt.Bucket) error) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w", err)
	}
	return f.open(&bbolt.Options{Timeout: lockTimeout}, func(db *bbolt.DB) error {
		// A transaction of its own: the bucket stays if the other one fails.
		err := db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists([]byte(f.bucket))
			return err
		})
		if err != nil {
			return fmt.Errorf("prepare %s: %w", f.path, err)
		}
		return db.Update(func(tx *bbolt.Tx) error { return write(tx.Bucket([]byte(f.bucket))) })
	})
}

func (f sideFile) open(options *bbolt.Options, use func(db *bbolt.DB) error) (err error) {
	db, err := bbolt.Open(f.path, 0o600, options)
	if errors.Is(err, bolterrors.ErrTimeout) {
		return &fault.Error{Kind: fault.Unavailable, Code: "store_unavailable", Message: f.label + " are in use by another process; please try again", Err: err}
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return use(db)
}
