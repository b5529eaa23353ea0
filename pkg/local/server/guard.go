package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"syncplane/pkg/fault"
)

// Limits bounds the resources that clients can use. A zero duration is no limit.
type Limits struct {
	Header time.Duration // for the request line and the headers to arrive
	Body   time.Duration // for the whole body to arrive, from the first read
	Drain  time.Duration // for the rest of a body after the response has started
	Write  time.Duration // from the headers of a request to the end of its response
	Idle   time.Duration // between two requests of a connection

	// Bodies is how many bytes of request bodies are held in memory at the same
	// time. The first 8 KiB of each body do not count.
	Bodies int64

	// Connections is how many connections are open at the same time. If there
	// are more, the one that has been idle the longest is closed.
	Connections int
}

// DefaultLimits returns the limits of the local server. Our own choices; the 30 s for
// a request are also the timeout of API Gateway.
func DefaultLimits() Limits {
	return Limits{
		Header: 10 * time.Second, Body: 10 * time.Second, Drain: time.Second, Write: 30 * time.Second, Idle: time.Minute,
		Bodies: 32 << 20, Connections: 2048,
	}
}

// maxHeader is the largest size of request line and headers, in bytes: API
// Gateway's.
const maxHeader = 10 << 10

// readSlop is what net/http reads beyond MaxHeaderBytes, in bytes.
const readSlop = 4 << 10

// freeBody is the part of each body that does not count towards Limits.Bodies, in
// bytes. Our own choice: a usual create is smaller, so it is never refused.
const freeBody = 8 << 10

// maxRead is how much of a body is read at once, in bytes. Our own choice.
const maxRead = 4 << 10

// NewServer returns a server for handler that enforces limits. now is the time source
// of its deadlines.
//
// A handler of a longer response, such as a stream, sets its own write deadlines. The
// run time of a handler is not limited.
func NewServer(handler http.Handler, limits Limits, now func() time.Time) *http.Server {
	open := connections{limit: limits.Connections, open: map[net.Conn]*connection{}}
	return &http.Server{
		Handler:           &guard{next: handler, limits: limits, now: now},
		ReadHeaderTimeout: limits.Header,
		WriteTimeout:      limits.Write,
		IdleTimeout:       limits.Idle,
		MaxHeaderBytes:    maxHeader - readSlop,
		ConnState:         open.change,
	}
}

// guard limits the bodies of requests.
type guard struct {
	next   http.Handler
	limits Limits
	now    func() time.Time
	held   atomic.Int64 // bytes of all bodies, beyond freeBody of each
}

// ServeHTTP passes the request on.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength == 0 {
		g.next.ServeHTTP(w, r)
		return
	}
	b := &body{ReadCloser: r.Body, guard: g, control: http.NewResponseController(w)}
	defer b.release()
	bounded := r.WithContext(r.Context()) // net/http keeps using the body of r
	bounded.Body = b
	g.next.ServeHTTP(&guarded{ResponseWriter: w, body: b}, bounded)
}

// body is a request body with a deadline whose bytes are counted.
type body struct {
	io.ReadCloser
	guard   *guard
	control *http.ResponseController
	started bool
	ended   bool  // all of it was read
	read    int64 // bytes
	held    int64 // bytes that count
}

// Read reads from the body. It returns a fault.Error for the client if the body is too
// slow or if too many bytes of all bodies are held.
func (b *body) Read(p []byte) (int, error) {
	if !b.started {
		b.started = true
		b.deadline(b.guard.limits.Body)
	}
	// net/http fills p before it returns, so a long p would not be counted until
	// then.
	n, err := b.ReadCloser.Read(p[:min(len(p), maxRead)])
	b.read += int64(n)
	if more := b.read - freeBody - b.held; more > 0 {
		b.held += more
		if b.guard.held.Add(more) > b.guard.limits.Bodies {
			return 0, &fault.Error{
				Kind: fault.Unavailable, Code: "server_busy", Message: "the server is processing too many request bodies; please try again",
			}
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		b.ended = true
		b.deadline(0)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &fault.Error{
			Kind: fault.Malformed, Code: "body_unreadable", Err: err,
			Message: fmt.Sprintf("the body must arrive within %v", b.guard.limits.Body),
		}
	}
	return n, err
}

// deadline sets the read deadline of the connection to d from now; 0 is no deadline.
func (b *body) deadline(d time.Duration) {
	var at time.Time
	if d > 0 {
		at = b.guard.now().Add(d)
	}
	_ = b.control.SetReadDeadline(at) // net/http's own connections have deadlines
}

func (b *body) release() { b.guard.held.Add(-b.held) }

// guarded is the response to a request with a body. If it starts before the body was
// read completely, the connection is closed after it, since the rest of the body must
// not be parsed as another request.
type guarded struct {
	http.ResponseWriter
	body    *body
	started bool
}

// WriteHeader starts the response.
func (w *guarded) WriteHeader(status int) {
	if !w.started && status >= http.StatusOK {
		w.started = true
		if !w.body.ended {
			w.Header().Set("Connection", "close")
			_ = w.body.control.EnableFullDuplex()
			w.body.deadline(w.body.guard.limits.Drain)
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write writes a part of the response.
func (w *guarded) Write(p []byte) (int, error) {
	if !w.started {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *guarded) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// connections are the open connections of a server.
type connections struct {
	limit int
	mu    sync.Mutex
	open  map[net.Conn]*connection
	turn  uint64 // incremented by each change of a state
}

type connection struct {
	waits bool   // for a request, also for the first one
	since uint64 // turn when it started to wait
}

// change is a hook for http.Server.ConnState.
func (c *connections) change(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn++
	switch state {
	case http.StateNew:
		c.open[conn] = &connection{waits: true, since: c.turn}
		if c.limit > 0 && len(c.open) > c.limit {
			c.evict()
		}
	case http.StateActive:
		if known := c.open[conn]; known != nil {
			known.waits = false
		}
	case http.StateIdle:
		if known := c.open[conn]; known != nil {
			*known = connection{waits: true, since: c.turn}
		}
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	}
}

// evict closes the connection that has waited the longest, which is the new one if all
// others have a request in progress.
func (c *connections) evict() {
	var oldest net.Conn
	since := c.turn + 1
	for conn, known := range c.open {
		if known.waits && known.since < since {
			oldest, since = conn, known.since
		}
	}
	delete(c.open, oldest)
	_ = oldest.Close() // its read returns an error
}
