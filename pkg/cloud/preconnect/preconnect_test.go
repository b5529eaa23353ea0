package preconnect_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"syncplane/pkg/cloud/preconnect"
)

// service is a server that reports its connections and counts its requests.
type service struct {
	*httptest.Server
	opened   chan struct{}
	requests atomic.Int32
}

// accepts waits until the server has accepted a connection: a client may have
// connected before the server has.
func (s *service) accepts(t *testing.T) {
	t.Helper()
	select {
	case <-s.opened:
	case <-time.After(10 * time.Second):
		t.Fatal("the server accepted no connection")
	}
}

// acceptsNoMore checks that the requests so far opened no other connection.
func (s *service) acceptsNoMore(t *testing.T) {
	t.Helper()
	if n := len(s.opened); n > 0 {
		t.Errorf("the server accepted %d more connections", n)
	}
}

func newService(t *testing.T, secure bool) *service {
	t.Helper()
	if secure {
		return serve(t, &tls.Config{MinVersion: tls.VersionTLS12})
	}
	return serve(t, nil)
}

// serve starts a service with TLS, or without it if config is nil.
func serve(t *testing.T, config *tls.Config) *service {
	t.Helper()
	s := &service{opened: make(chan struct{}, 100)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if r.URL.Path == "/away" {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.opened <- struct{}{}
		}
	}
	if s.TLS = config; config != nil {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *service) client() *preconnect.Client {
	roots := x509.NewCertPool()
	if s.Certificate() != nil {
		roots.AddCert(s.Certificate())
	}
	return preconnect.New(preconnect.Config{MaxIdle: 4, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
}

func get(t *testing.T, c *preconnect.Client, address string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// TestConnect checks that the connection is open before there is a request,
// that a second Connect opens none while it is unused, and that requests use it.
func TestConnect(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		s := newService(t, secure)
		c := s.client()
		if err := c.Connect(t.Context(), parse(t, s.URL)); err != nil {
			t.Fatal(err)
		}
		s.accepts(t)
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if err := c.Connect(t.Context(), parse(t, s.URL)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for range 3 {
			get(t, c, s.URL)
		}
		s.acceptsNoMore(t)
		if requests := s.requests.Load(); requests != 3 {
			t.Errorf("TLS %v: %d requests, want 3", secure, requests)
		}
	}
}

// TestConcurrentConnects checks that concurrent calls open one connection, and that
// the next call after its use opens another.
func TestConcurrentConnects(t *testing.T) {
	t.Parallel()
	s := newService(t, true)
	c := s.client()
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			if err := c.Connect(t.Context(), parse(t, s.URL)); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	s.accepts(t)
	get(t, c, s.URL)
	s.acceptsNoMore(t)
	if err := c.Connect(t.Context(), parse(t, s.URL)); err != nil {
		t.Fatal(err)
	}
	s.accepts(t)
}

// TestConnectCanceled checks that a call that waits for another one returns when its
// context ends.
func TestConnectCanceled(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // never responds to the handshake
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	c := preconnect.New(preconnect.Config{})
	address := parse(t, "https://"+silent.Addr().String())
	ctx, cancel := context.WithCancel(t.Context())
	first := connecting(ctx, c, address)
	if _, err := silent.Accept(); err != nil { // the first call is dialing
		t.Fatal(err)
	}
	late, end := context.WithCancel(t.Context())
	end()
	if err := c.Connect(late, address); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// held returns a service whose TLS handshakes wait until release is called.
func held(t *testing.T) (s *service, handshakes <-chan struct{}, release func()) {
	t.Helper()
	started, released := make(chan struct{}, 100), make(chan struct{})
	s = serve(t, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		started <- struct{}{}
		<-released
		return nil, nil //nolint:nilnil // it stands for the configuration of the server
	}})
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release) // before the server is closed
	return s, started, release
}

// connecting calls Connect in another goroutine. The channel receives its error.
func connecting(ctx context.Context, c *preconnect.Client, address *url.URL) <-chan error {
	connected := make(chan error, 1)
	go func() { connected <- c.Connect(ctx, address) }()
	return connected
}

// TestRequestDuringConnect checks that a request uses the connection that Connect is
// opening, whichever of the two ends the wait.
func TestRequestDuringConnect(t *testing.T) {
	t.Parallel()
	s, handshakes, release := held(t)
	c := s.client()
	connected := connecting(t.Context(), c, parse(t, s.URL))
	<-handshakes
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) { release() }})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	s.accepts(t)
	s.acceptsNoMore(t)
}

