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
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

const plain = "a secret of more than 24 bytes"

// secret is plain as the configuration has it.
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
		_, err := webhook.New(webhook.Config{URL: test.url, Secret: test.secret}, nil, "", time.Now, nil)
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

// endpoint takes what it gets, but for as many times as the test says.
type endpoint struct {
	*httptest.Server
	mu      sync.Mutex
	answers []int // the next ones; then 204. 0 is a connection that breaks
	got     []delivery
	taken   []string // IDs of what was answered by 2xx
	arrived chan struct{}
}

func newEndpoint(t *testing.T, answers ...int) *endpoint {
	t.Helper()
	e := &endpoint{answers: answers, arrived: make(chan struct{}, 1000)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.got = append(e.got, delivery{r.Header, string(body)})
		answer := http.StatusNoContent
		if len(e.answers) > 0 {
			answer, e.answers = e.answers[0], e.answers[1:]
		}
		switch {
		case answer == 0:
			panic(http.ErrAbortHandler)
		case answer == http.StatusFound:
			w.Header().Set("Location", "/elsewhere")
		case answer < 300:
			e.taken = append(e.taken, r.Header.Get("Webhook-Id"))
			e.arrived <- struct{}{}
		}
		w.WriteHeader(answer)
	}))
	t.Cleanup(e.Close)
	return e
}

// fullDisk is a store of which some calls fail.
type fullDisk struct {
	*bolt.Store
	works, failures int
}

func (d *fullDisk) fail() error {
	if d.works--; d.works >= 0 {
		return nil
	}
	if d.failures--; d.failures < 0 {
		return nil
	}
	return syscall.ENOSPC
}

func (d *fullDisk) Mark(name string) (uint64, bool, error) {
	if err := d.fail(); err != nil {
		return 0, false, err
	}
	return d.Store.Mark(name)
}

func (d *fullDisk) Events(after uint64, limit int) ([]bolt.Entry, error) {
	if err := d.fail(); err != nil {
		return nil, err
	}
	return d.Store.Events(after, limit)
}

func (d *fullDisk) Publish(ctx context.Context, events []event.Event, name string, mark uint64) error {
	if err := d.fail(); err != nil {
		return err
	}
	return d.Store.Publish(ctx, events, name, mark)
}

// rig is a store, and a sender that delivers its events to an endpoint.
type rig struct {
	t        *testing.T
	path     string
	store    *bolt.Store
	now      func() time.Time
	endpoint *endpoint
	log      bytes.Buffer
	pauses   []time.Duration
	works    int // calls of the store that succeed
	failures int // calls after them that fail
	stop     func()
}

