//go:build unix

package bolt

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// releasePages releases the pages of a shared mapping of a file.
func releasePages(address uintptr, size int64) {
	pages := unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&address))), size) //nolint:gosec // memory that bbolt has mapped, not of Go's heap
	_ = unix.Madvise(pages, unix.MADV_DONTNEED)                                        // an advice
}

// unlock releases the lock of bbolt on a file.
func unlock(file *os.File) {
	_ = unix.Flock(int(file.Fd()), unix.LOCK_UN) // fails only if the file is closed
}
