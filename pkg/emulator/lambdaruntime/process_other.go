//go:build !linux

package lambdaruntime

import (
	"os"
	"syscall"
)

// withParent returns nil: other kernels do not tie a process to its parent. A
// function whose parent is killed ends when its next poll fails.
func withParent() *syscall.SysProcAttr { return nil }

// send signals p.
func send(p *os.Process, signal syscall.Signal) {
	_ = p.Signal(signal) // fails only if p has ended
}