func newRig(t *testing.T, answers ...int) *rig {
	t.Helper()
	g := &rig{t: t, path: filepath.Join(t.TempDir(), "syncs.db"), endpoint: newEndpoint(t, answers...), now: func() time.Time { return now }}
	g.open()
	t.Cleanup(func() {
		if err := g.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *rig) open() {
	g.t.Helper()
	var err error
	if g.store, err = bolt.Open(g.path); err != nil {
		g.t.Fatal(err)
	}
}

// run has the sender run until stop, which waits for its end.
func (g *rig) run(secret string) {
	g.t.Helper()
	s, err := webhook.New(webhook.Config{URL: g.endpoint.URL + "/hook?key=hush", Secret: secret}, &fullDisk{Store: g.store, works: g.works, failures: g.failures}, "http://127.0.0.1:8080",
		g.now, app.Logger(&g.log, ""))
	if err != nil {
		g.t.Fatal(err)
	}
	s.Pause = func(_ context.Context, d time.Duration) { g.pauses = append(g.pauses, d) }
	ctx, cancel := context.WithCancel(g.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx)
	}()
	g.stop = func() {
		g.t.Helper()
		cancel()
		<-ended
	}
	for { // it has begun when it has marked where it is
		if _, known, err := g.store.Mark(bolt.Reader); known || err != nil {
			return
		}
		_, grown := g.store.Last()
		select {
		case <-grown:
		case <-time.After(time.Millisecond):
		}
	}
}

func (g *rig) create() syncs.Sync {
	g.t.Helper()
	s := storagetest.Good(g.t)
	if err := g.store.Create(g.t.Context(), s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

func (g *rig) await(n int) {
	g.t.Helper()
	for range n {
		<-g.endpoint.arrived
	}
}

// TestDelivery compares all of a delivery, its signature made here anew.
func TestDelivery(t *testing.T) {
	t.Parallel()
	for secret, key := range map[string]string{base64.StdEncoding.EncodeToString([]byte(plain)): plain, "whsec_" + base64.StdEncoding.EncodeToString([]byte(plain+"!")): plain + "!"} {
		g := newRig(t)
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

// TestAgain holds that an event is sent until it is taken, and those after it
// wait for it.
func TestAgain(t *testing.T) {
	t.Parallel()
	g := newRig(t, 500, 0, 302, 404, 410, 429, 200, 503)
	g.run(secret)
	first, second := g.create(), g.create()
	g.await(2)
	g.stop()
	if diff := cmp.Diff([]string{first.ID + "/1", second.ID + "/1"}, g.endpoint.taken); diff != "" {
		t.Error(diff)
	}
	if len(g.endpoint.got) != 9 || len(g.pauses) != 7 {
		t.Fatalf("%d deliveries and %d pauses", len(g.endpoint.got), len(g.pauses))
	}
	for i, pause := range g.pauses[:6] {
		if most := time.Second << i; pause < most/2 || pause >= most {
			t.Errorf("pause %d is %v, want half of %v or more", i, pause, most)
		}
	}
	for _, secret := range []string{"hush", plain, secret, "contacts"} {
		if strings.Contains(g.log.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, &g.log)
		}
	}
	if g.pauses[6] >= time.Second {
		t.Errorf("the next event is paused for %v at first", g.pauses[6])
	}
}

// TestRestart holds that a sender goes on where it was, and that the first one
// begins with what is new.
func TestRestart(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.create() // before there was a webhook
	g.run(secret)
	first := g.create()
	g.await(1)
	g.stop()
	second := g.create() // nobody sends
	if err := g.store.Close(); err != nil {
		t.Fatal(err)
	}
	g.open()
	g.run(secret)
	third := g.create()
	g.await(2)
	g.stop()
	if diff := cmp.Diff([]string{first.ID + "/1", second.ID + "/1", third.ID + "/1"}, g.endpoint.taken); diff != "" {
		t.Error(diff)
	}
}

// TestStopWhileItFails holds that a sender ends though its endpoint does not
// take anything, and sends the event when it runs again.
func TestStopWhileItFails(t *testing.T) {
	t.Parallel()
	g := newRig(t, 500, 500, 500)
	g.run(secret)
	s := g.create()
	g.await(1) // in the end
	g.stop()
	if diff := cmp.Diff([]string{s.ID + "/1"}, g.endpoint.taken); diff != "" {
		t.Error(diff)
	}
	g.endpoint.Close() // nobody listens any more
	g.run(secret)
	g.create()
	g.stop()
}

// TestFullDisk has every call of the store fail for a while, from the n-th on.
// The sender goes on by itself, and sends each event once.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for first := range 5 { // the calls before the last event is sent
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel()
			g := newRig(t)
			g.works, g.failures = first, 20
			g.run(secret)
			var want []string
			for range 3 {
				want = append(want, g.create().ID+"/1")
			}
			g.await(3)
			g.stop()
			if diff := cmp.Diff(want, g.endpoint.taken); diff != "" {
				t.Error(diff)
			}
			if got := strings.Count(g.log.String(), syscall.ENOSPC.Error()); got != 20 || len(g.pauses) != 20 {
				t.Errorf("%d errors are logged, with %d pauses:\n%s", got, len(g.pauses), &g.log)
			}
			if longest := slices.Max(g.pauses); longest > 10*time.Second {
				t.Errorf("a pause of %v", longest)
			}
		})
	}
}