// TestRequestDuringOldConnect checks that a request opens a connection of its own if
// Connect has taken too long, as after a time in which Lambda has frozen the process.
func TestRequestDuringOldConnect(t *testing.T) {
	t.Parallel()
	s, handshakes, release := held(t)
	c := s.client()
	connected := connecting(t.Context(), c, parse(t, s.URL))
	<-handshakes
	requested := make(chan struct{})
	go func() {
		defer close(requested)
		get(t, c, s.URL)
	}()
	<-handshakes // of the request, while that of Connect is not over
	release()
	<-requested
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	// The connection that came too late is closed, and not kept for a request.
	if err := c.Connect(t.Context(), parse(t, s.URL)); err != nil {
		t.Fatal(err)
	}
	<-handshakes
}

// TestRequestDuringFailingConnect checks that a request opens a connection of its own if
// Connect fails while it waits.
func TestRequestDuringFailingConnect(t *testing.T) {
	t.Parallel()
	s, handshakes, release := held(t)
	c := s.client()
	ctx, cancel := context.WithCancel(t.Context())
	connected := connecting(ctx, c, parse(t, s.URL))
	<-handshakes
	requested := make(chan error, 1)
	go func() {
		traced := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GetConn: func(string) { cancel() }})
		r, err := http.NewRequestWithContext(traced, http.MethodGet, s.URL, nil)
		if err == nil {
			var response *http.Response
			if response, err = c.Do(r); err == nil {
				err = response.Body.Close()
			}
		}
		requested <- err
	}()
	if err := <-connected; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	release()
	if err := <-requested; err != nil {
		t.Error(err)
	}
}

// TestRequestWithoutConnect checks that a client works without Connect, and does not
// use a connection to another address.
func TestRequestWithoutConnect(t *testing.T) {
	t.Parallel()
	s, other := newService(t, true), newService(t, true)
	c := s.client()
	get(t, c, s.URL)
	if err := c.Connect(t.Context(), parse(t, other.URL)); err != nil {
		t.Fatal(err)
	}
	c.CloseIdleConnections()
	if got := get(t, c, s.URL+"/away"); got != http.StatusFound {
		t.Errorf("got %d: a redirect was followed", got)
	}
	if opened := other.requests.Load(); opened != 0 {
		t.Errorf("%d requests went to the other address", opened)
	}
}

// closing is a body as that of an SDK's request: at its end, WriteTo returns io.EOF if
// the SDK has closed the body, which it does as soon as there is a response.
type closing struct {
	io.Reader
	closed chan struct{}
}

func (c closing) WriteTo(io.Writer) (int64, error) {
	<-c.closed
	return 0, io.EOF
}

func (c closing) Close() error { return nil }

// TestResponseBeforeTheEndOfTheBody checks that a connection is used again after a
// response that came before net/http had seen the end of the request's body.
func TestResponseBeforeTheEndOfTheBody(t *testing.T) {
	t.Parallel()
	s := newService(t, true)
	c := s.client()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 2 {
		const text = "{}"
		body := closing{strings.NewReader(text), make(chan struct{})}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = int64(len(text))
		response, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		close(body.closed)
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s.accepts(t)
	s.acceptsNoMore(t)
}

// TestShortBody checks that a body that is shorter than its length is not sent.
func TestShortBody(t *testing.T) {
	t.Parallel()
	s := newService(t, false)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, io.MultiReader(strings.NewReader("{")))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = 2
	response, err := s.client().Do(r)
	if err == nil {
		_ = response.Body.Close()
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) || s.requests.Load() != 0 {
		t.Errorf("got %v and %d requests, want %v", err, s.requests.Load(), io.ErrUnexpectedEOF)
	}
}

// TestRootsOfTheSystem checks that a client without a configuration of its own trusts the
// roots of the system, for the name of the server.
func TestRootsOfTheSystem(t *testing.T) {
	if _, err := x509.SystemCertPool(); err != nil { // it is read once, before SSL_CERT_FILE changes
		t.Fatal(err)
	}
	s := newService(t, true)
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", bundle)
	c := preconnect.New(preconnect.Config{})
	if err := c.Connect(t.Context(), parse(t, s.URL)); err != nil {
		t.Fatal(err)
	}
	get(t, c, s.URL)
	address := strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	if err := c.Connect(t.Context(), parse(t, address)); err == nil {
		t.Error("connected to a server whose certificate has another name")
	}
}

func TestConnectErrors(t *testing.T) {
	t.Parallel()
	if err := preconnect.New(preconnect.Config{}).Connect(t.Context(), parse(t, "http://127.0.0.1:1")); err == nil { // port 1 is closed
		t.Error("connected to a closed port")
	}
	s := newService(t, true)
	if err := preconnect.New(preconnect.Config{}).Connect(t.Context(), parse(t, s.URL)); err == nil {
		t.Error("accepted a certificate of an unknown authority")
	}
}
