// Package lambdaruntime emulates Lambda: it starts the bootstrap of a function,
// serves the Lambda Runtime API (version 2018-06-01) to it on loopback, and delivers
// one event after the other. It measures init time, duration and memory. It does not
// interpret events. Unlike Lambda it neither freezes the process between events nor
// limits its CPU or memory.
package lambdaruntime

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"
)

const (
	// initLimit is the longest time until the first poll (Lambda's limit).
	initLimit = 10 * time.Second
	// defaultTimeout bounds an invocation if Options has no Timeout. Our own
	// choice: Lambda's default of 3 s is too short for a debugger, its maximum
	// of 15 minutes too long for a test.
	defaultTimeout = 10 * time.Second
	// stopGrace is the time between SIGTERM and SIGKILL (Lambda's limit for the
	// shutdown phase).
	stopGrace = 2 * time.Second
	// outputDelay is how long the output of remaining child processes is read
	// after the process has ended. Our own choice.
	outputDelay = time.Second
	// maxRequest is the largest event of a synchronous invocation, in bytes
	// (Lambda's quota of 6 MB).
	maxRequest = 6 << 20
	// maxResponse is the largest response, in bytes; Lambda allows 100 more.
	maxResponse = maxRequest + 100
	// maxTail is how much of the last output is kept for error messages, in
	// bytes. Our own choice: it fits a Go panic with its first stacks.
	maxTail = 4 << 10
)

// Options configures Start and Launch.
type Options struct {
	// Command is the path of the bootstrap and its arguments.
	Command []string
	// Env is its environment, NAME=value each. Variables that Lambda sets are
	// added if they are absent; AWS_LAMBDA_RUNTIME_API is always replaced.
	Env []string
	// Dir is its working directory; the caller's if empty.
	Dir string
	// Root is the root directory of the process, in which the paths of Command and
	// Dir are; the caller's if empty. It is for Linux. A caller that is not root
	// needs the permission to create user namespaces.
	Root string
	// Timeout bounds an invocation; 10 s if zero.
	Timeout time.Duration
	// InitTimeout bounds the time until the first poll; 10 s, as in Lambda, if
	// zero.
	InitTimeout time.Duration
	// Output receives the standard output and error of the process, from another
	// goroutine, until Close returns; may be nil.
	Output io.Writer
}

// FunctionError reports that the function failed. Type is the function's own, or one
// of Lambda's:
//
//	Runtime.ExitError              the process ended
//	Sandbox.Timedout               it exceeded its timeout and was killed
//	Function.ResponseSizeTooLarge  its response exceeded the quota
type FunctionError struct {
	Type    string
	Message string
}

// Error returns the type and the message.
func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

// Function is a running Lambda function. Its methods may be called concurrently.
type Function struct {
	command     *exec.Cmd
	output      *output
	server      *http.Server
	served      chan struct{} // closed when the server has stopped
	timeout     time.Duration
	initTimeout time.Duration
	arn         string
	now         func() time.Time
	epoch       time.Time // durations that are passed between goroutines count from it

	polled   sync.Once
	ready    chan time.Time      // receives the time of the first poll
	failed   chan *FunctionError // receives the report to /init/error
	running  atomic.Bool         // the first poll has arrived
	initTime time.Duration

	turn    chan struct{}              // full during an invocation
	current atomic.Pointer[invocation] // that invocation, until its response is claimed
	pending chan *invocation           // from Invoke to the waiting poll
	elapsed atomic.Int64               // duration of the last answered invocation, in ns

	ended chan struct{} // closed when the process has ended and its output is read
	peak  atomic.Int64  // last reading of its peak memory, in bytes
	stop  func() error  // stops everything, the first time
}

// invocation is the handling of one event.
type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	timer    *time.Timer
	waits    bool         // for the first poll; its time begins when it is delivered
	handed   atomic.Int64 // when the poll received it, in ns since epoch
	answer   chan answer  // receives exactly one
}

type answer struct {
	body []byte
	err  error
}

