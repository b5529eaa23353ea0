package main_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

// receive starts testdata/receiver. It returns its address, the file of its root, and
// its further output.
func receive(t *testing.T, args ...string) (address, roots string, lines <-chan string) {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	roots = filepath.Join(t.TempDir(), "roots.pem")
	cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(binary), "receiver"), append(args, "-roots", roots)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	all := make(chan string, 100)
	go func() {
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			all <- scanner.Text()
		}
		close(all)
	}()
	return within(t, all), roots, all
}

// within returns the next line.
func within(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line := <-lines:
		return line
	case <-time.After(time.Minute):
		t.Fatal("no line within a minute")
		return ""
	}
}

// delivering starts a server whose webhook is at an address, on a machine without root
// certificates unless env names a file. It creates a sync, and returns what want returns
// of the lines about the webhook in the log, after which it stops the server.
func delivering(t *testing.T, address string, want func(log <-chan string) string, env ...string) string {
	t.Helper()
	dataDir := t.TempDir()
	env = append([]string{
		"SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent", "WEBHOOK_URL=" + address,
		"WEBHOOK_SECRET=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5", "PORT=0", "DATA_DIR=" + dataDir,
	}, env...)
	log, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, env, "serve")
	cmd.Stderr = writer
	cmd.Cancel = func() error { return os.ErrProcessDone } // t.Context ends before the cleanup, which stops it
	s := start(t, cmd)
	_ = writer.Close() // the server has it
	lines := make(chan string, 1000)
	go func() {
		for scanner := bufio.NewScanner(log); scanner.Scan(); {
			if strings.Contains(scanner.Text(), `"message":"webhook"`) {
				lines <- scanner.Text()
			}
		}
		close(lines)
	}()
	if status, answer := s.create(t, token(t, dataDir)); status != 200 {
		t.Fatalf("got %d %s", status, answer)
	}
	got := want(lines)
	s.stop(t, os.Interrupt)
	return got
}

// TestWebhookRoots checks which roots verify the certificate of a webhook on a machine
// without roots, as in the container image: those of Mozilla, which are in the program,
// or those of SSL_CERT_FILE.
func TestWebhookRoots(t *testing.T) {
	t.Parallel()
	address, roots, events := receive(t)
	first := func(log <-chan string) string { return within(t, log) }
	if got := delivering(t, address, first); !strings.Contains(got, "certificate signed by unknown authority") {
		t.Errorf("without the root: got %s", got)
	}
	if got := delivering(t, address, func(<-chan string) string { return within(t, events) }, "SSL_CERT_FILE="+roots); got != "sync.created.v1" {
		t.Errorf("with the root: got %q", got)
	}
	// No public root issues a certificate for this test. One that names such a root, and
	// that it has not signed, is refused with the name only if the program has the root.
	forged, _, events := receive(t, "-forged")
	if got := delivering(t, forged, first); !strings.Contains(got, "candidate authority certificate") || !strings.Contains(got, "ISRG Root X1") {
		t.Errorf("got %s", got)
	}
	if got := delivering(t, forged, first, "SSL_CERT_FILE="+roots); !strings.Contains(got, "certificate signed by unknown authority") || strings.Contains(got, "ISRG Root X1") {
		t.Errorf("with other roots: got %s", got)
	}
	if len(events) > 0 {
		t.Errorf("it received %s", <-events)
	}
}

// TestRoots checks that each command that opens TLS connections has the roots of Mozilla
// on a machine without roots: it refuses a forged certificate with the name of the root.
func TestRoots(t *testing.T) {
	t.Parallel()
	address, _, _ := receive(t, "-forged")
	dataDir := t.TempDir()
	s := storagetest.NewSync(t)
	letter := bolt.DeadLetter{Sequence: 1, Event: event.OfChange(nil, &s), Origin: "http://127.0.0.1:8080"}
	if _, err := (bolt.DeadLetters{Path: filepath.Join(dataDir, "dead-letters.db")}).Add(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	for args, env := range map[string][]string{
		"syncs list":  {"SYNCPLANE_URL=" + address, "SYNCPLANE_TOKEN=x"},
		"runs list x": {"SYNCPLANE_URL=" + address, "SYNCPLANE_TOKEN=x"},
		"apply -f " + root + "/examples/syncs.yaml": {"SYNCPLANE_URL=" + address, "SYNCPLANE_TOKEN=x"},
		"events tail":                              {"SYNCPLANE_URL=" + address, "SYNCPLANE_TOKEN=x"},
		"dead-letters resend --all":                {"WEBHOOK_URL=" + address, "WEBHOOK_SECRET=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"},
		"keys list --store dynamodb --workspace a": {"AWS_ENDPOINT_URL_DYNAMODB=" + address},
		"reconcile --stack x":                      {"AWS_ENDPOINT_URL=" + address},
	} {
		env = append(env, "DATA_DIR="+dataDir, "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent",
			"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_MAX_ATTEMPTS=1")
		out, err := command(t, env, strings.Fields(args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "ISRG Root X1") {
			t.Errorf("%s: got %v, %s", args, err, out)
		}
	}
}
