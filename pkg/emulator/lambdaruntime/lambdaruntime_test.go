package lambdaruntime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/testkit/testbuild"
)

// build builds testdata/function once for all tests, and returns its path.
var build = sync.OnceValues(func() (string, error) {
	static := []string{"CGO_ENABLED=0"} // it needs no shared libraries in a root directory of its own
	dir, err := testbuild.Programs(context.Background(), static, "-trimpath", "-tags=lambda.norpc", "./testdata/function")
	return filepath.Join(dir, "function"), err
})

// bootstrap returns the path of the built testdata/function.
func bootstrap(tb testing.TB) string {
	tb.Helper()
	path, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// asParent is the environment variable that makes this test binary run the
// bootstrap that it names, with the address to visit as its argument.
const asParent = "LAMBDARUNTIME_TEST_PARENT"

// long bounds the wait for what should happen at once, under load.
const long = 20 * time.Second

func TestMain(m *testing.M) {
	if program := os.Getenv(asParent); program != "" {
		function, err := lambdaruntime.Start(context.Background(), lambdaruntime.Options{Command: []string{program}, Timeout: time.Hour})
		if err == nil {
			_, err = function.Invoke(context.Background(), visit(os.Args[1]))
		}
		fmt.Fprintln(os.Stderr, "this is not reached:", err)
		os.Exit(1)
	}
	code := m.Run()
	if path, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// start runs the bootstrap with edited options.
func start(tb testing.TB, edits ...func(*lambdaruntime.Options)) *lambdaruntime.Function {
	tb.Helper()
	options := lambdaruntime.Options{Command: []string{bootstrap(tb)}, Timeout: long}
	for _, edit := range edits {
		edit(&options)
	}
	function, err := lambdaruntime.Start(tb.Context(), options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := function.Close(); err != nil {
			tb.Error(err)
		}
	})
	return function
}

// invoke invokes the function and fails the test on an error.
func invoke(t *testing.T, function *lambdaruntime.Function, event string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	body, err := function.Invoke(ctx, []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// failure returns err without its wrapping. It must be a FunctionError.
func failure(t *testing.T, err error) lambdaruntime.FunctionError {
	t.Helper()
	failed, ok := errors.AsType[*lambdaruntime.FunctionError](err)
	if !ok {
		t.Fatalf("got %v, want a FunctionError", err)
	}
	return *failed
}

// seen is what the function receives with an invocation.
type seen struct {
	PID         int      `json:"pid"`
	RequestID   string   `json:"request_id"`
	ARN         string   `json:"arn"`
	DeadlineMS  int64    `json:"deadline_ms"`
	Trace       string   `json:"trace"`
	Environment []string `json:"environment"`
}

func look(t *testing.T, function *lambdaruntime.Function) seen {
	t.Helper()
	var s seen
	if err := json.Unmarshal([]byte(invoke(t, function, `{"do":"context"}`)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// visited is a server at which a function waits until it is released or killed.
type visited struct {
	address string
	arrived chan struct{} // one for each visitor
	leave   chan struct{} // close it to let them go
	died    chan struct{} // one for each that broke off
}

func place(t *testing.T) *visited {
	t.Helper()
	v := &visited{arrived: make(chan struct{}, 1), leave: make(chan struct{}), died: make(chan struct{}, 1)}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		v.arrived <- struct{}{}
		select {
		case <-v.leave:
		case <-r.Context().Done():
			v.died <- struct{}{}
		}
	}))
	t.Cleanup(func() {
		server.CloseClientConnections() // of one that should be dead
		server.Close()
	})
	v.address = server.URL
	return v
}

func visit(address string) []byte { return fmt.Appendf(nil, `{"do":"visit","path":%q}`, address) }

// within fails the test if c does not receive within long.
func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(long):
		t.Fatalf("%s: not within %s", what, long)
		panic("unreachable")
	}
}

func TestInvoke(t *testing.T) {
	function := start(t)
	for _, event := range []string{
		`{"do":"echo"}`,
		`{"do":"echo","text":"Grüße <&> \u2028"}`,
		`{"do":"echo","big":` + strconv.Quote(strings.Repeat("x", 5_000_000)) + `}`,
		`{"do":"echo","after":"that"}`,
	} {
		text := invoke(t, function, event)
		if text == event {
			continue
		}
		// The library escapes as encoding/json does, so values are compared.
		var got, want any
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(event), &want); err != nil {
			t.Fatal(err)
		}
		if !cmp.Equal(got, want) {
			t.Errorf("sent %.80s, got %.80v", event, got)
		}
	}
	if first, second := look(t, function), look(t, function); first.PID != second.PID || first.RequestID == second.RequestID {
		t.Errorf("processes %d and %d, requests %s and %s", first.PID, second.PID, first.RequestID, second.RequestID)
	}
}