// Start runs the function and returns when it polls for its first event. ctx bounds
// only the start. The function runs until Close is called or, on Linux, the calling
// process ends, even if that is killed. The error is a FunctionError if the function
// reported an init error or ended during init.
func Start(ctx context.Context, options Options) (*Function, error) {
	f, err := Launch(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := f.Await(ctx); err != nil {
		_ = f.Close() // the cause is err
		return nil, err
	}
	return f, nil
}

// Launch starts the function as Start does and returns at once. An event of Invoke then
// waits for the first poll, as on Lambda, where an event causes the start. Await must be
// called once.
func Launch(ctx context.Context, options Options) (*Function, error) {
	f, err := launch(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("start the function: %w", err)
	}
	return f, nil
}

// Await waits until the function that Launch has started polls for its first event.
func (f *Function) Await(ctx context.Context) error {
	if err := f.await(ctx); err != nil {
		return fmt.Errorf("initialize the function: %w", err)
	}
	return nil
}

// launch starts the server and the process.
func launch(ctx context.Context, options Options) (*Function, error) {
	if len(options.Command) == 0 {
		return nil, errors.New("no command")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the function: %w", err)
	}
	env := environment(options, listener.Addr().String())
	clock := time.Now //nolint:forbidigo // it measures, and another process compares its deadline with the real clock
	f := &Function{
		output:      &output{to: options.Output},
		served:      make(chan struct{}),
		timeout:     cmp.Or(options.Timeout, defaultTimeout),
		initTimeout: cmp.Or(options.InitTimeout, initLimit),
		arn:         arn(env),
		now:         clock,
		epoch:       clock(),
		ready:       make(chan time.Time, 1),
		failed:      make(chan *FunctionError, 1),
		turn:        make(chan struct{}, 1),
		pending:     make(chan *invocation),
		ended:       make(chan struct{}),
	}
	f.stop = sync.OnceValue(f.shutdown)
	f.server = &http.Server{Handler: f.routes(), ReadHeaderTimeout: initLimit}
	go func() {
		_ = f.server.Serve(listener) // always http.ErrServerClosed
		close(f.served)
	}()

	f.command = exec.CommandContext(context.WithoutCancel(ctx), options.Command[0], options.Command[1:]...) //nolint:gosec // the caller names the command
	f.command.Env = env
	f.command.Dir = options.Dir
	f.command.Stdout, f.command.Stderr = f.output, f.output
	f.command.WaitDelay = outputDelay
	f.command.SysProcAttr = withParent()
	if options.Root != "" {
		if f.command.Dir == "" {
			f.command.Dir = "/"
		}
		if err := confine(f.command.SysProcAttr, options.Root); err != nil {
			close(f.ended)
			return nil, errors.Join(err, f.server.Close())
		}
	}
	started := make(chan error)
	go f.run(started)
	if err := <-started; err != nil {
		close(f.ended)
		return nil, errors.Join(err, f.server.Close())
	}
	return f, nil
}

// run starts the process and waits until it has ended. It locks its thread, because
// Linux kills the process when the thread that started it ends.
func (f *Function) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f.epoch = f.now()
	err := f.command.Start()
	started <- err
	if err != nil {
		return
	}
	_ = f.command.Wait() // its state is in ProcessState
	close(f.ended)
}

// await waits for the first poll.
func (f *Function) await(ctx context.Context) error {
	late := time.NewTimer(f.initTimeout)
	defer late.Stop()
	select {
	case polled := <-f.ready:
		f.initTime = polled.Sub(f.epoch)
		f.readMemory()
		return nil
	case failure := <-f.failed:
		return failure
	case <-f.ended:
	case <-late.C:
		return fmt.Errorf("no poll for an event within %s; output: %s", f.initTimeout, f.output)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case failure := <-f.failed: // it reported an error before it ended
		return failure
	default:
		return &FunctionError{
			Type:    "Runtime.ExitError",
			Message: fmt.Sprintf("%s; output: %s", exit(f.command.ProcessState), f.output),
		}
	}
}

