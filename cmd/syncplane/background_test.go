package main_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	main "syncplane/cmd/syncplane"
	"syncplane/pkg/event"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

// TestEventsBeforeTheirReaders checks that nothing is lost of what a server accepts before
// its tasks run for the first time: the webhook receives the events, and a run that is due
// is recorded.
func TestEventsBeforeTheirReaders(t *testing.T) {
	t.Parallel()
	const secret = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"
	received := make(chan string, 10)
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		received <- r.Header.Get("Ce-Type")
	}))
	t.Cleanup(endpoint.Close)
	dataDir := t.TempDir()
	store, err := bolt.Open(filepath.Join(dataDir, "syncs.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	start, stop, err := main.Background(t.Context(), store, dataDir, webhook.Config{URL: endpoint.URL, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}

	s := storagetest.NewSync(t)
	if err := store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	due := bolt.DueRun{Event: event.OfRun(&s, now, false), Version: s.Version}
	if err := store.StartRuns(t.Context(), []bolt.DueRun{due}, bolt.Progress{Second: now.Unix()}); err != nil {
		t.Fatal(err)
	}
	start()
	t.Cleanup(stop)
	var got []string
	for range 3 {
		got = append(got, within(t, received))
	}
	if diff := cmp.Diff([]string{"sync.created.v1", "sync.due.v1", "sync.run.queued.v1"}, got); diff != "" {
		t.Error(diff)
	}
}
