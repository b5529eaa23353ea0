package bolt

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
)

// createFile creates an empty database if there is no file at path. The file is complete
// when it appears: bbolt would leave a part of it if the disk is full or the process
// ends, and such a file looks damaged. If two processes create it concurrently, the file
// of one of them stays.
func createFile(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // to open the file returns the error
	}
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	name := file.Name()
	defer os.Remove(name) //nolint:errcheck // the link below stays
	if err := file.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(name, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Close()
	if err == nil {
		err = os.Link(name, path)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}
