package lambdaruntime

import (
	"os"
	"syscall"
)

// withParent makes the kernel kill the process when the thread that starts it
// ends, and puts it into a process group of its own: a terminal's interrupt is
// for its owner, and what it starts can be ended with it.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// send signals the process group of p.
func send(p *os.Process, signal syscall.Signal) {
	_ = syscall.Kill(-p.Pid, signal) // it fails only if all are gone
}
