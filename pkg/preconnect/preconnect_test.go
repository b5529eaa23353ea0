package preconnect_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"syncplane/pkg/preconnect"
)

// service counts the connections that it gets.
type service struct {
	*httptest.Server
	opened   atomic.Int32
	requests atomic.Int32
}

func newService(t *testing.T, secure bool) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		if r.URL.Path == "/away" {
			w.Header().Set("Location", "/")
			w.WriteHeader(http.StatusFound)
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.opened.Add(1)
		}
	}
	if secure {
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

// TestConnect holds that the connection is open before there is a request, and
// that requests use it and keep it.
func TestConnect(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		s := newService(t, secure)
		c := s.client()
		for range 2 { // the second waits in vain
			if err := c.Connect(t.Context(), parse(t, s.URL)); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			get(t, c, s.URL)
		}
		if opened, requests := s.opened.Load(), s.requests.Load(); opened != 2 || requests != 3 {
			t.Errorf("TLS %v: %d connections for %d requests", secure, opened, requests)
		}
	}
}

// TestWithout holds that a client needs no Connect, and that a connection to
// elsewhere is not taken for another.
func TestWithout(t *testing.T) {
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
		t.Errorf("%d requests went elsewhere", opened)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	if err := preconnect.New(preconnect.Config{}).Connect(t.Context(), parse(t, "http://127.0.0.1:1")); err == nil { // nobody listens on port 1
		t.Error("a connection to nobody is open")
	}
	s := newService(t, true)
	if err := preconnect.New(preconnect.Config{}).Connect(t.Context(), parse(t, s.URL)); err == nil {
		t.Error("a certificate that nobody vouches for is taken")
	}
}
