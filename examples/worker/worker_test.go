package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/freeport"
	"syncplane/pkg/testkit/testbuild"
	"syncplane/pkg/testkit/testinput"
)

// deadline bounds what a test waits for, on a busy machine, too.
const deadline = 40 * time.Second

const secret = "0123456789012345678901234567890123456789"

// build builds the command and the worker once for all tests.
var build = sync.OnceValues(func() (string, error) {
	if _, err := testinput.Tree("."); err != nil { // the workers in other languages
		return "", err
	}
	return testbuild.Programs(context.Background(), []string{"CGO_ENABLED=0"}, "-trimpath", "-tags=lambda.norpc", "-ldflags=-s -w", ".", "../../cmd/syncplane")
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := build(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// program returns the path of a program that was built.
func program(t *testing.T, name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// worker is one of the workers of this folder.
type worker struct {
	name    string
	needs   string   // the program without which it does not run
	command []string // that starts it
	webhook bool     // it receives events; otherwise it polls
}

// workers returns the workers. With -S, Python starts three times as fast; it has no
// packages then, and the workers need none.
func workers(t *testing.T) []worker {
	t.Helper()
	return []worker{
		{name: "shell", needs: "jq", command: []string{"./pull.sh"}},
		{name: "Python", needs: "python3", command: []string{"python3", "-S", "webhook.py"}, webhook: true},
		{name: "Go", needs: "go", command: []string{program(t, "worker")}, webhook: true},
	}
}

// webhookWorkers returns the workers that receive events.
func webhookWorkers(t *testing.T) []worker {
	t.Helper()
	return slices.DeleteFunc(workers(t), func(w worker) bool { return !w.webhook })
}

// require skips the test if a program is not installed; with CI=true, where a skip
// would go unnoticed, it fails the test.
func require(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s is not installed", name)
}

// process is a process group that a test has started.
type process struct {
	*exec.Cmd

	output *os.File
}

// start starts a command with an environment of its own.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(context.Background(), name, args...)} // the cleanup kills it
	p.Env = append(env, "PYTHONDONTWRITEBYTECODE=1", "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"), "HOSTNAME=test")
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A file, so that Wait does not wait for programs that a killed worker has left.
	output, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	p.output, p.Stdout, p.Stderr = output, output, output
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
		_ = p.Wait() // killed, or waited for before
		if t.Failed() {
			t.Logf("%s: %s", name, p.log())
		}
		_ = output.Close()
	})
	return p
}

func (p *process) log() string {
	text, _ := os.ReadFile(p.output.Name())
	return regexp.MustCompile(`(?m)^curl .*`).ReplaceAllString(string(text), "") // which has a token
}

// kill kills the process alone, as kill -9 does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // killed, so never without an error
}

// setup is a server of one sync, and a worker.
type setup struct {
	t       *testing.T
	dir     string // of the server's data and of what COPY writes
	sync    syncs.Sync
	token   string
	env     []string // of the server
	address string   // of the server
	server  *process
	worker  *process
}

