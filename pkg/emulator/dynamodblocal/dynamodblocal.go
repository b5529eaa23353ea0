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
	"syscall"
	"time"

	"syncplane/pkg/emulator/subprocess"
)

const (
	// startLimit bounds the wait for the first response. Our own choice: a start
	// takes 1.3 s on two idle cores, and longer while other tests run.
	startLimit = 2 * time.Minute
	// responseLimit bounds the wait for one response, because another process on the
	// port may accept the connection and not respond. Our own choice.
	responseLimit = 2 * time.Second
	// pollInterval is the pause between two checks whether it has started. Our
	// own choice.
	pollInterval = 20 * time.Millisecond
	// portAttempts is how many ports are tried, because another process can take
	// a free port before the emulator listens on it. Our own choice.
	portAttempts = 5
	// maxHeap is the Java heap. Our own choice: test data is a few megabytes.
	maxHeap = "-Xmx512m"
)

// Options configures Start.
type Options struct {
	Getenv   func(string) string // reads SYNCPLANE_CACHE, XDG_CACHE_HOME and HOME
	Progress io.Writer           // receives progress messages of a download; may be nil
	Port     int                 // zero is a free port
}

// Server is a running DynamoDB Local. The tables are the same for all credentials
// and regions.
type Server struct {
	Endpoint string // such as http://127.0.0.1:41234

	process *subprocess.Process
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

// errPortTaken means that another process has taken the port.
var errPortTaken = errors.New("the port is taken")

// Start runs DynamoDB Local on every network interface, and returns when it responds.
// It downloads the emulator unless that is in the cache. The emulator has no tables. It
// runs until Close is called or the calling process ends, even if that is killed. ctx
// bounds only the start. The error is a MissingError if a program is not installed.
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
	if options.Port != 0 && taken(ctx, options.Port) { // the emulator reports it after two seconds
		return nil, fmt.Errorf("start DynamoDB Local on port %d: %w", options.Port, errPortTaken)
	}
	dir, err := emulatorFolder(ctx, options)
	if err != nil {
		return nil, err
	}
	for range portAttempts {
		port := options.Port
		if port == 0 {
			if port, err = freePort(ctx); err != nil {
				break
			}
		}
		var server *Server
		server, err = launch(ctx, java, dir, port)
		if err == nil {
			return server, nil
		}
		if !errors.Is(err, errPortTaken) || options.Port != 0 {
			break
		}
	}
	if options.Port != 0 {
		return nil, fmt.Errorf("start DynamoDB Local on port %d: %w", options.Port, err)
	}
	return nil, fmt.Errorf("start DynamoDB Local: %w", err)
}

// launch runs the emulator in dir.
func launch(ctx context.Context, java, dir string, port int) (*Server, error) {
	// The emulator listens on every interface, and by default allows requests
	// from every web page. One random origin shuts them out, and distinguishes
	// this process from another on the same port.
	origin := "http://" + strings.ToLower(rand.Text()) + ".invalid"

	process, err := subprocess.Start(ctx, subprocess.Options{
		Dir: dir,
		Env: []string{"DDB_LOCAL_TELEMETRY=false"},
		Command: []string{
			java, maxHeap,
			// The C1 compiler only: it halves the CPU time of a start, and no
			// background compilation disturbs the latency.
			"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
			// The digest of the download was checked; to verify each class as well takes
			// a sixth of a start.
			"-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote",
			// Version 1.25 looks up an AWS host at its start even with telemetry off.
			// With an empty hosts file no name resolves.
			"-Djdk.net.hosts.file=" + os.DevNull,
			"-Djava.library.path=DynamoDBLocal_lib", "-jar", jar,
			"-inMemory", "-sharedDb", "-disableTelemetry",
			"-cors", origin, "-port", strconv.Itoa(port),
		},
	})
	if err != nil {
		return nil, err
	}
	s := &Server{Endpoint: "http://127.0.0.1:" + strconv.Itoa(port), process: process}
	if err := s.await(ctx, origin); err != nil {
		_ = s.Close() // the cause is err
		return nil, err
	}
	return s, nil
}

// taken reports whether another process listens on a port.
func taken(ctx context.Context, port int) bool {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", ":"+strconv.Itoa(port))
	if err == nil {
		err = listener.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
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
		if strings.Contains(s.process.Output(), "Failed to bind") {
			return errPortTaken
		}
		select {
		case <-tick.C:
		case <-s.process.Ended():
			return fmt.Errorf("java ended early (%s) with the output: %s", s.process.State(), s.process.Output())
		case <-ctx.Done():
			return fmt.Errorf("wait for the first response: %w; output of java: %s", context.Cause(ctx), s.process.Output())
		}
	}
}

// answers reports whether the process that was started with origin responds on the
// endpoint.
func (s *Server) answers(ctx context.Context, transport *http.Transport, origin string) bool {
	ctx, cancel := context.WithTimeout(ctx, responseLimit)
	defer cancel()
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

// Ended returns a channel that is closed when the server has ended.
func (s *Server) Ended() <-chan struct{} { return s.process.Ended() }

// Close kills the process and waits until it has ended.
func (s *Server) Close() error {
	if err := s.process.Close(); err != nil {
		return fmt.Errorf("stop DynamoDB Local: %w", err)
	}
	return nil
}
