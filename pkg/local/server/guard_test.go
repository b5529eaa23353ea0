package server_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"syncplane/pkg/api/apitest"
	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/local/server"
	"syncplane/pkg/testkit/bolttest"
)

// timeout is how long a test waits for an event that must happen promptly.
const timeout = 20 * time.Second

// brief is a limit that a test exceeds.
const brief = 100 * time.Millisecond

const goodBody = `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}}`

const (
	writer = "Authorization: Bearer acme syncs:write syncs:read\r\n"
	inJSON = "Content-Type: application/json\r\n"
	create = "POST /api/v1/syncs HTTP/1.1\r\nHost: localhost\r\n"
)

// lines is a log that is written and read at the same time.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	grew chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() {
		select {
		case l.grew <- struct{}{}:
		default:
		}
	}()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wait returns when the log holds text.
func (l *lines) wait(t *testing.T, text string) {
	t.Helper()
	late := time.After(timeout)
	for !strings.Contains(l.String(), text) {
		select {
		case <-l.grew:
		case <-late:
			t.Fatalf("the log does not hold %s:\n%s", text, l)
		}
	}
}

// guarded is the local server, with limits of a test.
type guarded struct {
	address string
	log     *lines
	server  *http.Server
	closed  chan struct{} // has an entry for each connection that was closed
	idle    chan struct{} // has an entry for each time that a connection became idle
}

// ample returns limits that no test reaches.
func ample() server.Limits {
	return server.Limits{
		Header: time.Minute, Body: time.Minute, Drain: brief, Write: time.Minute, Idle: time.Minute, Bodies: 32 << 20, Connections: 1000,
	}
}

