package main_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

// TestDeadLetters lists dead letters and sends them again while a server runs.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	const secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"
	receiver, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []string
	status := http.StatusInternalServerError
	answer := func(next int) (sent []string) { // and what was sent since the last call
		mu.Lock()
		defer mu.Unlock()
		sent, got, status = got, nil, next
		return sent
	}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || receiver.Verify(body, r.Header) != nil {
			t.Errorf("not verified: %v, %v", err, r.Header)
		}
		if r.Header.Get("Ce-Source") != "http://127.0.0.1:8080/api/v1/syncs" {
			t.Errorf("got %v", r.Header)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, r.Header.Get("Webhook-Id"))
		w.WriteHeader(status)
	}))
	t.Cleanup(endpoint.Close)

	dataDir := t.TempDir()
	dead := bolt.DeadLetters{Path: filepath.Join(dataDir, "dead-letters.db")}
	now := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	s := storagetest.NewSync(t)
	for sequence := uint64(7); sequence < 10; sequence++ {
		s.Version++
		if _, err := dead.Add(t.Context(), bolt.DeadLetter{
			Sequence: sequence, Event: event.OfChange(nil, &s), Origin: "http://127.0.0.1:8080",
			Since: now, GivenUp: now.AddDate(0, 0, 1), Attempts: 300, Reason: "the webhook responded with status 500",
		}); err != nil {
			t.Fatal(err)
		}
	}
	run := func(want string, args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		cmd := newCall(t, []string{"DATA_DIR=" + dataDir, "WEBHOOK_URL=" + endpoint.URL, "WEBHOOK_SECRET=" + secret}, append([]string{"dead-letters"}, args...)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); (err == nil) != (want == "") || !strings.HasSuffix(stderr.String(), want) {
			t.Errorf("%v: %v: %s", args, err, &stderr)
		}
		return stdout.String()
	}
	ids := func() string {
		t.Helper()
		var ids []string
		for i, line := range strings.Split(strings.TrimSpace(run("", "list")), "\n") {
			if i == 0 != strings.HasPrefix(line, "ID ") {
				t.Errorf("got %s", line)
			}
			ids = append(ids, strings.Fields(line)[0])
		}
		return strings.Join(ids[1:], " ")
	}
	server := serve(t, dataDir, "WEBHOOK_URL=http://127.0.0.1:1", "WEBHOOK_SECRET="+secret)
	if got := ids(); got != "7 8 9" {
		t.Errorf("got %s", got)
	}
	if list := run("", "list"); !strings.Contains(list, "2026-11-25T06:00:00Z") || !strings.Contains(list, "the webhook responded with status 500") {
		t.Errorf("got %s", list)
	}
	run("syncplane: 0 dead letters were accepted, 3 were refused and are kept\n", "resend", "--all")
	answer(http.StatusNoContent)
	run("syncplane: 1 of the given dead letters do not exist; see dead-letters list\n", "resend", "8", "42")
	if got := ids(); got != "7 9" {
		t.Errorf("got %s", got)
	}
	run("", "resend", "--all")
	if got := ids(); got != "" {
		t.Errorf("got %s", got)
	}
	answer(http.StatusGone)
	for sequence := uint64(1); sequence < 3; sequence++ {
		if _, err := dead.Add(t.Context(), bolt.DeadLetter{Sequence: sequence, Event: event.OfChange(nil, &s), Origin: "http://127.0.0.1:8080"}); err != nil {
			t.Fatal(err)
		}
	}
	run("syncplane: the webhook is gone (410); no further dead letter was sent\n", "resend", "--all")
	if sent := answer(http.StatusGone); len(sent) != 1 || ids() != "1 2" {
		t.Errorf("sent %v", sent)
	}
	server.stop(t, syscall.SIGTERM)
}