// InitDuration returns the time from the start of the process to its first poll.
func (f *Function) InitDuration() time.Duration { return f.initTime }

// Duration returns the duration of the last completed invocation as Lambda reports
// it: from the delivery of the event to the last byte of the response. It excludes
// the wait for a poll and the return to the caller of Invoke.
func (f *Function) Duration() time.Duration { return time.Duration(f.elapsed.Load()) }

// PeakRSS returns the peak resident memory of the process so far, in bytes. After its
// end that is the last reading, taken before Close or before the first event. It
// returns 0 on systems without /proc.
//
// The resource usage of an ended process is no substitute: for a process that Go has
// started, Linux includes the peak of the parent.
func (f *Function) PeakRSS() int64 {
	f.readMemory()
	return f.peak.Load()
}

// CPUTime returns the processor time of the process so far, of all its threads in user
// and kernel mode. It returns 0 after the end of the process and on other systems than
// Linux.
func (f *Function) CPUTime() time.Duration {
	select {
	case <-f.ended: // its process ID may belong to another process
		return 0
	default:
		return cpuTime(f.command.Process.Pid)
	}
}

// readMemory updates peak if the process still runs.
func (f *Function) readMemory() {
	select {
	case <-f.ended: // its process ID may belong to another process
		return
	default:
	}
	status, err := os.ReadFile("/proc/" + strconv.Itoa(f.command.Process.Pid) + "/status")
	if err != nil {
		return
	}
	for line := range bytes.Lines(status) {
		text, found := bytes.CutPrefix(line, []byte("VmHWM:"))
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(string(bytes.TrimSpace(text)), " kB"), 10, 64)
		if err == nil {
			f.peak.Store(kib << 10)
		}
	}
}

// Invoke delivers payload, at most 6 MB, to the function and returns its response, at
// most 6 MB. Concurrent invocations run one after the other. The error is a
// FunctionError if the function failed; after Runtime.ExitError and Sandbox.Timedout
// the process has ended, and every later Invoke returns a Runtime.ExitError.
//
// The end of ctx ends the wait, not the invocation: as in Lambda, the function
// continues, and the next Invoke waits for it.
func (f *Function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if len(payload) > maxRequest {
		return nil, fmt.Errorf("invoke the function: the event has %d bytes, at most %d are allowed", len(payload), maxRequest)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("invoke the function: %w", err)
	}
	inv := &invocation{id: uuid.NewString(), payload: payload, answer: make(chan answer, 1)}
	select {
	case f.turn <- struct{}{}:
	case <-f.ended:
		return nil, f.exitError(inv)
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the previous invocation: %w", ctx.Err())
	}
	inv.deadline = f.now().Add(f.timeout)
	inv.timer = time.AfterFunc(math.MaxInt64, func() { f.expire(inv) }) // started below, after inv is stored
	f.current.Store(inv)
	if inv.waits = !f.running.Load(); !inv.waits {
		inv.timer.Reset(f.timeout)
	}

	select {
	case f.pending <- inv:
	case <-f.ended:
	case <-ctx.Done():
		if f.claim(inv) { // the function has not received it
			f.settle(inv, answer{})
		}
		return nil, fmt.Errorf("wait for the function to poll: %w", ctx.Err())
	}
	select {
	case a := <-inv.answer:
		return a.body, a.err
	case <-f.ended:
		if f.claim(inv) {
			f.settle(inv, answer{err: f.exitError(inv)})
		}
		a := <-inv.answer
		return a.body, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the response: %w", ctx.Err())
	}
}

// claim reports whether the caller is to settle inv. It returns true once for each
// invocation.
func (f *Function) claim(inv *invocation) bool { return f.current.CompareAndSwap(inv, nil) }

// settle completes a claimed invocation and allows the next one to start.
func (f *Function) settle(inv *invocation, a answer) {
	inv.timer.Stop()
	inv.answer <- a
	<-f.turn
}

