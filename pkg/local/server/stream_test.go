package server_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api/apitest"
	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/fault"
	"syncplane/pkg/local/server"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// harness is a stream over a store on the disk.
type harness struct {
	*httptest.Server
	store *bolt.Store
	done  chan struct{}
	log   *lines
	once  sync.Once
}

func newHarness(t *testing.T, edits ...func(s *server.Stream)) *harness {
	t.Helper()
	return newHarnessOver(t, filepath.Join(t.TempDir(), "syncs.db"), edits...)
}

// newHarnessOver is newHarness for a store that may exist.
func newHarnessOver(t *testing.T, path string, edits ...func(s *server.Stream)) *harness {
	t.Helper()
	store, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	g := &harness{store: store, done: make(chan struct{}), log: &lines{grew: make(chan struct{}, 1)}}
	log := app.Logger(g.log, "")
	handler := httpfunc.Handler(httpfunc.Deps{Store: store, Caller: caller, Log: log})
	stream := server.Stream{
		Store: store, Origin: "http://127.0.0.1:8080", Caller: caller, Fail: handler.Fail, Done: g.done,
		Now: time.Now, Log: log, Heartbeat: 10 * time.Millisecond,
	}
	for _, edit := range edits {
		edit(&stream)
	}
	g.Server = httptest.NewUnstartedServer(stream)
	g.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if err := conn.(*net.TCPConn).SetWriteBuffer(1 << 16); err != nil { // so that few events fill it
			t.Error(err)
		}
		return ctx
	}
	g.Start()
	t.Cleanup(func() {
		g.Close()
		g.close(t)
	})
	return g
}

