package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"syncplane/pkg/testkit/freeport"
)

// TestSyncsAndRuns walks through the commands for syncs and runs.
func TestSyncsAndRuns(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir)
	env := []string{"DATA_DIR=" + dataDir, "SYNCPLANE_URL=" + s.address, "WORKSPACE=acme"}
	run := func(args ...string) string {
		t.Helper()
		var stderr bytes.Buffer
		cmd := newCall(t, env, args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil || stderr.Len() > 0 {
			t.Fatalf("%q: %v: %s%s", args, err, out, &stderr)
		}
		return string(out)
	}
	attribute := func(text, name string) string {
		t.Helper()
		var document struct {
			Attributes map[string]json.RawMessage `json:"attributes"`
		}
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return string(document.Attributes[name])
	}
	create := []string{"syncs", "create", "--source-id", "1", "--destination-id", "2", "--model-id", "3", "--stream-name", "contacts <&>", "--sync-interval", "30"}
	id := idOf(t, run(append(create, "--json", "--configuration", `{"n":9007199254740993,"d":1.10}`, "--idempotency-key", "k")...))
	if again := idOf(t, run(append(create, "--json", "--configuration", `{"n":9007199254740993,"d":1.10}`, "--idempotency-key", "k")...)); again != id {
		t.Errorf("got %s, want %s", again, id)
	}
	file := filepath.Join(t.TempDir(), "sync.json")
	if err := os.WriteFile(file, []byte(goodBody), 0o600); err != nil {
		t.Fatal(err)
	}
	other := strings.Fields(run("syncs", "create", "-f", file, "--cron-expression", "0 6 * * *"))[1]
	if got := run("syncs", "get", id, "--json"); !strings.Contains(got, "9007199254740993") || !strings.Contains(got, "1.10") || attribute(got, "stream_name") != `"contacts <&>"` {
		t.Errorf("got %s", got)
	}
	if got := run("syncs", "get", other); !strings.Contains(got, "schedule        0 6 * * *\n") || !strings.Contains(got, "cursor_field    -\n") {
		t.Errorf("got %s", got)
	}
	if got := run("syncs", "update", other, "--cron-expression", "", "--sync-interval", "45", "--json"); attribute(got, "sync_interval") != "45" || attribute(got, "cron_expression") != "" {
		t.Errorf("got %s", got)
	}
	if got := run("syncs", "pause", other); !strings.Contains(got, "disabled") {
		t.Errorf("got %s", got)
	}
	list := strings.Split(strings.TrimSpace(run("syncs", "list")), "\n")
	if len(list) != 3 || !strings.HasPrefix(list[0], "ID ") || !strings.HasPrefix(list[1], other+"  -     disabled  contacts ") || !strings.Contains(list[2], "every 30 minutes") {
		t.Errorf("got %q", list)
	}
	var listed []struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(run("syncs", "list", "--status", "disabled", "--json")), &listed); err != nil || len(listed) != 1 || listed[0].ID != other {
		t.Errorf("got %v, %+v", err, listed)
	}
	if got := run("syncs", "resume", other, "--json"); attribute(got, "status") != `"pending"` {
		t.Errorf("got %s", got)
	}

	triggered := run("runs", "trigger", id, "--json")
	runID := idOf(t, triggered)
	if attribute(triggered, "status") != `"queued"` {
		t.Errorf("got %s", triggered)
	}
	for _, args := range [][]string{{"runs", "list"}, {"runs", "list", id, "--limit", "1"}} {
		rows := strings.Split(strings.TrimSpace(run(args...)), "\n")
		if len(rows) != 2 || !strings.HasPrefix(rows[1], runID+"  queued") {
			t.Errorf("%v: got %q", args, rows)
		}
	}
	if got := run("runs", "show", runID); !strings.HasPrefix(got, "id                   "+runID+"\n") || !strings.Contains(got, "trigger              api\n") {
		t.Errorf("got %s", got)
	}
	if got := run("runs", "cancel", runID, "--json"); attribute(got, "status") != `"canceled"` {
		t.Errorf("got %s", got)
	}
	if got := run("runs", "trigger", id, "--test", "--json"); attribute(got, "sync_run_type") != `"test"` {
		t.Errorf("got %s", got)
	}
	if got := run("syncs", "delete", other); got != "" {
		t.Errorf("got %s", got)
	}

	missing := "01900000-0000-7000-8000-000000000000"
	for want, args := range map[string][]string{
		"there is no sync with this id (not_found)":                                                      {"syncs", "get", other},
		"source_id must be an integer from 1 to 9007199254740991, got 0 (out_of_range, /sync/source_id)": append(create, "--source-id", "0"),
		"sync must name at least one field to change (empty_change, /sync)":                              {"syncs", "update", id},
		"there is no sync with this id (not_found) ":                                                     {"runs", "trigger", missing},
		"Idempotency-Key must be given once":                                                             append(create, "--idempotency-key", "a,b"),
		"the sync is no longer in a version that the request requires; read it again (version_mismatch)": {"syncs", "update", id, "--sync-interval", "5", "--if-match", `"99"`},
	} {
		var stderr bytes.Buffer
		cmd := newCall(t, env, args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if exitCode(err) != 1 || len(out) > 0 || !strings.HasPrefix(stderr.String(), "syncplane: "+strings.TrimSpace(want)) {
			t.Errorf("%q: got %v, %s%s, want %s", args, err, out, &stderr, want)
		}
	}
	for _, test := range []struct{ want, args string }{
		{"syncs get takes one argument, the ID or the name of the sync, as syncs list prints them; see syncplane syncs get --help", "syncs get"},
		{`--source-id must be an integer, got "a"; see syncplane syncs create --help`, "syncs create --source-id a"},
		{`--configuration must be a JSON object, got "{"; see syncplane syncs create --help`, "syncs create --configuration {"},
		{`--status must be pending, healthy, failed or disabled, got "done"; see syncplane syncs list --help`, "syncs list --status done"},
		{`unknown command "syncs show"; see syncplane syncs --help`, "syncs show x"},
		{"the ID of a run must be that of its sync, a slash and a time such as 2026-11-24T06:00:00Z, as runs list prints it, got \"" + missing + `"`, "runs show " + missing},
		{`--limit must be a positive integer, got "0"; see syncplane runs list --help`, "runs list --limit 0"},
		{"runs list takes at most one argument, the ID or the name of a sync; see syncplane runs list --help", "runs list a b"},
		{dataDir + " must hold a JSON object with the fields of a sync, none of them twice", "syncs create -f -"},
	} {
		want := strings.Replace(test.want, dataDir+" must", "- must", 1)
		checkCallFails(t, 2, want, env, strings.Fields(test.args)...)
	}
	twice := newCall(t, env, "syncs", "create", "-f", "-")
	twice.Stdin = strings.NewReader(`{"source_id":1,"source_id":2}`)
	if out, err := twice.CombinedOutput(); string(out) != "syncplane: - must hold a JSON object with the fields of a sync, none of them twice\n" {
		t.Errorf("got %v, %s", err, out)
	}
	s.stop(t, os.Interrupt)
}

