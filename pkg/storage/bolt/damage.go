package bolt

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrDamaged is wrapped by every error about a file or a page that bbolt cannot have
// written. A damaged file is neither repaired nor overwritten.
var ErrDamaged = errors.New("the file is damaged")

// verifyTimeout is how long Open waits for verify, enough for a file of about
// 100 MB in the page cache. Our own choice.
const verifyTimeout = 300 * time.Millisecond

// verify reads all pages of all buckets. It returns nil if Close is called first.
func (st *Store) verify() error {
	for _, name := range []string{allBucket, expiryBucket, feedBucket, checkpointBucket} {
		for next := []byte{}; next != nil; {
			start := next
			err := st.view(func(tx *tx) error {
				cursor := tx.raw.Bucket([]byte(name)).Cursor()
				key, _ := cursor.Seek(start)
				if key != nil && bytes.Compare(key, start) < 0 { // an endless loop otherwise
					return fmt.Errorf("%w: its keys are not in order", ErrDamaged)
				}
				for n := 0; key != nil && n < walkChunk; n++ {
					key, _ = cursor.Next()
				}
				next = bytes.Clone(key)
				return nil
			})
			if err != nil {
				return err
			}
			st.release()
			select {
			case <-st.closed:
				return nil
			default:
			}
		}
	}
	return nil
}

// ErrInUse is the error of Open for a file that another process has open. It follows
// the path of the file.
var ErrInUse = errors.New("is in use by another process")

// unusableError is the error for a file that must be replaced. It wraps ErrDamaged,
// whatever its cause.
type unusableError struct{ error }

func (e unusableError) Is(target error) bool { return target == ErrDamaged }

func (e unusableError) Unwrap() error { return e.error }

// describe adds the remedy to an error about the file.
func describe(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s %w", path, ErrInUse)
	case errors.Is(err, ErrDamaged), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch),
		strings.Contains(err.Error(), "file size too small"): // bbolt has no value for it
		return unusableError{fmt.Errorf("%s is damaged or was not made by this program; replace it with a backup, or move it away to start with an empty one (%w)", path, err)}
	default:
		return fmt.Errorf("open %s: %w", path, err)
	}
}

// guard calls do and turns a panic about a damaged page into an error. bbolt
// panics where two pages contradict each other, and reading beyond the end of a
// truncated file is a memory fault.
func guard(do func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(before)
		if value := recover(); value != nil {
			if !isPageFault(value) {
				panic(value)
			}
			err = fmt.Errorf("%w: %v", ErrDamaged, value)
		}
	}()
	return do()
}

// isPageFault reports whether a panic is due to the content of a page: bbolt
// panics with a string, a memory fault has an address, and a length that does not
// fit its page exceeds the bounds of a slice. Any other panic is a defect of this
// program.
func isPageFault(value any) bool {
	switch value := value.(type) {
	case string:
		return true
	case interface {
		runtime.Error
		Addr() uintptr
	}:
		return true
	case runtime.Error:
		return strings.Contains(value.Error(), "out of range")
	default:
		return false
	}
}
