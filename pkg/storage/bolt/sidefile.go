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

// errNew reports a file without the bucket: it was never used, or its first use was
// interrupted.
var errNew = errors.New("the file has no bucket")

func (f sideFile) view(read func(b *bbolt.Bucket) error) error {
	err := errNew
	if info, statErr := os.Stat(f.path); statErr == nil && info.Size() > 0 {
		err = f.open(&bbolt.Options{Timeout: lockTimeout, ReadOnly: true}, func(db *bbolt.DB) error {
			return db.View(func(tx *bbolt.Tx) error {
				bucket := tx.Bucket([]byte(f.bucket))
				if bucket == nil {
					return errNew
				}
				return read(bucket)
			})
		})
	}
	if errors.Is(err, errNew) {
		return f.update(read) // creates the file and the bucket
	}
	return err
}

func (f sideFile) update(write func(b *bbolt.Bucket) error) error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("create the data directory: %w", err)
	}
	if err := createFile(f.path); err != nil {
		return describe(f.path, err)
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

// open opens the file for use. A damaged page is an error that names the remedy.
func (f sideFile) open(options *bbolt.Options, use func(db *bbolt.DB) error) error {
	var file *os.File
	options.OpenFile = func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode) //nolint:gosec // the path is that of the setting
		return file, err
	}
	var useErr error
	err := guard(func() error {
		db, err := bbolt.Open(f.path, 0o600, options)
		if err != nil {
			return err
		}
		defer func() { useErr = errors.Join(useErr, db.Close()) }()
		useErr = use(db)
		return nil
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return &fault.Error{Kind: fault.Unavailable, Code: "store_unavailable", Message: f.label + " are in use by another process; please try again", Err: err}
	case errors.Is(err, ErrDamaged):
		// After a panic in bbolt.Open the file is still open and locked, and mapped, which
		// keeps the lock when it is closed. Otherwise it has been closed.
		unlock(file)
		_ = file.Close()
		return describe(f.path, err)
	case err != nil:
		return describe(f.path, err)
	}
	return useErr
}
