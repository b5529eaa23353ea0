package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

const plain = "a secret of more than 24 bytes"

// secret is plain in the form of the configuration.
var secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(plain))

var now = time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)

func TestConfig(t *testing.T) {
	t.Parallel()
	const address, badURL, badSecret = "https://example.com/hook", "WEBHOOK_URL must be an http or https address",
		"WEBHOOK_SECRET must be 24 to 64 bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one"
	long := func(n int) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", n))) }
	for _, test := range []struct{ url, secret, want string }{
		{address, secret, ""},
		{"http://127.0.0.1:9000", long(32), ""},
		{address, long(24), ""},
		{address, "whsec_" + long(24), ""},
		{address, long(64), ""},
		{address, "whsec_" + long(64), ""},
		{"example.com", secret, badURL},
		{"ftp://example.com", secret, badURL},
		{"http://:8080/hook", secret, badURL},
		{address, "", badSecret},
		{address, "whsec_", badSecret},
		{address, long(23), badSecret},
		{address, "whsec_" + long(23), badSecret},
		{address, long(65), badSecret},
		{address, "whsec_" + long(65), badSecret},
		{address, plain, badSecret}, // of 30 bytes, but not base64
		{address, "whsec_!", badSecret},
		{address, "WHSEC_" + long(32), badSecret},
		{address, "whsec_whsec_" + long(32), badSecret},
		{address, strings.TrimRight(long(32), "="), badSecret},
		{address, strings.Repeat("-_", 20), badSecret}, // the other alphabet of RFC 4648
		{address, long(32) + "\n", badSecret},
		{address, long(15) + "\n" + long(30), badSecret},
	} {
		_, err := webhook.NewClient(webhook.Config{URL: test.url, Secret: test.secret}, time.Now)
		if got := fmt.Sprint(err); (err != nil || test.want != "") && got != test.want {
			t.Errorf("%s %q: got %v, want %q", test.url, test.secret, err, test.want)
		}
	}
}

// delivery is what arrived at an endpoint.
type delivery struct {
	header http.Header
	body   string
}

// endpoint accepts every delivery.
type endpoint struct {
	*httptest.Server
	mu      sync.Mutex
	got     []delivery
	arrived chan struct{}
}

func newEndpoint(t *testing.T) *endpoint {
	t.Helper()
	e := &endpoint{arrived: make(chan struct{}, 1000)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.got = append(e.got, delivery{r.Header, string(body)})
		w.WriteHeader(http.StatusNoContent)
		e.arrived <- struct{}{}
	}))
	t.Cleanup(e.Close)
	return e
}

// harness is a store, and a sender that delivers its events to an endpoint.
type harness struct {
	t        *testing.T
	path     string
	store    *bolt.Store
	now      func() time.Time
	endpoint *endpoint
	log      bytes.Buffer
	stop     func()
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	g := &harness{t: t, path: filepath.Join(t.TempDir(), "syncs.db"), endpoint: newEndpoint(t), now: func() time.Time { return now }}
	g.open()
	t.Cleanup(func() {
		if err := g.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *harness) open() {
	g.t.Helper()
	var err error
	if g.store, err = bolt.Open(g.path); err != nil {
		g.t.Fatal(err)
	}
}

// run has the sender run until stop, which waits for its end.
func (g *harness) run(secret string) {
	g.t.Helper()
	client, err := webhook.NewClient(webhook.Config{URL: g.endpoint.URL + "/hook?key=hush", Secret: secret}, g.now)
	if err != nil {
		g.t.Fatal(err)
	}
	s := &webhook.Sender{
		Client: client, Store: g.store, DeadLetters: bolt.DeadLetters{Path: g.path + ".dead"}, Origin: "http://127.0.0.1:8080",
		Now: time.Now, Log: app.Logger(&g.log, ""),
	}
	ctx, cancel := context.WithCancel(g.t.Context())
	if _, err := g.store.StartCheckpoint(ctx, bolt.SenderCheckpoint); err != nil {
		g.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	g.stop = func() {
		g.t.Helper()
		cancel()
		<-ended
	}
}

func (g *harness) create() syncs.Sync {
	g.t.Helper()
	s := storagetest.NewSync(g.t)
	if err := g.store.Create(g.t.Context(), s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

func (g *harness) await(n int) {
	g.t.Helper()
	for range n {
		<-g.endpoint.arrived
	}
}

// TestDelivery compares all of a delivery, its signature made here anew.
func TestDelivery(t *testing.T) {
	t.Parallel()
	for secret, key := range map[string]string{base64.StdEncoding.EncodeToString([]byte(plain)): plain, "whsec_" + base64.StdEncoding.EncodeToString([]byte(plain+"!")): plain + "!"} {
		g := newHarness(t)
		g.run(secret)
		s := g.create()
		g.await(1)
		g.stop()
		got := g.endpoint.got[0]
		mac := hmac.New(sha256.New, []byte(key))
		fmt.Fprintf(mac, "%s.%d.%s", s.ID+"/1", now.Unix(), got.body)
		want := map[string]string{
			"Content-Type": "application/json", "User-Agent": "Syncplane",
			"Ce-Specversion": "1.0", "Ce-Id": s.ID + "/1", "Ce-Source": "http://127.0.0.1:8080/api/v1/syncs", "Ce-Type": "sync.created.v1",
			"Ce-Subject": s.ID, "Ce-Time": s.CreatedAt.Format("2006-01-02T15:04:05.000Z"), "Ce-Workspace": s.Workspace,
			"Ce-Dataschema": "http://127.0.0.1:8080/api/v1/schemas/sync.created.v1.json",
			"Webhook-Id":    s.ID + "/1", "Webhook-Timestamp": fmt.Sprint(now.Unix()),
			"Webhook-Signature": "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)),
		}
		headers := map[string]string{}
		for name := range got.header {
			if name != "Content-Length" && name != "Accept-Encoding" {
				headers[name] = got.header.Get(name)
			}
		}
		if diff := cmp.Diff(want, headers); diff != "" {
			t.Error(diff)
		}
		if err := eventtest.Validate("sync.created.v1.json", []byte(got.body)); err != nil {
			t.Error(err)
		}
	}
}