// expire kills the process because inv has exceeded its timeout.
func (f *Function) expire(inv *invocation) {
	if !f.claim(inv) {
		return
	}
	f.kill(syscall.SIGKILL)
	<-f.ended
	f.settle(inv, answer{err: &FunctionError{
		Type:    "Sandbox.Timedout",
		Message: fmt.Sprintf("RequestId: %s Error: Task timed out after %.2f seconds", inv.id, f.timeout.Seconds()),
	}})
}

// exitError returns the error of an invocation after the process has ended.
func (f *Function) exitError(inv *invocation) error {
	return &FunctionError{
		Type:    "Runtime.ExitError",
		Message: fmt.Sprintf("RequestId: %s Error: %s", inv.id, exit(f.command.ProcessState)),
	}
}

// exit describes in Lambda's words how a process ended.
func exit(state *os.ProcessState) string {
	if state.Success() {
		return "Runtime exited without providing a reason"
	}
	return "Runtime exited with error: " + state.String()
}

// Close stops the process, with SIGTERM and after two seconds with SIGKILL, and waits
// until it has ended. A second Close does nothing.
func (f *Function) Close() error { return f.stop() }

func (f *Function) shutdown() error {
	f.readMemory()
	f.kill(syscall.SIGTERM)
	late := time.NewTimer(stopGrace)
	defer late.Stop()
	select {
	case <-f.ended:
	case <-late.C:
		f.kill(syscall.SIGKILL)
		<-f.ended
	}
	err := f.server.Close()
	<-f.served
	if err != nil {
		return fmt.Errorf("close the runtime API: %w", err)
	}
	return nil
}

// kill sends a signal to the process and its children, unless it has ended.
func (f *Function) kill(signal syscall.Signal) {
	select {
	case <-f.ended: // its process ID may belong to another process
	default:
		send(f.command.Process, signal)
	}
}

// environment returns the environment of the options with the variables that Lambda
// adds.
func environment(options Options, api string) []string {
	env := append([]string(nil), options.Env...)
	missing := func(name, value string) {
		if _, found := lookup(env, name); !found {
			env = append(env, name+"="+value)
		}
	}
	missing("AWS_LAMBDA_FUNCTION_NAME", "function")
	name, _ := lookup(env, "AWS_LAMBDA_FUNCTION_NAME")
	missing("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
	missing("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
	missing("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/"+name)
	missing("AWS_LAMBDA_LOG_STREAM_NAME", "local/[$LATEST]"+strings.ReplaceAll(uuid.NewString(), "-", ""))
	missing("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
	if program, err := filepath.Abs(options.Command[0]); err == nil {
		missing("LAMBDA_TASK_ROOT", filepath.Dir(program))
	}
	missing("_HANDLER", filepath.Base(options.Command[0]))
	missing("TZ", ":UTC")
	return append(env, "AWS_LAMBDA_RUNTIME_API="+api) // the last value of a name wins
}

// lookup returns the last value of name in env.
func lookup(env []string, name string) (value string, found bool) {
	for _, line := range env {
		if text, ok := strings.CutPrefix(line, name+"="); ok {
			value, found = text, true
		}
	}
	return value, found
}

// arn returns the ARN of the function, with the account ID of AWS's examples.
func arn(env []string) string {
	name, _ := lookup(env, "AWS_LAMBDA_FUNCTION_NAME")
	region, found := lookup(env, "AWS_REGION")
	if !found {
		region = "us-east-1"
	}
	return "arn:aws:lambda:" + region + ":123456789012:function:" + name
}

// output is a writer that forwards to another and keeps the last maxTail bytes.
type output struct {
	mu   sync.Mutex
	to   io.Writer // may be nil
	kept []byte
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept = append(o.kept, p...)
	o.kept = o.kept[max(0, len(o.kept)-maxTail):]
	if o.to != nil {
		_, _ = o.to.Write(p) // an error of the writer must not stop the function
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(bytes.TrimSpace(o.kept))
}
