package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/event"
	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/local/server"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/freeport"
)

// oldSecret and otherSecret are secrets that do not sign the deliveries. The workers
// accept oldSecret too, as while a secret is changed.
const (
	oldSecret   = "b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQgb2xkIG9sZCE="
	otherSecret = "b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgISE="
)

// harness is the server of one machine in the process of the test, with a clock of
// its own.
type harness struct {
	t        *testing.T
	dir      string
	store    *bolt.Store
	runs     *runs.Service
	recorder *scheduler.Recorder
	api      *httptest.Server
	webhook  *webhook.Client
	hook     string       // the port of the webhook
	lose     atomic.Int32 // how many answers to claims are lost
	key      runs.Key     // of the run that is due

	mu  sync.Mutex
	now time.Time
}

func (h *harness) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// newHarness returns a harness with a sync whose run is queued.
func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{t: t, dir: t.TempDir(), now: time.Now().UTC().Truncate(time.Second), hook: freeport.New(t)}
	var err error
	if h.store, err = bolt.Open(filepath.Join(h.dir, "syncs.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.store.Close() })
	log := app.Logger(io.Discard, "")
	h.runs = &runs.Service{Store: bolt.Runs{Store: h.store, Now: h.clock}, Syncs: h.store, Now: h.clock, Retention: runs.DefaultRetention()}
	h.recorder = &scheduler.Recorder{Store: h.store, Runs: h.runs, Now: h.clock, Log: log}
	api := httpfunc.API(httpfunc.Deps{Store: h.store, Runs: h.runs, Log: log, Caller: func(context.Context, string) (auth.Caller, error) {
		return auth.Caller{Workspace: "demo", Scopes: []string{"syncs:read", "runs:execute"}}, nil
	}})
	gateway := server.Gateway{Function: httpfunc.Function(api, apigateway.Mapping{}), ReadBody: api.ReadBody, Now: time.Now}
	h.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/claim") && h.lose.Add(-1) >= 0 {
			gateway.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		gateway.ServeHTTP(w, r)
	}))
	t.Cleanup(h.api.Close)
	h.webhook, err = webhook.NewClient(webhook.Config{URL: "http://127.0.0.1:" + h.hook, Secret: secret}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	h.step()
	s := storagetest.NewSync(t)
	s.Workspace, s.CronExpression, s.SyncInterval = "demo", "", 1
	if err := h.store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := h.store.Publish(t.Context(), []event.Event{event.OfRun(&s, h.now, false)}, "test", 0); err != nil {
		t.Fatal(err)
	}
	h.key = runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: h.now}
	h.step()
	h.want(runs.Queued, "")
	return h
}