// newSetup starts a worker, and a server with a sync of one minute that is due in a
// second.
func newSetup(t *testing.T, w worker, copyRows string) *setup {
	t.Helper()
	require(t, "curl")
	require(t, w.needs)
	s := &setup{t: t, dir: t.TempDir()}
	port, hook := freeport.New(t), freeport.New(t)
	s.address = "http://127.0.0.1:" + port
	if err := syscall.Mkfifo(filepath.Join(s.dir, "release"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"PORT=" + port, "DATA_DIR=" + s.dir, "LOG_LEVEL=error"}
	if w.webhook {
		s.env = append(s.env, "WEBHOOK_URL=http://127.0.0.1:"+hook, "WEBHOOK_SECRET="+secret)
	}
	// The second start begins what has become due since the first, however long it
	// takes to get there.
	s.serve()
	if err := s.server.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := s.server.Wait(); err != nil {
		t.Fatal(err)
	}
	s.store()
	cmd := exec.CommandContext(t.Context(), program(t, "syncplane"), "token")
	cmd.Env = s.env
	token, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	s.token = strings.TrimSpace(string(token))
	s.worker = start(t, s.workerEnv(copyRows, hook), w.command[0], w.command[1:]...)
	if w.webhook { // so that the first delivery is not repeated after a pause
		awaitListener(t, hook)
	}
	s.serve()
	return s
}

func (s *setup) workerEnv(copyRows, port string) []string {
	return []string{
		"API=" + s.address, "TOKEN=" + s.token, "WEBHOOK_SECRET=" + secret,
		"PORT=" + port, "COPY=" + copyRows, "DIR=" + s.dir, "POLL=0.3", "HEARTBEAT=0.1",
	}
}

// serve starts the server and waits until it listens.
func (s *setup) serve() {
	s.t.Helper()
	s.server = start(s.t, s.env, program(s.t, "syncplane"), "serve")
	await(s.t, "the server", func() bool { return strings.Contains(s.server.log(), "Syncplane listens on") })
}

// await waits until a state that no channel reports is reached.
func await(t *testing.T, what string, reached func() bool) {
	t.Helper()
	looks := time.NewTicker(10 * time.Millisecond)
	defer looks.Stop()
	late := time.After(deadline)
	for !reached() {
		select {
		case <-looks.C:
		case <-late:
			t.Fatalf("%s: not reached", what)
		}
	}
}

// awaitListener waits until a worker listens on a port of this machine.
func awaitListener(t *testing.T, port string) {
	t.Helper()
	await(t, "the worker listens", func() bool {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = connection.Close() // only whether it listens matters
		}
		return err == nil
	})
}

// store stores a sync of one minute whose next run is due in a second.
func (s *setup) store() {
	s.t.Helper()
	store, err := bolt.Open(filepath.Join(s.dir, "syncs.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.sync = storagetest.NewSync(s.t)
	s.sync.Workspace, s.sync.CronExpression, s.sync.SyncInterval = "demo", "", 1
	s.sync.CreatedAt = time.Now().UTC().Add(-59 * time.Second).Truncate(time.Millisecond)
	s.sync.UpdatedAt, s.sync.ScheduledAt = s.sync.CreatedAt, s.sync.CreatedAt
	if err := store.Create(s.t.Context(), s.sync); err != nil {
		s.t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// streamed is an event of the server's stream.
type streamed struct {
	Type string `json:"type"`
	Data struct {
		ID         string     `json:"id"`
		Attributes attributes `json:"attributes"`
	} `json:"data"`
}

// attributes are those of a sync or a run that the tests compare.
type attributes struct {
	Status        string `json:"status"`
	ScheduledTime string `json:"scheduled_time"`
	Attempt       int    `json:"attempt"`
	ErrorCode     string `json:"error_code"`
}

// event waits for an event of a type, read from the oldest one.
func (s *setup) event(kind string) streamed {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), deadline)
	defer cancel()
	response := s.request(ctx, http.MethodGet, "/api/v1/events", "")
	defer response.Body.Close() //nolint:errcheck // it has no end
	lines := bufio.NewScanner(response.Body)
	var seen []string
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		e := streamed{}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			s.t.Fatalf("%v: %s", err, text)
		}
		if e.Type == kind+".v1" {
			return e
		}
		seen = append(seen, e.Type)
	}
	s.t.Fatalf("no %s: %v, %v, server: %s", kind, seen, lines.Err(), s.server.log())
	return streamed{}
}

func (s *setup) request(ctx context.Context, method, path, body string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, s.address+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Last-Event-ID", "0")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return response
}

// wantSync checks the status of the sync.
func (s *setup) wantSync(want syncs.Status) {
	s.t.Helper()
	response := s.request(s.t.Context(), http.MethodGet, "/api/v1/syncs/"+s.sync.ID, "")
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var document streamed
	if err := json.Unmarshal([]byte(`{"data":`+string(text)+`}`), &document); err != nil || document.Data.Attributes.Status != string(want) {
		s.t.Errorf("%v: got %s, want the status %s", err, text, want)
	}
}

