package main_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

// events reads the stream of the server, from after an event if last is its
// number. The function that it returns waits for the next one.
func (s *server) events(t *testing.T, token, last string) func() (id string, seen eventtest.Event) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address+"/api/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Last-Event-ID", last)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
	})
	lines := bufio.NewScanner(response.Body)
	return func() (id string, seen eventtest.Event) {
		t.Helper()
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				id = text
			}
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				return id, eventtest.Check(t, []byte(text))
			}
		}
		t.Fatalf("%d: the stream ended: %v", response.StatusCode, lines.Err())
		return "", eventtest.Event{}
	}
}

// TestEventsAsAPersonWould watches the events while syncs are created, over a
// restart, and while a run is due.
func TestEventsAsAPersonWould(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir)
	bearer := token(t, dataDir)
	next := s.events(t, bearer, "")
	_, answer := s.create(t, bearer)
	id, seen := next()
	if seen.Type != "sync.created.v1" || seen.Subject != idOf(t, answer) || seen.Source != s.address+"/api/v1/syncs" {
		t.Errorf("got %+v", seen)
	}
	_, missed := s.create(t, bearer)
	started := time.Now()
	s.stop(t, syscall.SIGTERM) // with a stream open
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("it took %v to stop", took)
	}

	// A sync that is due in a moment, created while no server runs.
	store, err := bolt.Open(dataDir + "/syncs.db")
	if err != nil {
		t.Fatal(err)
	}
	soon := storagetest.NewSync(t)
	soon.Workspace, soon.CronExpression, soon.SyncInterval = "demo", "", 1
	soon.CreatedAt = time.Now().UTC().Add(-57 * time.Second).Truncate(time.Millisecond)
	soon.UpdatedAt, soon.ScheduledAt = soon.CreatedAt, soon.CreatedAt
	if err := store.Create(t.Context(), soon); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	s = serve(t, dataDir)
	next = s.events(t, bearer, id)
	if _, seen = next(); seen.Subject != idOf(t, missed) {
		t.Errorf("got %+v, want what was missed", seen)
	}
	if _, seen = next(); seen.Subject != soon.ID || seen.Type != "sync.created.v1" {
		t.Errorf("got %+v", seen)
	}
	_, seen = next()
	want, _ := soon.NextRun(soon.CreatedAt)
	if seen.Type != "sync.due.v1" || seen.Data["run_id"] != soon.ID+"/"+want.Format(time.RFC3339) {
		t.Errorf("got %+v, want a run at %v", seen, want)
	}
	if early := time.Until(want); early > 0 {
		t.Errorf("the run started %v early", early)
	}
	s.stop(t, os.Interrupt)
}

// TestWebhook has the server deliver an event, and again one that an endpoint
// refused until the server had stopped.
func TestWebhook(t *testing.T) {
	t.Parallel()
	arrived := make(chan string, 10)
	refuse := make(chan struct{})
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-refuse:
			arrived <- r.Header.Get("Webhook-Id")
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(endpoint.Close)
	dataDir := t.TempDir()
	env := []string{"WEBHOOK_URL=" + endpoint.URL, "WEBHOOK_SECRET=0123456789012345678901234567890123456789"}
	s := serve(t, dataDir, env...)
	bearer := token(t, dataDir)
	_, first := s.create(t, bearer)
	s.stop(t, os.Interrupt)
	close(refuse)
	s = serve(t, dataDir, env...)
	if got := <-arrived; got != idOf(t, first)+"/1" {
		t.Errorf("got %s", got)
	}
	_, second := s.create(t, bearer)
	if got := <-arrived; got != idOf(t, second)+"/1" {
		t.Errorf("got %s", got)
	}
	s.stop(t, os.Interrupt)
	if strings.Contains(s.log.String(), "0123456789") {
		t.Error("the log holds the secret")
	}
}

// TestNoWebhookAnyMore starts the server without the webhook for which events wait:
// it drops them, logs that once, and a later webhook begins with what is new.
func TestNoWebhookAnyMore(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	store, err := bolt.Open(dataDir + "/syncs.db")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := store.Create(t.Context(), storagetest.NewSync(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.AddPending(t.Context(), []bolt.Pending{{Sequence: 1, OrderingKey: "a"}, {Sequence: 2, OrderingKey: "b"}}, 2); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, logged := range []bool{true, false} {
		s := serve(t, dataDir)
		s.stop(t, os.Interrupt)
		if got := strings.Contains(s.log.String(), `"undelivered events are dropped","count":2`); got != logged {
			t.Errorf("got %s", s.log)
		}
	}
	arrived := make(chan string, 10)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- r.Header.Get("Ce-Subject")
	}))
	t.Cleanup(endpoint.Close)
	s := serve(t, dataDir, "WEBHOOK_URL="+endpoint.URL, "WEBHOOK_SECRET=0123456789012345678901234567890123456789")
	_, created := s.create(t, token(t, dataDir))
	if got := <-arrived; got != idOf(t, created) {
		t.Errorf("got %s", got)
	}
	s.stop(t, os.Interrupt)
}
