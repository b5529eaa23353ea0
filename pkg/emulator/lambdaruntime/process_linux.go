package lambdaruntime

import (
	"os"
	"syscall"
)

// withParent makes the kernel kill the process when the thread that starts it ends,
// and puts the process into its own process group: it does not receive interrupts
// from the terminal, and its children can be killed with it.
func withParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// send signals the process group of p.
func send(p *os.Process, signal syscall.Signal) {
	_ = syscall.Kill(-p.Pid, signal) // fails only if all have ended
}
