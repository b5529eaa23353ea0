package lambdaruntime

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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

// confine makes root the root directory of the process. A caller that is not root does
// so in a user namespace in which it is.
func confine(attributes *syscall.SysProcAttr, root string) error {
	attributes.Chroot = root
	if os.Geteuid() != 0 {
		attributes.Cloneflags |= syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return nil
}

// cpuTime returns the processor time of a process, by the clock that
// clock_getcpuclockid(3) returns for it.
func cpuTime(pid int) time.Duration {
	const perProcess = 2 // CPUCLOCK_SCHED of the whole process
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|perProcess), &spent); err != nil { //nolint:gosec // the kernel's encoding of a process ID
		return 0
	}
	return time.Duration(spent.Nano())
}
