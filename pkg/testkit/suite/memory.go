package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const (
	memory     = "/dev/shm" // a file system in memory, on Linux
	needMemory = 4 << 30    // in bytes; a run needs 0.4 GB of it, more if everything is compiled
)

// temporary returns the directory for the temporary files of a run: one in memory if there
// is room and programs can be started from it. The commits of bbolt take a tenth of the
// time of the tests on a disk. It returns "" for the directory of the system.
func temporary() string {
	var free syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &free) != nil || free.Bavail*uint64(free.Bsize) < needMemory { //nolint:gosec // a size is not negative
		return ""
	}
	dir, err := os.MkdirTemp(memory, "suite-*")
	if err != nil {
		return ""
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is empty but for the program
	program := filepath.Join(dir, "program")
	if os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700) != nil || exec.Command(program).Run() != nil { //nolint:gosec,noctx // it ends at once
		return ""
	}
	return memory // the same in each run, so that the results of go test stay in its cache
}
