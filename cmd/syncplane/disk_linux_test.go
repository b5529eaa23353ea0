package main_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"syncplane/pkg/storage/bolt"
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

// TestFullDiskAtFirstStart checks that files which could not be created whole, because the
// disk was full, are created when there is room.
func TestFullDiskAtFirstStart(t *testing.T) {
	t.Parallel()
	for _, limit := range []string{"0", "8", "16", "24"} { // of a file, in blocks of 512 bytes; each file begins with four pages
		dataDir := t.TempDir()
		token(t, dataDir) // makes the signing key, which is small
		for _, args := range []string{"serve --port 0", "keys create CI"} {
			full := command(t, []string{"DATA_DIR=" + dataDir}, strings.Fields(args)...)
			full.Args = append([]string{"sh", "-c", `ulimit -f ` + limit + ` && exec "$0" "$@"`, full.Path}, full.Args[1:]...)
			full.Path = "/bin/sh"
			out, err := full.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
				t.Errorf("%s with %s blocks: got %v, %s", args, limit, err, out)
			}
		}
		s := serve(t, dataDir)
		if status, answer := s.create(t, token(t, dataDir)); status != http.StatusOK {
			t.Errorf("%s blocks: got %d %s", limit, status, answer)
		}
		if out, err := command(t, []string{"DATA_DIR=" + dataDir}, "keys", "create", "CI").CombinedOutput(); err != nil {
			t.Errorf("%s blocks: %v, %s", limit, err, out)
		}
		s.stop(t, os.Interrupt)
		files, err := filepath.Glob(filepath.Join(dataDir, "*"))
		if err != nil || len(files) != 3 {
			t.Errorf("%s blocks: got %v, %v, want the key and two databases", limit, files, err)
		}
	}
}

// TestFullOutput checks that a command whose output cannot be written fails, so that a
// script does not go on with half of it, and that a key whose text was lost is not kept.
func TestFullOutput(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir)
	bearer := token(t, dataDir)
	if status, answer := s.create(t, bearer); status != http.StatusOK {
		t.Fatalf("got %d %s", status, answer)
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close() //nolint:errcheck // nothing was written
	for _, args := range []string{
		"token", "version", "--version", "help", "when 5", "keys create CI", "keys list", "syncs list", "syncs list --json",
		"runs list --json", "events tail --after 00", "apply -f ../../examples/syncs.yaml", "completion bash", "dead-letters list",
	} {
		cmd := command(t, []string{"DATA_DIR=" + dataDir, "SYNCPLANE_URL=" + s.address}, strings.Fields(args)...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = full, &stderr
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%s: got %v, %s", args, err, &stderr)
		}
	}
	keys, err := bolt.Keys{Path: filepath.Join(dataDir, "keys.db")}.Keys(t.Context(), "demo")
	if err != nil || len(keys) != 1 || keys[0].RevokedAt.IsZero() {
		t.Errorf("got %v, %+v, want a revoked key", err, keys)
	}
	s.stop(t, os.Interrupt)
}