// TestWorkers has each worker execute the first run of a sync of one minute, whose
// copy succeeds or fails.
func TestWorkers(t *testing.T) {
	t.Parallel()
	for _, w := range workers(t) {
		for want, code := range map[syncs.Status]string{syncs.Healthy: "0", syncs.Failed: "3"} {
			t.Run(w.name+" "+string(want), func(t *testing.T) {
				t.Parallel()
				s := newSetup(t, w, `cat >"$DIR/claim"; cat "$DIR/release"; exit `+code)
				started := s.event("sync.run.started")
				s.wantSync(syncs.Pending)
				s.release()
				outcome := map[syncs.Status]string{syncs.Healthy: "succeeded", syncs.Failed: "failed"}[want]
				if ended := s.event("sync.run." + outcome); ended.Data.ID != started.Data.ID || ended.Data.Attributes.Attempt != 1 {
					t.Errorf("got %+v, want the end of %+v", ended, started)
				}
				s.wantSync(want)
				var claim struct {
					ID   string `json:"id"`
					Sync struct {
						Attributes struct {
							Configuration json.RawMessage `json:"configuration"`
						} `json:"attributes"`
					} `json:"sync"`
				}
				text, err := os.ReadFile(filepath.Join(s.dir, "claim"))
				if err == nil {
					err = json.Unmarshal(text, &claim)
				}
				var configuration bytes.Buffer
				_ = json.Compact(&configuration, claim.Sync.Attributes.Configuration)
				if err != nil || claim.ID != started.Data.ID || configuration.String() != s.sync.Configuration {
					t.Errorf("%v: COPY got %s", err, text)
				}
			})
		}
	}
}

// release lets COPY continue, which waits for the pipe.
func (s *setup) release() {
	s.t.Helper()
	var pipe *os.File
	await(s.t, "COPY reads its pipe", func() bool {
		var err error
		pipe, err = os.OpenFile(filepath.Join(s.dir, "release"), os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err == nil
	})
	if err := pipe.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// TestServerKilled kills the server between the claim and the report. The worker
// continues, and its report ends the run.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	for _, w := range workers(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, w, `touch "$DIR/started"; cat "$DIR/release"`)
			started := s.event("sync.run.started")
			await(t, "COPY starts", func() bool {
				_, err := os.Stat(filepath.Join(s.dir, "started"))
				return err == nil
			})
			s.server.kill(t)
			s.release() // the copy ends while no server listens
			s.serve()
			if ended := s.event("sync.run.succeeded"); ended.Data.ID != started.Data.ID || ended.Data.Attributes.Attempt != 1 {
				t.Errorf("got %+v, want the end of %+v", ended, started)
			}
			s.wantSync(syncs.Healthy)
		})
	}
}

// TestCancel cancels a run that is under way: the worker stops COPY and reports it.
func TestCancel(t *testing.T) {
	t.Parallel()
	for _, w := range workers(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, w, `exec cat "$DIR/release"`)
			started := s.event("sync.run.started")
			response := s.request(t.Context(), http.MethodPost, "/api/v1/syncs/"+strings.Replace(started.Data.ID, "/", "/sync_runs/", 1)+"/cancel", "")
			_ = response.Body.Close() // the status is what counts
			if response.StatusCode != http.StatusAccepted {
				t.Errorf("got %d", response.StatusCode)
			}
			if ended := s.event("sync.run.canceled"); ended.Data.ID != started.Data.ID {
				t.Errorf("got %+v, want the end of %+v", ended, started)
			}
			s.wantSync(syncs.Pending)
			if pipe, err := os.OpenFile(filepath.Join(s.dir, "release"), os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
				_ = pipe.Close()
				t.Error("COPY continues")
			}
		})
	}
}

// TestLines checks that each example of docs/runs.md is complete in at most 15 lines,
// and that the files among them are those of this folder.
func TestLines(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/runs.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, block := range regexp.MustCompile("(?ms)^```([^\n]+)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1) {
		info, text := block[1], block[2]
		if lines := strings.Count(text, "\n"); lines > 15 {
			t.Errorf("%s has %d lines", info, lines)
		}
		for line := range strings.Lines(text) {
			if len(strings.TrimRight(line, "\n")) > 100 {
				t.Errorf("%s has a line of more than 100 characters: %s", info, line)
			}
		}
		_, name, ok := strings.Cut(info, " examples/worker/")
		if !ok {
			continue
		}
		shown[name] = true
		file, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(string(file), text); diff != "" {
			t.Errorf("%s (-) and docs/runs.md (+) differ: %s", name, diff)
		}
	}
	want := map[string]bool{"pull.sh": true, "webhook.py": true, "main.go": true, "sqs.py": true, "state-machine.yaml": true}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("the workers (-) and those of docs/runs.md (+) differ: %s", diff)
	}
}