// TestWrongServer checks that a request that cannot succeed is not repeated, as one whose
// connection was lost is, and that the message says what is wrong.
func TestWrongServer(t *testing.T) {
	t.Parallel()
	connections := func(server *httptest.Server) *atomic.Int64 {
		var n atomic.Int64
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				n.Add(1)
			}
		}
		t.Cleanup(server.Close)
		return &n
	}
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	seen := connections(untrusted)
	untrusted.StartTLS()
	plain := httptest.NewUnstartedServer(http.NotFoundHandler())
	seenPlain := connections(plain)
	plain.Start()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	withPassword := func(address string) string { return strings.Replace(address, "//", "//me:s3cret@", 1) }
	out, err := command(t, []string{"SYNCPLANE_URL=https://me:s3cret@example.com"}, "syncs", "list").CombinedOutput()
	if want := "syncplane: SYNCPLANE_TOKEN or SYNCPLANE_API_KEY must be set for https://me:xxxxx@example.com\n"; string(out) != want {
		t.Errorf("got %v, %s, want %s", err, out, want)
	}
	for _, test := range []struct {
		address, want string
		connections   *atomic.Int64
	}{
		{withPassword(closed.URL), "no server listens at " + strings.Replace(closed.URL, "//", "//me:xxxxx@", 1), nil},
		{untrusted.URL, "certificate signed by unknown authority", seen},
		{strings.Replace(plain.URL, "http:", "https:", 1), "server gave HTTP response to HTTPS client", seenPlain},
		{closed.URL, "no server listens at " + closed.URL + "; start one with syncplane serve, or set SYNCPLANE_URL\n", nil},
	} {
		for i, args := range [][]string{{"syncs", "list"}, {"events", "tail"}} {
			out, err := command(t, []string{"SYNCPLANE_TOKEN=x", "SYNCPLANE_URL=" + test.address}, args...).CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), test.want) {
				t.Errorf("%v: got %v, %s, want %s", args, err, out, test.want)
			}
			if strings.Contains(string(out), "s3cret") {
				t.Errorf("%v: it prints the password: %s", args, out)
			}
			if test.connections != nil && test.connections.Load() != int64(i+1) {
				t.Errorf("%v: it connected %d times", args, test.connections.Load()-int64(i))
			}
		}
	}
}

// TestEventsTail prints events over a restart of the server, each once.
func TestEventsTail(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	env := []string{"DATA_DIR=" + dataDir, "PORT=" + freeport.New(t)}
	s := start(t, command(t, env, "serve"))
	bearer := token(t, dataDir)
	_, first := s.create(t, bearer)
	tail := command(t, []string{"DATA_DIR=" + dataDir, "SYNCPLANE_URL=" + s.address}, "events", "tail", "--after", "0")
	var stderr bytes.Buffer
	tail.Stderr = &stderr
	stdout, err := tail.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	next := func(answer string) {
		t.Helper()
		if !lines.Scan() {
			t.Fatalf("it ended: %s", &stderr)
		}
		fields := strings.Fields(lines.Text())
		if len(fields) != 4 || fields[2] != "sync.created.v1" || fields[3] != idOf(t, answer) {
			t.Errorf("got %q", lines.Text())
		}
	}
	next(first)
	s.stop(t, os.Interrupt)
	s = start(t, command(t, env, "serve"))
	_, second := s.create(t, bearer)
	next(second)
	if err := tail.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := tail.Wait(); err != nil {
		t.Errorf("%v: %s", err, &stderr)
	}
	out, err := command(t, []string{"DATA_DIR=" + dataDir, "SYNCPLANE_URL=" + s.address}, "events", "tail", "--after", "99").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "(unknown_event_id, Last-Event-ID)") {
		t.Errorf("got %v: %s", err, out)
	}
	s.stop(t, os.Interrupt)
}
