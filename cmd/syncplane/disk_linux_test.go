package main_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fill makes every write of the server to a file fail, as a full disk does; it
// works on files larger than a page.
func (s *server) fill(t *testing.T, full bool) {
	t.Helper()
	limit := unix.Rlimit{Cur: 4096, Max: unix.RLIM_INFINITY}
	if !full {
		limit.Cur = unix.RLIM_INFINITY
	}
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		t.Error(err)
	}
}

// TestFullDisk fills the disk while an event is delivered: what the server does
// continues by itself when there is room again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	var s *server
	var fill sync.Once
	arrived := make(chan string, 100)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fill.Do(func() { s.fill(t, true) })
		arrived <- r.Header.Get("Webhook-Id")
	}))
	t.Cleanup(endpoint.Close)
	dataDir := t.TempDir()
	s = serve(t, dataDir, "WEBHOOK_URL="+endpoint.URL, "WEBHOOK_SECRET=0123456789012345678901234567890123456789")
	bearer := token(t, dataDir)
	_, answer := s.create(t, bearer)
	first := idOf(t, answer)
	if got := <-arrived; got != first+"/1" {
		t.Fatalf("got %s", got)
	}
	for range 3 { // so that the sender has met the full disk as well
		if status, answer := s.create(t, bearer); status != http.StatusServiceUnavailable {
			t.Errorf("a full disk answers %d %s", status, answer)
		}
	}
	s.fill(t, false)
	status, answer := s.create(t, bearer)
	if status != http.StatusOK {
		t.Fatalf("got %d %s", status, answer)
	}
	want := idOf(t, answer) + "/1"
	select {
	case got := <-arrived:
		if got != want { // not the first one again
			t.Errorf("got %s, want %s", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("nothing was delivered: %s", s.log)
	}
	s.stop(t, os.Interrupt)
}
