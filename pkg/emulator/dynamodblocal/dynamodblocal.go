// Package dynamodblocal downloads and runs DynamoDB Local, AWS's official emulator,
// for tests, the local server, `make invoke` and the benchmark. It knows how to
// start and stop the emulator, and nothing of the tables in it. The emulator keeps
// its data in memory.
//
// It needs a POSIX sh, a Java runtime and, for the download, npm.
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
	// startLimit bounds the wait for the first response. Our own choice: a start
	// takes 1.3 s on two idle cores, and longer while other tests run.
	startLimit = time.Minute
	// pollInterval is the pause between two checks whether it has started. Our
	// own choice.
	pollInterval = 20 * time.Millisecond
	// portAttempts is how many ports are tried, because another process can take
	// a free port before the emulator listens on it. Our own choice.
	portAttempts = 5
	// maxHeap is the Java heap. Our own choice: test data is a few megabytes.
	maxHeap = "-Xmx512m"
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
	Getenv   func(string) string // reads SYNCPLANE_CACHE, XDG_CACHE_HOME and HOME
	Progress io.Writer           // receives progress messages of a download; may be nil
}

// Server is a running DynamoDB Local. The tables are the same for all credentials
// and regions.
type Server struct {
	Endpoint string // such as http://127.0.0.1:41234

	command *exec.Cmd
	output  *tail
	ended   chan struct{} // closed when the process has ended
}

// MissingError reports that a program which DynamoDB Local needs is not installed.
type MissingError struct {
	Program string
	Remedy  string // what to do, one clause
}

// Error names the program and the remedy.
func (e *MissingError) Error() string {
	return fmt.Sprintf("DynamoDB Local needs %s, which is not in PATH: %s", e.Program, e.Remedy)
}

// errPortTaken means that another process has taken the chosen port.
var errPortTaken = errors.New("the port is taken")

// Start downloads DynamoDB Local unless it is in the cache, runs it on a free port
// and returns when it responds. It has no tables. It runs until Close is called or
// the calling process ends, even if that is killed. ctx bounds only the start. The
// error is a MissingError if a program is not installed.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	java, err := exec.LookPath("java")
	if err != nil {
		return nil, &MissingError{
			Program: "java",
			Remedy:  "install a Java runtime, 17 or later (Debian: openjdk-17-jre-headless), or set AWS_ENDPOINT_URL_DYNAMODB to a running DynamoDB Local",
		}
	}
	dir, err := emulatorFolder(ctx, options)
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

// launch runs the emulator in dir on one free port.
func launch(ctx context.Context, java, dir string) (*Server, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	// The emulator listens on every interface, and by default allows requests
	// from every web page. One random origin shuts them out, and distinguishes
	// this process from another on the same port.
	origin := "http://" + strings.ToLower(rand.Text()) + ".invalid"

	s := &Server{
		Endpoint: "http://127.0.0.1:" + strconv.Itoa(port),
		output:   &tail{},
		ended:    make(chan struct{}),
	}
	s.command = exec.CommandContext(context.WithoutCancel(ctx), "sh", "-c", withParent, "sh", java, //nolint:gosec // the program is the java of PATH, with fixed arguments
		maxHeap,
		// The C1 compiler only: it halves the CPU time of a start, and no
		// background compilation disturbs the latency.
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		// Version 1.25 looks up an AWS host at its start even with telemetry off.
		// With an empty hosts file no name resolves.
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
		_, _ = io.WriteString(held, "\n") // fails only if the shell has ended
		_ = held.Close()
		close(s.ended)
	}()

	if err := s.await(ctx, origin); err != nil {
		_ = s.Close() // the cause is err
		return nil, err
	}
	return s, nil
}

// freePort returns a loopback port on which no process listens.
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

// await waits until the process that was started with origin responds.
func (s *Server) await(ctx context.Context, origin string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit,
		fmt.Errorf("no response within %s", startLimit))
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true} // no proxy, even if the environment names one
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if s.answers(ctx, transport, origin) {
			return nil
		}
		// If the port is in use, the emulator logs so and does not end.
		if strings.Contains(s.output.String(), "Failed to bind") {
			return errPortTaken
		}
		select {
		case <-tick.C:
		case <-s.ended:
			return fmt.Errorf("java ended early (%s) with the output: %s", s.command.ProcessState, s.output)
		case <-ctx.Done():
			return fmt.Errorf("wait for the first response: %w; output of java: %s", context.Cause(ctx), s.output)
		}
	}
}

// answers reports whether the process that was started with origin responds on the
// endpoint.
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
	_ = response.Body.Close() // only the header is needed
	return response.Header.Get("Access-Control-Allow-Origin") == origin
}

// Close kills the process and waits until it has ended.
func (s *Server) Close() error {
	if err := s.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop DynamoDB Local: %w", err)
	}
	<-s.ended
	return nil
}

// maxTail is how much of the emulator's last output is kept for error messages, in
// bytes. Our own choice: it fits a Java stack trace with its cause.
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
