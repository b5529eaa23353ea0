package bolt

import (
	"time"

	"go.etcd.io/bbolt"
)

// The memory of the process that pages of the file may use. Our own choices.
const (
	releaseEvery = time.Second
	releaseAbove = 64 << 20 // bytes of the file; pages of a smaller one are kept
)

// release gives up the memory in which the process has mapped pages of the file. The
// pages stay in the cache of the operating system, from which they are mapped again
// when they are read.
func (st *Store) release() {
	_ = guard(func() error {
		return st.db.View(func(tx *bbolt.Tx) error { // the mapping does not change while it is open
			if size := tx.Size(); size > releaseAbove {
				releasePages(tx.DB().Info().Data, size)
			}
			return nil
		})
	})
}

// use makes releaseLoop release the pages that a transaction has read.
func (st *Store) use() {
	select {
	case st.used <- struct{}{}:
	default:
	}
}

// releaseLoop releases pages at most once in releaseEvery until Close. It does not run
// while the store is not used.
func (st *Store) releaseLoop() {
	timer := time.NewTimer(releaseEvery)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			st.release()
		case <-st.closed:
			return
		}
		select {
		case <-st.used:
			timer.Reset(releaseEvery)
		case <-st.closed:
			return
		}
	}
}
