//go:build !linux

package lambdaruntime

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// withParent returns nil: other kernels do not tie a process to its parent. A
// function whose parent is killed ends when its next poll fails.
func withParent() *syscall.SysProcAttr { return nil }

// send signals p.
func send(p *os.Process, signal syscall.Signal) {
	_ = p.Signal(signal) // fails only if p has ended
}

// confine returns an error: the root directory is changed on Linux only.
func confine(*syscall.SysProcAttr, string) error {
	return errors.New("a root directory of its own needs Linux")
}

// cpuTime returns 0.
func cpuTime(int) time.Duration { return 0 }
