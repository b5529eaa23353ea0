// Package subprocess runs programs that end when this process ends, even if it is
// killed. It needs a POSIX sh.
package subprocess

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// withParent is a shell script that runs its arguments as a command and kills the
// command when this process ends. Its standard input is a pipe whose other end this
// process holds. If that end closes without a line, this process has ended, even if
// it was killed. A line means that the command has ended, and that its process ID
// may belong to another process. The command ignores SIGINT, so that an interrupt
// from the terminal does not end it before this process does.
const withParent = `trap '' INT
exec 3<&0 </dev/null
{ read -r _ <&3 || kill -9 $$; } >/dev/null 2>&1 &
exec "$@" 3<&-`

// Options configures Start.
type Options struct {
	Command []string // the program and its arguments
	Dir     string   // the working directory; "" is this process's
	Env     []string // variables added to this process's
}

// Process is a running program.
type Process struct {
	command *exec.Cmd
	output  tail
	ended   chan struct{} // closed when the process has ended
}

// Start runs a program until Close is called or this process ends.
func Start(ctx context.Context, options Options) (*Process, error) {
	p := &Process{ended: make(chan struct{})}
	p.command = exec.CommandContext(context.WithoutCancel(ctx), "sh", append([]string{"-c", withParent, "sh"}, options.Command...)...) //nolint:gosec // the caller names the program
	p.command.Dir = options.Dir
	p.command.Env = append(p.command.Environ(), options.Env...)
	p.command.Stdout, p.command.Stderr = &p.output, &p.output

	leash, held, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	p.command.Stdin = leash
	err = p.command.Start()
	_ = leash.Close() // the process has its own copy
	if err != nil {
		_ = held.Close()
		return nil, fmt.Errorf("run sh: %w", err)
	}
	go func() {
		_ = p.command.Wait()              // its state is in ProcessState
		_, _ = io.WriteString(held, "\n") // fails only if the shell has ended
		_ = held.Close()
		close(p.ended)
	}()
	return p, nil
}

// Ended returns a channel that is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// State describes how the program ended, such as "exit status 1". It must be called
// after that.
func (p *Process) State() string { return p.command.ProcessState.String() }

// Output returns the last output of the program.
func (p *Process) Output() string { return p.output.String() }

// Close kills the program and waits until it has ended.
func (p *Process) Close() error {
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.command.Args[0], err)
	}
	<-p.ended
	return nil
}

// maxTail is how much of the last output is kept for error messages, in bytes. Our
// own choice: it fits a Java stack trace with its cause.
const maxTail = 4 << 10

// tail is a writer that keeps the last maxTail bytes.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	t.kept = t.kept[max(0, len(t.kept)-maxTail):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.kept))
}
