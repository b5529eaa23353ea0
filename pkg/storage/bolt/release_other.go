//go:build !unix

package bolt

func releasePages(uintptr, int64) {}