func TestConcurrentInvocations(t *testing.T) {
	function := start(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			want := fmt.Sprintf(`{"do":"echo","number":%d}`, i)
			got, err := function.Invoke(t.Context(), []byte(want))
			if err != nil || string(got) != want {
				t.Errorf("%s became %s, %v", want, got, err)
			}
		})
	}
	group.Wait()
}

func TestInvocationContext(t *testing.T) {
	for _, c := range []struct {
		name    string
		env     []string
		want    []string
		arn     string
		timeout time.Duration
		bounds  time.Duration // the timeout that the deadline shows
	}{
		{
			name: "nothing given",
			want: []string{
				"AWS_LAMBDA_FUNCTION_NAME=function", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
				"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/function", "AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
				"LAMBDA_TASK_ROOT=" + filepath.Dir(bootstrap(t)), "_HANDLER=function", "TZ=:UTC",
			},
			arn:    "arn:aws:lambda:us-east-1:123456789012:function:function",
			bounds: 10 * time.Second,
		},
		{
			name: "all given",
			env: []string{
				"AWS_LAMBDA_FUNCTION_NAME=api", "AWS_LAMBDA_FUNCTION_VERSION=7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
				"AWS_LAMBDA_LOG_GROUP_NAME=/logs", "AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency",
				"LAMBDA_TASK_ROOT=/var/task", "_HANDLER=it", "TZ=", "AWS_REGION=eu-central-1", "TABLE_NAME=syncs",
				"AWS_LAMBDA_RUNTIME_API=127.0.0.1:1",
			},
			want: []string{
				"AWS_LAMBDA_FUNCTION_NAME=api", "AWS_LAMBDA_FUNCTION_VERSION=7", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
				"AWS_LAMBDA_LOG_GROUP_NAME=/logs", "AWS_LAMBDA_INITIALIZATION_TYPE=provisioned-concurrency",
				"LAMBDA_TASK_ROOT=/var/task", "_HANDLER=it", "TZ=", "AWS_REGION=eu-central-1", "TABLE_NAME=syncs",
			},
			arn:     "arn:aws:lambda:eu-central-1:123456789012:function:api",
			timeout: time.Hour,
			bounds:  time.Hour,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			function := start(t, func(o *lambdaruntime.Options) { o.Env, o.Timeout = c.env, c.timeout })
			before := time.Now().Truncate(time.Millisecond)
			s := look(t, function)
			after := time.Now()
			if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(s.RequestID) {
				t.Errorf("request id %q", s.RequestID)
			}
			if !regexp.MustCompile(`^Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0$`).MatchString(s.Trace) {
				t.Errorf("trace %q", s.Trace)
			}
			if s.ARN != c.arn {
				t.Errorf("arn %q, want %q", s.ARN, c.arn)
			}
			if deadline := time.UnixMilli(s.DeadlineMS); deadline.Before(before.Add(c.bounds)) || deadline.After(after.Add(c.bounds)) {
				t.Errorf("deadline %s, want %s after %s … %s", deadline, c.bounds, before, after)
			}
			s.Environment = slices.DeleteFunc(s.Environment, func(line string) bool {
				name, value, _ := strings.Cut(line, "=")
				switch name {
				case "_X_AMZN_TRACE_ID": // the library's own
					return true
				case "AWS_LAMBDA_LOG_STREAM_NAME":
					return value != ""
				case "AWS_LAMBDA_RUNTIME_API":
					return strings.HasPrefix(value, "127.0.0.1:") && value != "127.0.0.1:1"
				}
				return false
			})
			slices.Sort(s.Environment)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, s.Environment); diff != "" {
				t.Errorf("the environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFunctionErrors(t *testing.T) {
	for _, c := range []struct {
		name, event string
		want        lambdaruntime.FunctionError // ID stands for a request id
		gone        string                      // how the process is gone afterwards, if it is
	}{
		{"with an error", `{"do":"fail"}`, lambdaruntime.FunctionError{Type: "brokenError", Message: "it is broken"}, ""},
		{"half-way through the response", `{"do":"break"}`, lambdaruntime.FunctionError{Type: "brokenError", Message: "it is broken"}, ""},
		{"with a panic", `{"do":"panic"}`, lambdaruntime.FunctionError{Type: "string", Message: "out of cheese"}, "exit status 1"},
		{
			"with an exit", `{"do":"exit","bytes":3}`,
			lambdaruntime.FunctionError{Type: "Runtime.ExitError", Message: "RequestId: ID Error: Runtime exited with error: exit status 3"},
			"exit status 3",
		},
		{
			"with exit status 0", `{"do":"exit"}`,
			lambdaruntime.FunctionError{Type: "Runtime.ExitError", Message: "RequestId: ID Error: Runtime exited without providing a reason"},
			"without providing a reason",
		},
		{
			"with too large a response", `{"do":"bytes","bytes":6291557}`,
			lambdaruntime.FunctionError{Type: "Function.ResponseSizeTooLarge", Message: "Response payload size exceeded maximum allowed payload size (6291556 bytes)."},
			"exit status 1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			function := start(t)
			invoke(t, function, `{"do":"echo"}`)
			body, err := function.Invoke(t.Context(), []byte(c.event))
			got := failure(t, err)
			got.Message = regexp.MustCompile(`RequestId: \S+`).ReplaceAllString(got.Message, "RequestId: ID")
			if diff := cmp.Diff(c.want, got); diff != "" || body != nil {
				t.Errorf("body %q, error (-want +got):\n%s", body, diff)
			}
			if !strings.Contains(err.Error(), c.want.Type+": ") {
				t.Errorf("%q lacks the type", err)
			}
			if c.gone == "" {
				invoke(t, function, `{"do":"echo"}`)
				return
			}
			for range 2 {
				_, err = function.Invoke(t.Context(), []byte(`{"do":"echo"}`))
				if got := failure(t, err); got.Type != "Runtime.ExitError" || !strings.HasSuffix(got.Message, c.gone) {
					t.Errorf("the next invocation: %v, want a Runtime.ExitError that ends with %q", err, c.gone)
				}
			}
		})
	}
}

func TestSizes(t *testing.T) {
	function := start(t)
	frame := `{"do":"post","path":"runtime/invocation/none/response","body":""}`
	event := []byte(frame[:len(frame)-2] + strings.Repeat("x", 6<<20-len(frame)) + frame[len(frame)-2:])
	if got := invoke(t, function, string(event)); got != "400" {
		t.Errorf("an event of %d bytes: %s", len(event), got)
	}
	if _, err := function.Invoke(t.Context(), append(event, ' ')); err == nil || !strings.Contains(err.Error(), "6291457 bytes") {
		t.Errorf("an event of %d bytes: %v, want it refused", len(event)+1, err)
	}
	if got := invoke(t, function, `{"do":"bytes","bytes":6291556}`); len(got) != 6291556 {
		t.Errorf("a response of 6291556 bytes came with %d", len(got))
	}
}

func TestInvalidAPICalls(t *testing.T) {
	function := start(t)
	for _, c := range []struct {
		path string
		want string
	}{
		{"runtime/invocation/none/response", "400"},
		{"runtime/invocation/none/error", "400"},
		{"runtime/invocation/00000000-0000-4000-8000-000000000000/response", "400"},
		{"runtime/init/error", "403"}, // init is over
		{"runtime/invocation/next", "405"},
		{"runtime/invocation/ID/other", "404"},
		{"runtime/none", "404"},
	} {
		if got := invoke(t, function, fmt.Sprintf(`{"do":"post","path":%q}`, c.path)); got != c.want {
			t.Errorf("POST %s: %s, want %s", c.path, got, c.want)
		}
	}
}

func TestSecondResponse(t *testing.T) {
	var output bytes.Buffer
	function := start(t, func(o *lambdaruntime.Options) { o.Output = &output })
	if got := invoke(t, function, `{"do":"repeat"}`); got != `"first"` {
		t.Errorf("got %s", got)
	}
	// The library ends the process because its own response is refused.
	_, err := function.Invoke(t.Context(), []byte(`{"do":"echo"}`))
	if got := failure(t, err); got.Type != "Runtime.ExitError" {
		t.Errorf("got %v", err)
	}
	if err := function.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(output.String(), "statuses 202 400") {
		t.Errorf("output: %s", &output)
	}
}

func TestInitFails(t *testing.T) {
	for _, c := range []struct {
		name, mode string
		kind       string // of the FunctionError, if it is one
		want       []string
	}{
		{"exit", "exit", "Runtime.ExitError", []string{"exit status 3", "no table is configured"}},
		{"exit status 0", "end", "Runtime.ExitError", []string{"without providing a reason"}},
		{"panic", "panic", "Runtime.ExitError", []string{"exit status 2", "panic: no table is configured", "main.go"}},
		{"report", "report", "Config.Missing", []string{"no table is configured"}},
		{"report that is no JSON", "report-text", "Config.Text", []string{"no table is configured"}},
		{"no poll", "hang", "", []string{"no poll for an event within 500ms", "waiting for a table"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			options := lambdaruntime.Options{Command: []string{bootstrap(t)}, Env: []string{"INIT=" + c.mode}}
			if c.mode == "hang" {
				options.InitTimeout = 500 * time.Millisecond
			}
			function, err := lambdaruntime.Start(t.Context(), options)
			if err == nil {
				_ = function.Close()
				t.Fatal("it started")
			}
			for _, part := range append(c.want, "initialize the function") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			if c.kind == "" {
				return
			}
			if got := failure(t, err); got.Type != c.kind {
				t.Errorf("type %s, want %s", got.Type, c.kind)
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	for _, c := range []struct {
		name    string
		command []string
		want    string
	}{
		{"no command", nil, "no command"},
		{"no such program", []string{filepath.Join(t.TempDir(), "none")}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := lambdaruntime.Start(t.Context(), lambdaruntime.Options{Command: c.command})
			if err == nil || !strings.Contains(err.Error(), "start the function") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestStartCanceled(t *testing.T) {
	program := bootstrap(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	function, err := lambdaruntime.Start(ctx, lambdaruntime.Options{Command: []string{program}, Env: []string{"INIT=hang"}})
	if err == nil {
		_ = function.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestContextBoundsOnlyStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	function, err := lambdaruntime.Start(ctx, lambdaruntime.Options{Command: []string{bootstrap(t)}})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	invoke(t, function, `{"do":"echo"}`)
	if err := function.Close(); err != nil {
		t.Error(err)
	}
}

// TestWaitingEvent checks that an event can wait for a function that starts, that a
// failure of the start ends the wait, and that the timeout does not include it.
func TestWaitingEvent(t *testing.T) {
	for _, test := range []struct{ env, want string }{{"INIT=", ""}, {"INIT=slow", ""}, {"INIT=exit", "Runtime.ExitError"}} {
		function, err := lambdaruntime.Launch(t.Context(), lambdaruntime.Options{Command: []string{bootstrap(t)}, Env: []string{test.env}, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		const event = `{"do":"echo"}`
		invoked := make(chan error, 1)
		go func() {
			response, err := function.Invoke(t.Context(), []byte(event))
			if err == nil && string(response) != event {
				err = fmt.Errorf("got %s, want %s", response, event)
			}
			invoked <- err
		}()
		for _, err := range []error{function.Await(t.Context()), <-invoked} {
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %v, want %q", test.env, err, test.want)
			}
		}
		if (function.InitDuration() > 0) != (test.want == "") {
			t.Errorf("%s: the init phase took %v", test.env, function.InitDuration())
		}
		if err := function.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestTimeout(t *testing.T) {
	v := place(t)
	function := start(t, func(o *lambdaruntime.Options) { o.Timeout = 1250 * time.Millisecond })
	invoke(t, function, `{"do":"echo"}`)
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	started := time.Now()
	_, err := function.Invoke(ctx, visit(v.address))
	took := time.Since(started)
	got := failure(t, err)
	if got.Type != "Sandbox.Timedout" || !strings.HasSuffix(got.Message, "Error: Task timed out after 1.25 seconds") {
		t.Errorf("got %v", got)
	}
	if took < 1250*time.Millisecond || took > long {
		t.Errorf("it took %s", took)
	}
	within(t, v.died, "the death of the function")
	_, err = function.Invoke(t.Context(), []byte(`{"do":"echo"}`))
	if got := failure(t, err); got.Type != "Runtime.ExitError" || !strings.HasSuffix(got.Message, "signal: killed") {
		t.Errorf("the next invocation: %v", err)
	}
}

func TestCanceledInvocation(t *testing.T) {
	v := place(t)
	function := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := function.Invoke(ctx, visit(v.address))
		first <- err
	}()
	within(t, v.arrived, "the first event")
	cancel()
	if err := within(t, first, "the end of the first Invoke"); !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v, want %v", err, context.Canceled)
	}
	// An invocation canceled while it waits for its turn never reaches the function.
	if _, err := function.Invoke(ctx, []byte(`{"do":"exit"}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: %v, want %v", err, context.Canceled)
	}
	short, done := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer done()
	if _, err := function.Invoke(short, []byte(`{"do":"exit"}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a context that ends: %v, want %v", err, context.DeadlineExceeded)
	}
	close(v.leave)
	if got := invoke(t, function, `{"do":"echo"}`); got != `{"do":"echo"}` {
		t.Errorf("the next: %s", got)
	}
}

func TestCloseDuringInvocation(t *testing.T) {
	v := place(t)
	function := start(t)
	result := make(chan error, 1)
	go func() {
		_, err := function.Invoke(t.Context(), visit(v.address))
		result <- err
	}()
	within(t, v.arrived, "the event")
	if err := function.Close(); err != nil {
		t.Error(err)
	}
	err := within(t, result, "the end of Invoke")
	if got := failure(t, err); got.Type != "Runtime.ExitError" || !strings.HasSuffix(got.Message, "signal: terminated") {
		t.Errorf("got %v", err)
	}
	within(t, v.died, "the death of the function")
	if err := function.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

func TestCloseKills(t *testing.T) {
	function := start(t)
	invoke(t, function, `{"do":"deaf"}`)
	started := time.Now()
	if err := function.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(started); took < 2*time.Second || took > long {
		t.Errorf("it took %s, want the 2 s between SIGTERM and SIGKILL", took)
	}
	_, err := function.Invoke(t.Context(), []byte(`{"do":"echo"}`))
	if got := failure(t, err); !strings.HasSuffix(got.Message, "signal: killed") {
		t.Errorf("the next invocation: %v", err)
	}
}

func TestCloseKillsChildren(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("process groups are used on Linux alone")
	}
	function := start(t)
	child := invoke(t, function, `{"do":"spawn"}`)
	if _, err := os.Stat("/proc/" + child); err != nil {
		t.Fatal(err)
	}
	if err := function.Close(); err != nil {
		t.Error(err)
	}
	// It is not a child of the test: it has ended, or is a zombie until its new
	// parent reaps it.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for limit := time.After(long); ; {
		status, err := os.ReadFile("/proc/" + child + "/status")
		if err != nil || bytes.Contains(status, []byte("State:\tZ")) {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("process %s is left: %s", child, status)
		}
	}
}

func TestFunctionEndsWithKilledParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the kernel ties a process to its parent on Linux alone")
	}
	v := place(t)
	parent := exec.CommandContext(t.Context(), os.Args[0], v.address)
	parent.Env = append(os.Environ(), asParent+"="+bootstrap(t))
	parent.Stderr = os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	within(t, v.arrived, "the event")
	if err := parent.Process.Kill(); err != nil { // SIGKILL: it can clean up nothing
		t.Fatal(err)
	}
	_ = parent.Wait() // "signal: killed"
	within(t, v.died, "the death of the function")
}

func TestMeasures(t *testing.T) {
	started := time.Now()
	function := start(t)
	if took := time.Since(started); function.InitDuration() <= 0 || function.InitDuration() > took {
		t.Errorf("init took %s of %s", function.InitDuration(), took)
	}
	if function.Duration() != 0 {
		t.Errorf("before the first invocation the last one took %s", function.Duration())
	}
	started = time.Now()
	invoke(t, function, `{"do":"echo"}`)
	if took := time.Since(started); function.Duration() <= 0 || function.Duration() > took {
		t.Errorf("the invocation took %s of %s", function.Duration(), took)
	}

	if runtime.GOOS != "linux" {
		return
	}
	spent := function.CPUTime()
	const more = 64 << 20
	before := function.PeakRSS()
	invoke(t, function, fmt.Sprintf(`{"do":"grow","bytes":%d}`, more))
	after := function.PeakRSS()
	if before < 1<<20 || before > 64<<20 || after < before+more*9/10 || after > before+2*more {
		t.Errorf("peak memory %d, after %d more bytes %d", before, more, after)
	}
	if total := function.CPUTime(); spent <= 0 || total <= spent || total > time.Minute {
		t.Errorf("the processor time is %s, then %s", spent, total)
	}
	if err := function.Close(); err != nil {
		t.Fatal(err)
	}
	if spent := function.CPUTime(); spent != 0 {
		t.Errorf("the processor time of an ended process is %s", spent)
	}
	if closed := function.PeakRSS(); closed < after {
		t.Errorf("peak memory %d, once closed %d", after, closed)
	}
}

func TestWorkingFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(bootstrap(t), filepath.Join(dir, "here")); err != nil {
		t.Fatal(err)
	}
	function := start(t, func(o *lambdaruntime.Options) { o.Command, o.Dir = []string{"./here"}, dir })
	invoke(t, function, `{"do":"echo"}`)
}

// TestRoot checks that the function has a root directory of its own. It skips where only
// root can change it; with CI=true, where a skip would go unnoticed, it fails.
func TestRoot(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the root directory can be changed on Linux alone")
	}
	if os.Geteuid() != 0 {
		const reason = "only root on Linux can change the root directory everywhere"
		if os.Getenv("CI") == "true" {
			t.Fatal(reason)
		}
		t.Skip("SKIPPED, NOT TESTED: " + reason)
	}
	root := t.TempDir()
	text, err := os.ReadFile(bootstrap(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bootstrap"), text, 0o700); err != nil {
		t.Fatal(err)
	}
	function := start(t, func(o *lambdaruntime.Options) { o.Command, o.Root = []string{"/bootstrap"}, root })
	if got := invoke(t, function, `{"do":"list"}`); got != `["bootstrap"]` {
		t.Errorf("the working directory has %s", got)
	}
	if _, err := lambdaruntime.Start(t.Context(), lambdaruntime.Options{Command: []string{"/bootstrap"}, Root: filepath.Join(root, "none")}); err == nil {
		t.Error("started in a root directory that does not exist")
	}
}

func TestOutput(t *testing.T) {
	var output bytes.Buffer
	function := start(t, func(o *lambdaruntime.Options) { o.Output = &output })
	if _, err := function.Invoke(t.Context(), []byte(`{"do":"fail"}`)); err == nil {
		t.Fatal("it did not fail")
	}
	if err := function.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(output.String(), `"errorMessage":"it is broken"`) {
		t.Errorf("output: %q", &output)
	}
}

// BenchmarkInvoke measures the overhead of an invocation, which every figure of
// ./bench contains.
func BenchmarkInvoke(b *testing.B) {
	for _, size := range []int{100, 10_000, 1_000_000} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			function := start(b)
			event := []byte(`{"do":"echo","text":"` + strings.Repeat("x", size) + `"}`)
			var inside time.Duration
			for b.Loop() {
				if _, err := function.Invoke(b.Context(), event); err != nil {
					b.Fatal(err)
				}
				inside += function.Duration()
			}
			b.ReportMetric(float64(inside.Nanoseconds())/float64(b.N), "ns-duration/op")
		})
	}
}