// step records what is due and what has expired.
func (h *harness) step() {
	h.t.Helper()
	for range 3 { // what one step publishes the next one reads
		if _, err := h.recorder.Step(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}

// run returns the run as it is stored.
func (h *harness) run() runs.Run {
	h.t.Helper()
	run, err := h.runs.Store.Run(h.t.Context(), h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	return run
}

func (h *harness) want(status runs.Status, code string) {
	h.t.Helper()
	if run := h.run(); run.Status != status || run.ErrorCode != code {
		h.t.Errorf("got %+v, want %s %s", run, status, code)
	}
}

// start starts a worker.
func (h *harness) start(w worker, copyRows string) *process {
	h.t.Helper()
	return start(h.t, []string{
		"API=" + h.api.URL, "TOKEN=x", "WEBHOOK_SECRET=" + oldSecret + " whsec_" + secret, "PORT=" + h.hook,
		"COPY=" + copyRows, "DIR=" + h.dir, "POLL=0.1", "HEARTBEAT=0.1",
	}, w.command[0], w.command[1:]...)
}

// deliver delivers the newest event of a queued run until the worker accepts it.
func (h *harness) deliver(w worker) {
	h.t.Helper()
	if !w.webhook {
		return
	}
	queued := h.queued()
	await(h.t, "a delivery", func() bool { return h.webhook.Send(h.t.Context(), h.api.URL, queued) == nil })
}

// queued returns the newest event of a queued run.
func (h *harness) queued() event.Event {
	h.t.Helper()
	entries, err := h.store.Events(0, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	var queued event.Event
	for _, e := range entries {
		if e.Kind == event.RunQueued {
			queued = e.Event
		}
	}
	return queued
}

func (h *harness) exists(name string) func() bool {
	return func() bool {
		_, err := os.Stat(filepath.Join(h.dir, name))
		return err == nil
	}
}

// TestWorkerKilled kills each worker while it copies. The run is retried when the
// lease has expired, and fails after three attempts.
func TestWorkerKilled(t *testing.T) {
	t.Parallel()
	for _, w := range workers(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			require(t, w.needs)
			h := newHarness(t)
			for attempt := 1; attempt <= runs.MaxAttempts; attempt++ {
				p := h.start(w, `touch "$DIR/started"; exec sleep 600`)
				h.deliver(w)
				await(t, "COPY starts", h.exists("started"))
				p.kill(t)
				if err := os.Remove(filepath.Join(h.dir, "started")); err != nil {
					t.Fatal(err)
				}
				run := h.run()
				if run.Status != runs.InProgress || run.Attempt != attempt {
					t.Fatalf("got %+v, want attempt %d", run, attempt)
				}
				h.mu.Lock()
				h.now = run.DeadlineAt
				h.mu.Unlock()
				h.step()
				if attempt < runs.MaxAttempts {
					h.want(runs.Queued, "")
				}
			}
			h.want(runs.Failed, runs.CodeLeaseExpired)
			if got, err := h.store.Read(t.Context(), h.key.Workspace, h.key.SyncID); err != nil || got.Status != syncs.Failed {
				t.Errorf("%v: the sync is %s", err, got.Status)
			}
		})
	}
}

// TestDeliveredAgain loses the answer to a claim, and then delivers the event twice.
// The worker copies once.
func TestDeliveredAgain(t *testing.T) {
	t.Parallel()
	for _, w := range webhookWorkers(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			require(t, w.needs)
			h := newHarness(t)
			h.lose.Store(1)
			h.start(w, `echo copy >>"$DIR/copies"; until [ -e "$DIR/end" ]; do sleep 0.05; done`)
			for range 3 {
				h.deliver(w)
			}
			await(t, "COPY starts", h.exists("copies"))
			if err := os.WriteFile(filepath.Join(h.dir, "end"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			await(t, "the report", func() bool { return h.run().Status == runs.Success })
			h.deliver(w) // the run has ended
			copies, err := os.ReadFile(filepath.Join(h.dir, "copies"))
			if err != nil || string(copies) != "copy\n" || h.run().Attempt != 1 || h.lose.Load() >= 0 {
				t.Errorf("%v: %q, %+v", err, copies, h.run())
			}
		})
	}
}

// TestUnverified delivers the event of a queued run with the signature of another
// secret, with a signature that is too old, and without one. The worker refuses each and
// claims nothing, and then accepts the event with a valid signature.
func TestUnverified(t *testing.T) {
	t.Parallel()
	for _, w := range webhookWorkers(t) {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			require(t, w.needs)
			h := newHarness(t)
			h.start(w, `touch "$DIR/started"`)
			address := "http://127.0.0.1:" + h.hook
			awaitListener(t, h.hook)
			ago := func() time.Time { return time.Now().Add(-10 * time.Minute) }
			for name, test := range map[string]struct {
				secret    string
				now       func() time.Time
				transport http.RoundTripper
			}{
				"another secret": {otherSecret, time.Now, http.DefaultTransport},
				"too old":        {secret, ago, http.DefaultTransport},
				"no signature":   {secret, time.Now, without("Webhook-Signature")},
				"no time":        {secret, time.Now, without("Webhook-Timestamp")},
			} {
				forger, err := webhook.NewClient(webhook.Config{URL: address, Secret: test.secret}, test.now)
				if err != nil {
					t.Fatal(err)
				}
				forger.Transport = test.transport
				err = forger.Send(t.Context(), h.api.URL, h.queued())
				if refusal, ok := errors.AsType[*webhook.RefusalError](err); !ok || refusal.Status != http.StatusUnauthorized {
					t.Errorf("%s: got %v, want 401", name, err)
				}
			}
			h.want(runs.Queued, "")
			h.deliver(w)
			await(t, "COPY starts", h.exists("started"))
			await(t, "the report", func() bool { return h.run().Status == runs.Success })
		})
	}
}

