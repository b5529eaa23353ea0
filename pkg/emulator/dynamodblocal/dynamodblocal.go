// Package dynamodblocal runs DynamoDB Local, the official emulator, on this
// machine: for tests, for trying the Lambda out and for the benchmark. It
// knows where the emulator comes from and how to start and end it, and nothing
// of the tables in it. What it keeps is in memory and gone with the process.
//
// It needs a Java runtime and, the first time, npm; and a POSIX sh.
package dynamodblocal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// startLimit bounds the wait for the first answer. A start takes 1.3 s on
	// two idle cores; the rest is for a machine that runs other tests too.
	startLimit = time.Minute
	// pollInterval is the pause between two questions whether it is up.
	pollInterval = 20 * time.Millisecond
	// portAttempts is how many ports are tried, because a port that was free
	// can be taken before the emulator listens on it.
	portAttempts = 5
	// maxHeap is the Java heap. Our own choice: test data is a few megabytes.
	maxHeap = "-Xmx512m"
)

// withParent runs its arguments as a command that cannot outlive us. Its
// standard input is a pipe of which we hold the other end. If that end closes
// without a line, we are gone, killed or not, and the command is killed too;
// a line says that the command has ended and its process id may be another's.
// The command ignores the terminal's interrupt: its owner decides when it ends.
const withParent = `trap '' INT
exec 3<&0 </dev/null
{ read -r _ <&3 || kill -9 $$; } >/dev/null 2>&1 &
exec "$@" 3<&-`

// Options is what Start needs to know.
type Options struct {
	Getenv   func(string) string // reads SYNCPLANE_CACHE, XDG_CACHE_HOME and HOME
	Progress io.Writer           // told when something is downloaded; may be nil
}

// Server is a running DynamoDB Local. All credentials and regions see the same
// tables.
type Server struct {
	Endpoint string // such as http://127.0.0.1:41234

	command *exec.Cmd
	output  *tail
	ended   chan struct{} // closed when the process is gone
}

// MissingError says that a program is not installed without which DynamoDB
// Local cannot be had.
type MissingError struct {
	Program string
	Remedy  string // what to do about it, one clause
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("DynamoDB Local needs %s, which is not in PATH: %s", e.Program, e.Remedy)
}

// errPortTaken means that another process was faster on the chosen port.
var errPortTaken = errors.New("the port is taken")

// Start fetches DynamoDB Local if that was never done on this machine, runs it
// on a free port and returns when it answers. Its data is in memory and empty.
// It ends with Close, or with the calling process, however that ends. ctx
// bounds the start alone. A program that is not installed is a MissingError.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, &MissingError{
			Program: "java",
			Remedy:  "install a Java runtime, 17 or later (Debian: openjdk-17-jre-headless), or set DYNAMODB_ENDPOINT to one that runs",
		}
	}
	dir, err := emulator(ctx, options)
	if err != nil {
		return nil, err
	}
	for range portAttempts {
		var server *Server
		server, err = launch(ctx, java, dir)
		if err == nil {
			return server, nil
		}
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	return nil, fmt.Errorf("start DynamoDB Local: %w", err)
}

// launch runs the emulator in dir on one port that is free now.
func launch(ctx context.Context, java, dir string) (*Server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	// The emulator listens on every interface and by default lets any web page
	// talk to it. With one origin that nobody has it lets none, and the origin
	// tells our process from another on the same port.
	origin := "http://" + strings.ToLower(rand.Text()) + ".invalid"

	s := &Server{
		Endpoint: "http://127.0.0.1:" + strconv.Itoa(port),
		output:   &tail{},
		ended:    make(chan struct{}),
	}
	s.command = exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", withParent, "sh", java, //nolint:gosec // the program is the java of PATH, its arguments are ours
		maxHeap,
		// The quick compiler alone: half the processor time to start, and no
		// compiling in the background that makes latency jump for seconds.
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		// Version 1.25 asks for an AWS host at start even with telemetry off.
		// An empty hosts file takes every name from the process.
		"-Djdk.net.hosts.file="+os.DevNull,
		"-Djava.library.path=DynamoDBLocal_lib", "-jar", jar,
		"-inMemory", "-sharedDb", "-disableTelemetry",
		"-cors", origin, "-port", strconv.Itoa(port),
	)
	s.command.Dir = dir
	s.command.Env = append(s.command.Environ(), "DDB_LOCAL_TELEMETRY=false")
	s.command.Stdout, s.command.Stderr = s.output, s.output

	leash, held, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	s.command.Stdin = leash
	err = s.command.Start()
	_ = leash.Close() // the process has its own copy
	if err != nil {
		_ = held.Close()
		return nil, fmt.Errorf("run sh: %w", err)
	}
	go func() {
		_ = s.command.Wait()              // its state is in ProcessState
		_, _ = io.WriteString(held, "\n") // lost only if nobody reads it any more
		_ = held.Close()
		close(s.ended)
	}()

	if err := s.await(ctx, origin); err != nil {
		_ = s.Close() // the cause is err
		return nil, err
	}
	return s, nil
}

// freePort is a port on loopback that nothing listens on now.
func freePort(ctx context.Context) (int, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return 0, fmt.Errorf("read the free port: %w", err)
	}
	if err := listener.Close(); err != nil {
		return 0, fmt.Errorf("release the free port: %w", err)
	}
	return strconv.Atoi(port)
}

// await returns nil when the process that was started with origin answers.
func (s *Server) await(ctx context.Context, origin string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit,
		fmt.Errorf("no answer within %s", startLimit))
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true} // a proxy has no part in this
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if s.answers(ctx, transport, origin) {
			return nil
		}
		// It reports a port in use and then stays, listening on nothing.
		if strings.Contains(s.output.String(), "Failed to bind") {
			return errPortTaken
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("java ended early (%s), it wrote: %s", s.command.ProcessState, s.output)
		case <-ctx.Done():
			return fmt.Errorf("wait for the first answer: %w; java wrote: %s", context.Cause(ctx), s.output)
		}
	}
}

// answers reports whether our process, not another, answers on the endpoint.
func (s *Server) answers(ctx context.Context, transport *http.Transport, origin string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint, nil)
	if err != nil {
		return false
	}
	request.Header.Set("Origin", origin)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close() // only the header is of interest
	return response.Header.Get("Access-Control-Allow-Origin") == origin
}

// Close ends the process and returns when it is gone.
func (s *Server) Close() error {
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end DynamoDB Local: %w", err)
	}
	<-s.ended
	return nil
}

// maxTail is how much of the emulator's last output is kept for an error, in
// bytes. Our own choice: a Java stack trace with its cause.
const maxTail = 4 << 10

// tail keeps the last of what is written to it.
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
