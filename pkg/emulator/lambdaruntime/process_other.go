//go:build !linux

package lambdaruntime

import (
	"os"
	"syscall"
)

// withParent is nothing where no kernel ties a process to its parent: there, a
// function whose parent is killed ends when its next poll finds nobody.
func withParent() *syscall.SysProcAttr { return nil }

// send signals p.
func send(p *os.Process, signal syscall.Signal) {
	_ = p.Signal(signal) // it fails only if p is gone
}