// close closes the store, once.
func (g *harness) close(t *testing.T) {
	t.Helper()
	g.once.Do(func() {
		if err := g.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

// caller reads "Bearer <workspace> <scope> …".
func caller(_ context.Context, authorization string) (auth.Caller, error) {
	words := strings.Fields(authorization)
	if len(words) < 2 {
		return auth.Caller{}, &fault.Error{Kind: fault.Unauthenticated, Code: "token_missing", Message: "a bearer token is required"}
	}
	return auth.Caller{Workspace: words[1], Scopes: words[2:]}, nil
}

func (g *harness) create(t *testing.T, workspace string) syncs.Sync {
	t.Helper()
	s := storagetest.NewSync(t)
	s.Workspace = workspace
	if err := g.store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// listener reads a stream.
type listener struct {
	*bufio.Scanner
	body   io.Reader
	status int
	header http.Header
	cancel context.CancelFunc
}

// listen opens a stream and reads its first line.
func (g *harness) listen(t *testing.T, authorization, last string) *listener {
	t.Helper()
	l := g.open(t, authorization, last)
	if l.status == http.StatusOK && l.line(t) != ": the events of this workspace" {
		t.Errorf("the stream begins with %q", l.Text())
	}
	return l
}

// open opens a stream.
func (g *harness) open(t *testing.T, authorization, last string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+server.StreamPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	response, err := g.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
	})
	withoutBody := r.Clone(ctx)
	withoutBody.Method = http.MethodHead
	apitest.Check(t, withoutBody, response.StatusCode, response.Header, nil)
	return &listener{bufio.NewScanner(response.Body), response.Body, response.StatusCode, response.Header, cancel}
}

// line returns the next line that is not empty.
func (l *listener) line(t *testing.T) string {
	t.Helper()
	for l.Scan() {
		if l.Text() != "" {
			return l.Text()
		}
	}
	t.Fatalf("the stream ended: %v", l.Err())
	return ""
}

// next returns the number, the name and the data of the next event.
func (l *listener) next(t *testing.T) (id, name string, seen eventtest.Event) {
	t.Helper()
	for {
		kind, value, _ := strings.Cut(l.line(t), ": ")
		switch kind {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			return id, name, eventtest.Check(t, []byte(value))
		}
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	g.create(t, "acme") // before the stream is opened
	l := g.listen(t, "Bearer acme syncs:read", "")
	if got := l.header.Get("Content-Type"); got != "text/event-stream" || l.header.Get("X-Request-Id") == "" || l.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v", l.header)
	}
	g.create(t, "other")
	s := g.create(t, "acme")
	id, name, seen := l.next(t)
	if diff := cmp.Diff([]string{"3", "sync.created", s.ID, "acme"}, []string{id, name, seen.Subject, seen.Workspace}); diff != "" {
		t.Error(diff)
	}
	for l.line(t) != ": still here" { // it lives without events
		continue
	}
	if err := g.store.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if id, name, _ = l.next(t); id != "4" || name != "sync.deleted" {
		t.Errorf("got %s %s", id, name)
	}
}

// TestResume checks that a client resumes after its last event, with no gap and nothing
// twice, however much there is.
func TestResume(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	want, events := make([]string, 0, 330), make([]event.Event, 0, 396)
	created := func(workspace string) string {
		s := storagetest.NewSync(t)
		s.Workspace = workspace
		events = append(events, event.OfChange(nil, &s))
		return s.ID
	}
	for i := range 330 {
		if i%5 == 0 {
			created("other")
		}
		want = append(want, created("acme"))
	}
	if err := g.store.Publish(t.Context(), events, "test", 0); err != nil {
		t.Fatal(err)
	}
	got, last := make([]string, 0, len(want)), "0"
	for len(got) < len(want) {
		l := g.listen(t, "Bearer acme syncs:read", last)
		for range min(220, len(want)-len(got)) { // more than are read at once
			id, _, seen := l.next(t)
			got, last = append(got, seen.Subject), id
		}
		l.cancel()
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	for range 3 {
		g.create(t, "acme")
	}
	for _, test := range []struct {
		authorization, last string
		status              int
		code                string
	}{
		{"", "", 401, "token_missing"},
		{"Bearer acme syncs:write", "", 403, "insufficient_scope"},
		{"Bearer acme syncs:read", "abc", 400, "invalid_header"},
		{"Bearer acme syncs:read", "-1", 400, "invalid_header"},
		{"Bearer acme syncs:read", "99999999999999999999", 400, "invalid_header"},
		{"Bearer acme syncs:read", "02", 400, "invalid_header"},
		{"Bearer acme syncs:read", "+2", 400, "invalid_header"},
		{"Bearer acme syncs:read", "2.0", 400, "invalid_header"},
		{"Bearer acme syncs:read", "2,3", 400, "invalid_header"},
		{"Bearer acme syncs:read", "3", 200, ""},
		{"Bearer acme syncs:read", "4", 400, "unknown_event_id"},
		{"Bearer acme syncs:read", "5000", 400, "unknown_event_id"},
		{"Bearer acme syncs:read", "9223372036854775807", 400, "unknown_event_id"},
	} {
		l := g.listen(t, test.authorization, test.last)
		if test.status == http.StatusOK && l.status == http.StatusOK {
			l.cancel()
			continue
		}
		if l.status != test.status || !strings.Contains(l.line(t), `"code":"`+test.code+`"`) || l.header.Get("Content-Type") != "application/json" {
			t.Errorf("%+v: got %d %v %s", test, l.status, l.header, l.Text())
		}
	}
}

// TestOtherMethods checks that HEAD ends and that other methods are refused.
func TestOtherMethods(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	for method, status := range map[string]int{http.MethodHead: 200, http.MethodPost: 405, http.MethodDelete: 405, http.MethodOptions: 204} {
		r, err := http.NewRequestWithContext(t.Context(), method, g.URL+server.StreamPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer acme syncs:read")
		response, err := g.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Error(err)
		}
		_ = response.Body.Close()
		apitest.Check(t, r, response.StatusCode, response.Header, body)
		if response.StatusCode != status || status == 405 && response.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: got %d %v", method, response.StatusCode, response.Header)
		}
	}
}

// TestStreamEnds checks that a server which stops ends its streams.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	l := g.listen(t, "Bearer acme syncs:read", "")
	close(g.done)
	for l.Scan() { // to the end
		continue
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
}