// without sends requests without one of their headers.
type without string

func (name without) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Del(string(name))
	return http.DefaultTransport.RoundTrip(r)
}

// TestQueueFunction calls the function behind a queue with the message of a queued
// run, for each outcome, and again for a run that has ended.
func TestQueueFunction(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		copyRows string // the body of rows.copy
		lose     int32
		fails    bool // the first call does
		want     runs.Status
	}{
		"success":         {`return "success"`, 0, false, runs.Success},
		"failure":         {`return "failed"`, 0, false, runs.Failed},
		"lost answer":     {`return "success"`, 1, true, runs.Success},
		"first call dies": {`open("died"); return "success"`, 0, true, runs.Success},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require(t, "python3")
			h := newHarness(t)
			h.lose.Store(test.lose)
			target, err := url.Parse(h.api.URL)
			if err != nil {
				t.Fatal(err)
			}
			secure := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(target))
			t.Cleanup(secure.Close)
			certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
			module := "def copy(claim):\n    assert claim['sync']['attributes']['stream_name'] == 'contacts'\n    " + test.copyRows + "\n"
			for file, text := range map[string]string{"ca.pem": string(certificate), "rows.py": module} {
				if err := os.WriteFile(filepath.Join(h.dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			message := h.message()
			// call calls the function in a process of its own, a number of times, and calls
			// check after each.
			call := func(times int, check func()) (string, error) {
				const program = "import json, sys, sqs\nfor line in sys.stdin: sqs.handler(json.loads(line), None); print(flush=True)"
				cmd := exec.CommandContext(t.Context(), "python3", "-S", "-c", program)
				cmd.Env = []string{
					"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PYTHONPATH=" + h.dir, "PYTHONDONTWRITEBYTECODE=1", "TOKEN=x",
					"SSL_CERT_FILE=" + filepath.Join(h.dir, "ca.pem"), "API=" + secure.URL,
				}
				cmd.Dir, err = os.Getwd()
				if err != nil {
					t.Fatal(err)
				}
				var stderr strings.Builder
				cmd.Stderr = &stderr
				stdin, err := cmd.StdinPipe()
				if err != nil {
					return "", err
				}
				stdout, err := cmd.StdoutPipe()
				if err != nil {
					return "", err
				}
				if err := cmd.Start(); err != nil {
					return "", err
				}
				returned := bufio.NewScanner(stdout)
				for range times {
					if _, err := stdin.Write(append(message, '\n')); err != nil {
						break // it has ended
					}
					if !returned.Scan() {
						break
					}
					check()
				}
				_ = stdin.Close() // so that it ends
				err = cmd.Wait()
				return stderr.String(), err
			}
			if test.fails {
				if out, err := call(1, func() {}); err == nil {
					t.Errorf("the first call succeeds: %s", out)
				}
				h.want(runs.InProgress, "")
				_ = os.WriteFile(filepath.Join(h.dir, "rows.py"), []byte("def copy(claim):\n    return 'success'\n"), 0o600)
			}
			ended := 0
			if out, err := call(2, func() {
				ended++
				h.want(test.want, "")
			}); err != nil || ended != 2 {
				t.Fatalf("%d calls ended: %v: %s", ended, err, out)
			}
			if run := h.run(); run.Attempt != 1 {
				t.Errorf("got %+v, want one attempt", run)
			}
		})
	}
}

// message returns the call of a function with a message of the event of the queued
// run, as EventBridge and SQS make it.
func (h *harness) message() []byte {
	h.t.Helper()
	entries, err := h.store.Events(0, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind != event.RunQueued {
			continue
		}
		body := `{"detail-type":"` + string(e.Kind) + `","source":"syncplane","detail":` + string(e.Append(nil, h.api.URL)) + `}`
		message, err := json.Marshal(map[string]any{"Records": []any{map[string]any{"messageId": "19dd0b57-b21e-4ac1-bd88-01bbb068cb78", "body": body}}})
		if err != nil {
			h.t.Fatal(err)
		}
		return message
	}
	h.t.Fatal("no run is queued")
	return nil
}