func newGuarded(t *testing.T, limits server.Limits) *guarded {
	t.Helper()
	store := bolttest.Open(t)
	g := &guarded{log: &lines{grew: make(chan struct{}, 1)}, closed: make(chan struct{}, 2000), idle: make(chan struct{}, 2000)}
	handler := httpfunc.API(httpfunc.Deps{Store: store, Caller: caller, Log: app.Logger(g.log, "")})
	apiGateway := server.Gateway{Function: httpfunc.Function(handler, apigateway.Mapping{}), ReadBody: handler.ReadBody, Now: time.Now}
	g.server = server.NewServer(server.Routes(apiGateway, []byte("{}"), nil), limits, time.Now)
	change := g.server.ConnState
	g.server.ConnState = func(conn net.Conn, state http.ConnState) {
		change(conn, state)
		if state == http.StateClosed {
			g.closed <- struct{}{}
		}
		if state == http.StateIdle {
			g.idle <- struct{}{}
		}
	}
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = listener.Addr().String()
	ended := make(chan error, 1)
	go func() { ended <- g.server.Serve(listener) }()
	t.Cleanup(func() {
		if err := g.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return g
}

// client is a connection, read and written as bytes.
type client struct {
	*net.TCPConn
	in *bufio.Reader
}

func (g *guarded) dial(t *testing.T) *client {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		t.Fatal(err)
	}
	return &client{conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// send sends text. It ignores a closed connection: answer reports that.
func (c *client) send(text string) { _, _ = io.WriteString(c, text) }

// answer reads a response, and holds an error against the OpenAPI document.
func (c *client) answer(t *testing.T, method, path string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(c.in, r)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode >= http.StatusBadRequest && response.Header.Get("X-Request-Id") == "" {
		t.Errorf("%d without a request id: %v", response.StatusCode, response.Header)
	}
	return response, string(body)
}

// closed fails the test unless the server closes the connection.
func (c *client) closed(t *testing.T) {
	t.Helper()
	if rest, err := io.ReadAll(c.in); errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 {
		t.Errorf("the connection is open, or more came: %v, %.300s", err, rest)
	}
}

// TestRefusedWithoutItsBody sends the headers of a large body and a part of it,
// and is refused for all that can be decided without the rest.
func TestRefusedWithoutItsBody(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, ample())
	const large = 9_900_000
	for name, test := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"no route":                  {"POST /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\n", 404, "not_found"},
		"no method":                 {"DELETE /api/v1/syncs HTTP/1.1\r\nHost: localhost\r\n", 405, "method_not_allowed"},
		"no token":                  {create + inJSON, 401, "token_missing"},
		"no token and no type":      {create, 401, "token_missing"},
		"no scope":                  {create + "Authorization: Bearer acme syncs:read\r\n", 403, "insufficient_scope"},
		"no type":                   {create + writer, 415, "unsupported_media_type"},
		"another type":              {create + writer + "Content-Type: text/plain\r\n", 415, "unsupported_media_type"},
		"too large":                 {create + writer + inJSON, 413, "body_too_large"},
		"a change that is too long": {"PATCH /api/v1/syncs/019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e HTTP/1.1\r\nHost: localhost\r\n" + writer + inJSON, 413, "body_too_large"},
	} {
		for form, framing := range map[string]string{
			"plain":    fmt.Sprintf("Content-Length: %d\r\n\r\n%s", large, strings.Repeat("x", 1000)),
			"expected": fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", large),
			"chunked":  "Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + strings.Repeat("x", 1000) + "\r\n",
			"small":    "Content-Length: 2000\r\n\r\n" + strings.Repeat("x", 1000),
		} {
			if test.status == http.StatusRequestEntityTooLarge && (form == "chunked" || form == "small") {
				continue
			}
			t.Run(name+", "+form, func(t *testing.T) {
				t.Parallel()
				c := g.dial(t)
				c.send(test.request + framing)
				method, rest, _ := strings.Cut(test.request, " ")
				path, _, _ := strings.Cut(rest, " ")
				response, body := c.answer(t, method, path)
				if response.StatusCode != test.status || !strings.Contains(body, `"code":"`+test.code+`"`) {
					t.Errorf("got %d %s", response.StatusCode, body)
				}
				if !response.Close {
					t.Errorf("what is left of the body could be taken for a request: %v", response.Header)
				}
				if test.status != http.StatusNotFound && test.status != http.StatusMethodNotAllowed {
					apitest.Check(t, response.Request, response.StatusCode, response.Header, []byte(body))
				}
				c.closed(t)
			})
		}
	}
}

// TestBrokenBodies sends bodies that end early or have malformed chunks: each
// is a 400 that is logged.
func TestBrokenBodies(t *testing.T) {
	t.Parallel()
	const chunked = create + writer + inJSON + "Transfer-Encoding: chunked\r\n\r\n"
	for name, request := range map[string]string{
		"shorter than its length":  create + writer + inJSON + "Content-Length: 500\r\n\r\n" + goodBody,
		"nothing of it":            create + writer + inJSON + "Content-Length: 500\r\n\r\n",
		"no chunk size":            chunked + "zz\r\n" + goodBody,
		"a negative size":          chunked + "-1\r\n" + goodBody,
		"a size of many digits":    chunked + "fffffffffffffffff\r\n" + goodBody,
		"a chunk that ends early":  chunked + "fff\r\n" + goodBody,
		"no last chunk":            chunked + fmt.Sprintf("%x\r\n%s\r\n", len(goodBody), goodBody),
		"no line break after one":  chunked + fmt.Sprintf("%x\r\n%s0\r\n\r\n", len(goodBody)-1, goodBody),
		"a trailer without an end": chunked + fmt.Sprintf("%x\r\n%s\r\n0\r\nX: y\r\n", len(goodBody), goodBody),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t, ample())
			c := g.dial(t)
			c.send(request)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			response, body := c.answer(t, http.MethodPost, "/api/v1/syncs")
			if response.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"code":"body_unreadable"`) {
				t.Errorf("got %d %s", response.StatusCode, body)
			}
			apitest.Check(t, response.Request, response.StatusCode, response.Header, []byte(body))
			c.closed(t)
			var logged struct {
				RequestID string `json:"request_id"`
				Path      string `json:"path"`
				Status    int    `json:"status"`
				Code      string `json:"code"`
				Workspace string `json:"workspace"`
			}
			if err := json.Unmarshal([]byte(g.log.String()), &logged); err != nil {
				t.Fatalf("one line is logged: %v: %s", err, g.log)
			}
			if logged.RequestID != response.Header.Get("X-Request-Id") || logged.Path != "/api/v1/syncs" || logged.Status != 400 || logged.Code != "body_unreadable" || logged.Workspace != "acme" {
				t.Errorf("got %s", g.log)
			}
		})
	}
}

// TestGoneClient sends a part of a body and resets the connection: no
// answer can be sent, and one line is logged.
func TestGoneClient(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, ample())
	c := g.dial(t)
	c.send(create + writer + inJSON + "Content-Length: 500\r\nExpect: 100-continue\r\n\r\n")
	if _, err := c.in.ReadString('\n'); err != nil { // 100: the body is being read
		t.Fatal(err)
	}
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		t.Fatal(err)
	}
	g.log.wait(t, `"code":"body_unreadable"`)
}

// TestTooLongChunks sends chunks on both sides of the limit.
func TestTooLongChunks(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, ample())
	for excess, want := range map[int]int{0: http.StatusBadRequest, 1: http.StatusRequestEntityTooLarge, 100_000: http.StatusRequestEntityTooLarge} {
		c := g.dial(t)
		size := 256<<10 + excess
		c.send(create + writer + inJSON + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", size, strings.Repeat("x", size)))
		if excess == 0 {
			c.send("0\r\n\r\n")
		}
		if response, body := c.answer(t, http.MethodPost, "/api/v1/syncs"); response.StatusCode != want {
			t.Errorf("%d too many: got %d %s", excess, response.StatusCode, body)
		}
	}
}

// TestSlowClients sends byte by byte, or nothing, until the server hangs up.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const unfinished = "Content-Length: 5000\r\n\r\n"
	for name, test := range map[string]struct {
		limit  func(l *server.Limits)
		begin  string
		drip   string
		status int // of the answer, 0 for none
	}{
		"nothing at all":         {limit: func(l *server.Limits) { l.Header = brief }},
		"headers that stop":      {limit: func(l *server.Limits) { l.Header = brief }, begin: create},
		"headers that drip":      {limit: func(l *server.Limits) { l.Header = brief }, begin: create + "X: ", drip: "x"},
		"a body that stops":      {limit: func(l *server.Limits) { l.Body = brief }, begin: create + writer + inJSON + unfinished, status: 400},
		"a body that drips":      {limit: func(l *server.Limits) { l.Body = brief }, begin: create + writer + inJSON + unfinished, drip: "x", status: 400},
		"chunks that drip":       {limit: func(l *server.Limits) { l.Body = brief }, begin: create + writer + inJSON + "Transfer-Encoding: chunked\r\n\r\n", drip: "1\r\nx\r\n", status: 400},
		"an unread body":         {limit: func(*server.Limits) {}, begin: create + inJSON + unfinished, drip: "x", status: 401},
		"a body of a GET":        {limit: func(*server.Limits) {}, begin: "GET /api/v1/syncs HTTP/1.1\r\nHost: localhost\r\n" + writer + unfinished, drip: "x", status: 200},
		"a body of another page": {limit: func(*server.Limits) {}, begin: "GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n" + unfinished, drip: "x", status: 200},
		"no second request":      {limit: func(l *server.Limits) { l.Idle = brief }, begin: "GET /api/v1/syncs HTTP/1.1\r\nHost: localhost\r\n" + writer + "\r\n", status: 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := ample()
			test.limit(&limits)
			g := newGuarded(t, limits)
			c := g.dial(t)
			c.send(test.begin)
			end := time.Now().Add(timeout)
			var got []byte
			for err := error(os.ErrDeadlineExceeded); errors.Is(err, os.ErrDeadlineExceeded); {
				if time.Now().After(end) {
					t.Fatalf("the connection is still open; it got %s", got)
				}
				if err := c.SetReadDeadline(time.Now().Add(brief / 20)); err != nil {
					t.Fatal(err)
				}
				var more []byte
				more, err = io.ReadAll(c.in)
				got = append(got, more...)
				c.send(test.drip)
			}
			status := 0
			_, _ = fmt.Sscanf(string(got), "HTTP/1.1 %d", &status)
			if status != test.status {
				t.Errorf("got %s", got)
			}
			if status == http.StatusBadRequest && !strings.Contains(string(got), `"detail":"the body must arrive within 100ms"`) {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestUnreadAnswers reads no response until the server hangs up.
func TestUnreadAnswers(t *testing.T) {
	t.Parallel()
	limits := ample()
	limits.Write = brief
	g := newGuarded(t, limits)
	c := g.dial(t)
	if err := c.SetReadBuffer(1 << 16); err != nil { // so that fewer answers fill it
		t.Fatal(err)
	}
	const requests = 1000 // of 100 KB each
	c.send(strings.Repeat("GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n", requests))
	select {
	case <-g.closed:
	case <-time.After(timeout):
		t.Error("the connection is open")
	}
}

// TestKeptAlive sends requests one after the other and all at once.
func TestKeptAlive(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, ample())
	c := g.dial(t)
	good := create + writer + inJSON + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(goodBody), goodBody)
	list := "GET /api/v1/syncs HTTP/1.1\r\nHost: localhost\r\n" + writer + "\r\n"
	for range 3 {
		c.send(good)
		if response, body := c.answer(t, http.MethodPost, "/api/v1/syncs"); response.StatusCode != http.StatusOK {
			t.Fatalf("got %d %s", response.StatusCode, body)
		}
	}
	c.send(good + list + good + list)
	for range 2 {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			response, body := c.answer(t, method, "/api/v1/syncs")
			if response.StatusCode != http.StatusOK || strings.Contains(body, `{"data":[`) != (method == http.MethodGet) {
				t.Errorf("%s: got %d %s", method, response.StatusCode, body)
			}
		}
	}
}

// TestBodyIsNoRequest checks that a body that looks like a request is not read as one.
func TestBodyIsNoRequest(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, ample())
	const hidden = "GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for _, begin := range []string{create, "GET /api/v1/syncs HTTP/1.1\r\nHost: localhost\r\n" + writer, "GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n"} {
		for _, framing := range []string{
			fmt.Sprintf("Content-Length: %d\r\n\r\n", len(hidden)),
			fmt.Sprintf("Content-Length: %d\r\n\r\n", 2*len(hidden)),
			"Content-Length: 300000\r\n\r\n",
			"Transfer-Encoding: chunked\r\n\r\n",
		} {
			c := g.dial(t)
			c.send(begin + framing + hidden)
			if response, _ := c.answer(t, http.MethodGet, "/"); !response.Close {
				t.Errorf("%s%s: got %v", begin, framing, response.Header)
			}
			c.closed(t)
		}
	}
}

// TestContinue waits for 100 before it sends the body.
func TestContinue(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, ample())
	c := g.dial(t)
	for range 2 {
		c.send(create + writer + inJSON + fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(goodBody)))
		if line, err := c.in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		if line, err := c.in.ReadString('\n'); err != nil || line != "\r\n" {
			t.Fatalf("got %q, %v", line, err)
		}
		c.send(goodBody)
		if response, body := c.answer(t, http.MethodPost, "/api/v1/syncs"); response.StatusCode != http.StatusOK || response.Close {
			t.Fatalf("got %d %s", response.StatusCode, body)
		}
	}
}

// TestLongHeaders checks both sides of the bound of API Gateway.
func TestLongHeaders(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, ample())
	for size, want := range map[int]int{10_240: http.StatusOK, 10_241: http.StatusRequestHeaderFieldsTooLarge} {
		c := g.dial(t)
		const begin = "GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\nX: "
		c.send(begin + strings.Repeat("x", size-len(begin)-len("\r\n\r\n")) + "\r\n\r\n")
		response, err := http.ReadResponse(c.in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%d bytes: got %d, want %d", size, response.StatusCode, want)
		}
	}
}

// TestConnections opens more connections than the limit: idle ones are closed, those
// with a request in progress are not.
func TestConnections(t *testing.T) {
	t.Parallel()
	limits := ample()
	limits.Connections = 3
	g := newGuarded(t, limits)
	const list = "GET /api/v1/syncs HTTP/1.1\r\nHost: localhost\r\n" + writer + "\r\n"
	served := func(c *client) {
		t.Helper()
		c.send(list)
		if response, body := c.answer(t, http.MethodGet, "/api/v1/syncs"); response.StatusCode != http.StatusOK {
			t.Errorf("got %d %s", response.StatusCode, body)
		}
		select { // the response arrives before the connection counts as idle
		case <-g.idle:
		case <-time.After(timeout):
			t.Fatal("the connection is not idle")
		}
	}
	reading := func() *client { // a body is under way
		t.Helper()
		c := g.dial(t)
		c.send(create + writer + inJSON + fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(goodBody)))
		for range 2 {
			if _, err := c.in.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	first := g.dial(t)
	served(first)
	busy := []*client{reading(), reading()}
	served(g.dial(t))
	first.closed(t)
	busy = append(busy, reading())
	g.dial(t).closed(t) // there is no room
	for _, c := range busy {
		c.send(goodBody)
		if response, body := c.answer(t, http.MethodPost, "/api/v1/syncs"); response.StatusCode != http.StatusOK {
			t.Errorf("got %d %s", response.StatusCode, body)
		}
	}
	served(g.dial(t))
}

// heap returns the memory in use, in bytes.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// TestMemory bounds the memory that many bodies in flight take.
func TestMemory(t *testing.T) { //nolint:paralleltest // it measures the heap of the process
	limits := ample()
	limits.Bodies = 4 << 20
	limits.Drain = time.Minute
	spaces := filepath.Join(t.TempDir(), "spaces")
	if err := os.WriteFile(spaces, bytes.Repeat([]byte(" "), 2_000_000), 0o600); err != nil {
		t.Fatal(err)
	}
	fill := func(t *testing.T, g *guarded, connections int, request string, sent int) (answers chan int) {
		t.Helper()
		answers = make(chan int, connections)
		for range connections {
			c := g.dial(t)
			c.send(request)
			go func() {
				file, err := os.Open(spaces)
				if err != nil {
					t.Error(err)
					return
				}
				defer file.Close()                                   //nolint:errcheck // it is read only
				_, _ = c.ReadFrom(io.LimitReader(file, int64(sent))) // by sendfile; an error if it was refused
			}()
			go func() {
				if response, err := http.ReadResponse(c.in, nil); err == nil {
					_ = response.Body.Close()
					answers <- response.StatusCode
				}
			}()
		}
		return answers
	}
	expect := func(t *testing.T, answers chan int, count, status int) {
		t.Helper()
		late := time.After(timeout)
		for i := range count {
			select {
			case got := <-answers:
				if got != status {
					t.Fatalf("got %d, want %d", got, status)
				}
			case <-late:
				t.Fatalf("there are too few answers: %d of %d", i, count)
			}
		}
	}
	for name, test := range map[string]struct {
		connections, answered, status int
		request                       string
		sent                          int
		bound                         int64 // of the heap, in bytes
	}{
		// 120 MB, of which no more than 8 may be held.
		"strangers":           {60, 60, 401, create + inJSON + "Content-Length: 2000000\r\n\r\n", 2_000_000, 8 << 20},
		"chunks of strangers": {60, 60, 401, create + inJSON + "Transfer-Encoding: chunked\r\n\r\n1e8480\r\n", 2_000_000, 8 << 20},
		"too long":            {60, 60, 413, create + writer + inJSON + "Content-Length: 2000000\r\n\r\n", 2_000_000, 8 << 20},
		// 242,000 bytes of each count, so that 17 are held and 183 are refused.
		"unfinished":        {200, 183, 503, create + writer + inJSON + "Content-Length: 250001\r\n\r\n", 250_000, 16 << 20},
		"unfinished chunks": {200, 183, 503, create + writer + inJSON + "Transfer-Encoding: chunked\r\n\r\n3d091\r\n", 250_000, 16 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuarded(t, limits)
			before := heap()
			answers := fill(t, g, test.connections, test.request, test.sent)
			expect(t, answers, test.answered, test.status)
			if grown := heap() - before; grown > test.bound {
				t.Errorf("%d bytes are held, at most %d may be", grown, test.bound)
			}
			// A usual create finds room all the same.
			c := g.dial(t)
			c.send(create + writer + inJSON + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(goodBody), goodBody))
			if response, body := c.answer(t, http.MethodPost, "/api/v1/syncs"); response.StatusCode != http.StatusOK {
				t.Errorf("got %d %s", response.StatusCode, body)
			}
		})
	}
}
