package webhook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/event"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
)

// answer is what an endpoint does with a delivery: a status, and headers. Status
// 0 is a connection that breaks.
type answer struct {
	status int
	header map[string]string
}

// senderHarness is a store and a sender in a bubble of synctest, where time passes when
// all wait, and an endpoint in the same process.
type senderHarness struct {
	t       *testing.T
	path    string
	store   *bolt.Store
	dead    bolt.DeadLetters
	disk    *faultyStore // over store, if it is not nil
	maxHeld uint64
	log     bytes.Buffer
	stop    func()

	mu      sync.Mutex
	answer  func(id string, attempt int) answer // nil takes all
	latency time.Duration
	hang    func(id string) bool // nil is none
	tries   map[string]int
	times   []time.Time // of the attempts
	taken   []string    // subject/number, in order
	flying  map[string]bool
	most    int // at the same time
}

func newSenderHarness(t *testing.T) *senderHarness {
	t.Helper()
	w := &senderHarness{t: t, path: filepath.Join(t.TempDir(), "syncs.db"), tries: map[string]int{}, flying: map[string]bool{}}
	w.dead = bolt.DeadLetters{Path: w.path + ".dead"}
	w.open()
	return w
}

func (w *senderHarness) open() {
	w.t.Helper()
	var err error
	if w.store, err = bolt.Open(w.path); err != nil {
		w.t.Fatal(err)
	}
}

func (w *senderHarness) close() {
	w.t.Helper()
	if err := w.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// RoundTrip responds as the endpoint.
func (w *senderHarness) RoundTrip(r *http.Request) (*http.Response, error) {
	id, subject := r.Header.Get("Webhook-Id"), r.Header.Get("Ce-Subject")
	w.mu.Lock()
	w.tries[id]++
	w.times = append(w.times, time.Now())
	if w.flying[subject] {
		w.t.Errorf("two deliveries of %s at the same time", subject)
	}
	w.flying[subject] = true
	w.most = max(w.most, len(w.flying))
	a := answer{status: http.StatusNoContent}
	if w.answer != nil {
		a = w.answer(id, w.tries[id])
	}
	latency := w.latency
	if w.hang != nil && w.hang(id) {
		latency = time.Hour
	}
	w.mu.Unlock()
	var err error
	select {
	case <-time.After(latency):
	case <-r.Context().Done():
		err = r.Context().Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.flying, subject)
	switch {
	case err != nil:
		return nil, err
	case a.status == 0:
		return nil, errors.New("connection reset")
	case a.status < 300:
		w.taken = append(w.taken, id)
	}
	header := http.Header{}
	for name, value := range a.header {
		header.Set(name, value)
	}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
}

func (w *senderHarness) run() {
	w.t.Helper()
	client, err := webhook.NewClient(webhook.Config{URL: "https://example.com/hook?key=hush", Secret: secret}, time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	client.Transport = w
	s := &webhook.Sender{
		Client: client, Store: w.store, DeadLetters: w.dead, Origin: "http://127.0.0.1:8080", Now: time.Now,
		Log: app.Logger(&w.log, ""), MaxBehind: w.maxHeld,
	}
	if w.disk != nil {
		w.disk.Store, s.Store = w.store, w.disk
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	w.stop = func() { cancel(); <-ended }
	synctest.Wait()
}

// publish stores events: subject and number, such as a/1.
func (w *senderHarness) publish(ids ...string) {
	w.t.Helper()
	var events []event.Event
	for _, id := range ids {
		subject, _, _ := strings.Cut(id, "/")
		events = append(events, event.Event{Kind: event.Due, ID: id, Subject: subject, Workspace: "acme", Time: time.Now(), Data: []byte(`{}`)})
	}
	if err := w.store.Publish(w.t.Context(), events, "test", 0); err != nil {
		w.t.Fatal(err)
	}
}

// sleep lets time pass.
func (w *senderHarness) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// want compares what was taken since the last call, line by line.
func (w *senderHarness) want(ids ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	byLine := func(x, y string) int { return strings.Compare(x[:strings.Index(x, "/")], y[:strings.Index(y, "/")]) }
	slices.SortStableFunc(ids, byLine)
	slices.SortStableFunc(w.taken, byLine)
	if diff := cmp.Diff(append([]string{}, ids...), append([]string{}, w.taken...)); diff != "" {
		w.t.Errorf("taken: %s", diff)
	}
	w.taken = nil
}

// letters returns the dead letters.
func (w *senderHarness) letters() []string {
	w.t.Helper()
	ids := []string{}
	for l, err := range w.dead.All(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, l.Event.ID+": "+l.Reason)
	}
	return ids
}

func (w *senderHarness) wantLetters(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), w.letters()); diff != "" {
		w.t.Errorf("dead letters: %s", diff)
	}
}

// refuse answers deliveries of some events, by a prefix of their IDs.
func (w *senderHarness) refuse(prefix string, status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = func(id string, _ int) answer {
		if prefix != "" && strings.HasPrefix(id, prefix) {
			return answer{status: status}
		}
		return answer{status: http.StatusOK}
	}
}

func inBubble(t *testing.T, test func(t *testing.T, w *senderHarness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newSenderHarness(t)
		w.run()
		test(t, w)
		w.stop()
		w.close()
		for _, hidden := range []string{"hush", plain, secret} {
			if strings.Contains(w.log.String(), hidden) {
				t.Errorf("the log holds %q:\n%s", hidden, &w.log)
			}
		}
	})
}

// TestAgain checks the attempts at an event that is refused in each way, and that
// the next one of its sync waits for it.
func TestAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		answers := []int{500, 0, 302, 404, 429, 304, 400, 503, 401, 422, 600, 418}
		w.answer = func(id string, attempt int) answer {
			if id == "a/1" && attempt <= len(answers) {
				return answer{status: answers[attempt-1]}
			}
			return answer{status: http.StatusOK}
		}
		w.publish("a/1", "a/2", "b/1")
		w.sleep(500*time.Millisecond - 1)
		w.want("b/1")
		w.sleep(time.Hour)
		w.want("a/1", "a/2")
		if len(w.times) != len(answers)+3 {
			t.Fatalf("%d attempts", len(w.times))
		}
		for i, most := 0, time.Second; i < len(answers); i++ {
			from := w.times[i+1] // the second attempt is that of b/1
			if i == 0 {
				from = w.times[0]
			}
			pause := w.times[i+2].Sub(from)
			if pause < most/2 || pause >= most {
				t.Errorf("pause %d is %v, want half of %v or more", i, pause, most)
			}
			most = min(2*most, 5*time.Minute)
		}
	})
}

// TestSlowEndpoint checks that an endpoint of 100 ms gets more events than come,
// those of a sync in order.
func TestSlowEndpoint(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		const lines, each = 64, 10
		w.latency = 100 * time.Millisecond
		var all []string
		for n := range each {
			for line := range lines {
				all = append(all, fmt.Sprintf("%d/%d", line, n))
			}
		}
		started := time.Now()
		w.publish(all...)
		w.sleep(10 * time.Second)
		if len(w.taken) != lines*each {
			t.Fatalf("%d of %d were taken", len(w.taken), lines*each)
		}
		took := w.times[len(w.times)-1].Sub(started)
		if rate := float64(lines*each) / took.Seconds(); rate < 200 || w.most != 32 {
			t.Errorf("%.0f events a second, at most %d at once", rate, w.most)
		}
		next := map[string]int{}
		for _, id := range w.taken {
			line, n, _ := strings.Cut(id, "/")
			if n != fmt.Sprint(next[line]) {
				t.Fatalf("%s comes after %d of its line", id, next[line])
			}
			next[line]++
		}
	})
}

// TestOneRefused has an endpoint always refuse one event: it holds up no other
// sync, and its own for a day.
func TestOneRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.refuse("a/1", 422)
		w.publish("a/1", "a/2", "b/1", "b/2")
		w.sleep(time.Second)
		w.want("b/1", "b/2")
		for hour := range 23 {
			w.publish(fmt.Sprintf("c/%d", hour))
			w.sleep(time.Hour)
			w.want(fmt.Sprintf("c/%d", hour))
		}
		w.publish("a/3")
		w.sleep(30 * time.Minute)
		w.want()
		w.wantLetters()
		w.sleep(time.Hour)
		w.wantLetters("a/1: the webhook responded with status 422")
		w.want("a/2", "a/3")
		w.publish("a/4")
		w.sleep(time.Second)
		w.want("a/4")
		if waiting, err := w.store.Pending(); err != nil || len(waiting) != 0 {
			t.Errorf("there wait %v, %v", waiting, err)
		}
		if !strings.Contains(w.log.String(), `"message":"dead letter"`) {
			t.Errorf("no dead letter is logged")
		}
	})
}

// TestAllRefused has an endpoint refuse everything for two days: each event
// becomes a dead letter after a day, in order, and the last one is taken.
func TestAllRefused(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.refuse("a", 500)
		var dead []string
		for hour := range 48 {
			id := fmt.Sprintf("a/%d", hour)
			w.publish(id)
			w.sleep(time.Hour)
			if hour < 24 {
				dead = append(dead, id+": the webhook responded with status 500")
			}
		}
		w.wantLetters(dead...)
		w.want()
		w.refuse("", 0)
		w.sleep(5 * time.Minute)
		if len(w.taken) < 23 || w.taken[len(w.taken)-1] != "a/47" {
			t.Errorf("taken: %v", w.taken)
		}
	})
}

// TestRetryAfter checks when a refused delivery is tried again.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		header func(now time.Time) string
		from   time.Duration // for the event that was refused
		to     time.Duration
		others time.Duration // for an event of another sync
	}{
		"none":                {503, nil, time.Second / 2, time.Second, 0},
		"seconds, 503":        {503, func(time.Time) string { return "30" }, 30 * time.Second, 30 * time.Second, 30 * time.Second},
		"seconds, 429":        {429, func(time.Time) string { return "30" }, 30 * time.Second, 30 * time.Second, 30 * time.Second},
		"seconds, of another": {500, func(time.Time) string { return "30" }, 30 * time.Second, 30 * time.Second, 0},
		"less than the pause": {503, func(time.Time) string { return "0" }, time.Second / 2, time.Second, 0},
		"a date":              {429, func(now time.Time) string { return now.Add(90 * time.Second).UTC().Format(http.TimeFormat) }, 89 * time.Second, 90 * time.Second, 89 * time.Second},
		"a date that is past": {429, func(now time.Time) string { return now.Add(-time.Hour).UTC().Format(http.TimeFormat) }, time.Second / 2, time.Second, 0},
		"a day":               {503, func(time.Time) string { return "86400" }, time.Hour, time.Hour, time.Hour},
		"a date in a year":    {503, func(now time.Time) string { return now.AddDate(1, 0, 0).UTC().Format(http.TimeFormat) }, time.Hour, time.Hour, time.Hour},
		"a huge number":       {503, func(time.Time) string { return strings.Repeat("9", 40) }, time.Hour, time.Hour, time.Hour},
		"a negative number":   {503, func(time.Time) string { return "-30" }, time.Second / 2, time.Second, 0},
		"a fraction":          {503, func(time.Time) string { return "1.5" }, time.Second / 2, time.Second, 0},
		"text":                {503, func(time.Time) string { return "soon" }, time.Second / 2, time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, w *senderHarness) {
				w.answer = func(_ string, attempt int) answer {
					if len(w.times) > 1 || attempt > 1 {
						return answer{status: http.StatusOK}
					}
					header := map[string]string{}
					if test.header != nil {
						header["Retry-After"] = test.header(time.Now())
					}
					return answer{test.status, header}
				}
				started := time.Now()
				w.publish("a/1")
				synctest.Wait()
				w.publish("b/1")
				synctest.Wait()
				w.sleep(test.others)
				if test.others == 0 {
					w.want("b/1")
				}
				w.sleep(2 * time.Hour)
				again := w.times[1].Sub(started)
				if test.others == 0 {
					again = w.times[2].Sub(started)
				}
				if again < test.from || again > test.to {
					t.Errorf("tried again after %v, want %v to %v", again, test.from, test.to)
				}
			})
		})
	}
}

// TestRetryAfterOfOne has an endpoint ask for a pause at each attempt of one event,
// while it takes all others: only the first pause is theirs too.
func TestRetryAfterOfOne(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.answer = func(id string, _ int) answer {
			if id == "a/1" {
				return answer{http.StatusTooManyRequests, map[string]string{"Retry-After": "3600"}}
			}
			return answer{status: http.StatusOK}
		}
		w.latency = 10 * time.Millisecond
		w.publish("a/1")
		w.sleep(time.Minute)
		w.publish("b/0")
		w.sleep(58 * time.Minute)
		w.want()
		w.sleep(2 * time.Minute)
		w.want("b/0")
		for n := range 5 {
			id := fmt.Sprintf("b/%d", n+1)
			w.publish(id)
			w.sleep(time.Minute)
			w.want(id)
			w.sleep(time.Hour)
		}
		w.mu.Lock()
		if n := w.tries["a/1"]; n < 5 || n > 8 { // about one an hour
			t.Errorf("%d attempts", n)
		}
		w.mu.Unlock()
		w.sleep(24 * time.Hour)
		w.wantLetters("a/1: the webhook responded with status 429")
	})
}

// TestManyHang has the endpoint hang for many syncs: the events of another one do
// not wait for them.
func TestManyHang(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.hang = func(id string) bool { return id[0] == 'a' }
		var ids []string
		for n := range 1000 {
			ids = append(ids, fmt.Sprintf("a%d/1", n))
		}
		w.publish(ids...)
		w.sleep(15 * time.Minute) // each is tried within six; from then on as many are tried again as may be
		for n := range 20 {
			id := fmt.Sprintf("b/%d", n)
			w.publish(id)
			w.sleep(time.Second)
			w.want(id)
		}
	})
}

// TestLongOutage has no sender run for days, and the endpoint fail for some
// time after that: nothing is given up for a time in which nothing was tried.
func TestLongOutage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.refuse("a", 503)
		w.publish("a/1", "a/2")
		w.sleep(time.Minute)
		w.stop()
		w.close() // the process ends
		w.sleep(72 * time.Hour)
		w.open()
		w.run()
		w.sleep(30 * time.Minute)
		w.wantLetters()
		w.refuse("", 0)
		w.sleep(5 * time.Minute)
		w.want("a/1", "a/2")
		w.refuse("a", 503)
		w.publish("a/3")
		w.sleep(time.Second)
		w.stop()
		w.close() // the process ends
		w.sleep(72 * time.Hour)
		w.open()
		w.run()
		w.sleep(90 * time.Minute)
		w.wantLetters("a/3: the webhook responded with status 503")
	})
}

// TestCrashWithAFullDisk has the disk fill while events are delivered: after a
// crash no more than those that were under way come again.
func TestCrashWithAFullDisk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newSenderHarness(t)
		if err := w.store.AddPending(t.Context(), nil, 0); err != nil {
			t.Fatal(err)
		}
		w.disk = &faultyStore{works: 1 << 30}
		w.run()
		w.latency = 100 * time.Millisecond
		var ids []string
		for n := range 200 {
			ids = append(ids, fmt.Sprintf("%d/1", n))
		}
		w.publish(ids...)
		w.sleep(150 * time.Millisecond)
		w.disk.fill()
		w.sleep(time.Hour)
		w.mu.Lock()
		delivered := len(w.taken)
		w.mu.Unlock()
		waiting, err := w.store.Pending()
		if err != nil {
			t.Fatal(err)
		}
		if again := len(waiting) - (200 - delivered); delivered < 64 || again > 32 {
			t.Errorf("%d were delivered, and %d of them would come again", delivered, again)
		}
		w.stop()
		w.close()
	})
}

// TestEndpointGone has an endpoint answer 410: nothing more is delivered until the next
// start, and the events are kept.
func TestEndpointGone(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.refuse("", 0)
		w.publish("a/1")
		w.sleep(time.Second)
		w.want("a/1")
		w.refuse("a", 410)
		w.publish("a/2")
		w.sleep(time.Second)
		attempts := len(w.times)
		if attempts != 2 || strings.Count(w.log.String(), "the webhook is gone (410)") != 1 {
			t.Errorf("%d attempts: %s", attempts, &w.log)
		}
		w.publish("a/3", "b/1")
		w.sleep(48 * time.Hour)
		if len(w.times) != attempts {
			t.Errorf("%d attempts after a 410", len(w.times)-attempts)
		}
		w.wantLetters()
		w.refuse("", 0)
		w.stop()
		w.run()
		w.sleep(time.Second)
		if len(w.taken) != 3 {
			t.Errorf("after the next start %v were taken", w.taken)
		}
	})
}

// TestRestart checks that a sender continues where the last one was: what was taken
// does not come again, whatever is before it.
func TestRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newSenderHarness(t)
		w.publish("a/0") // before there was a webhook
		w.run()
		w.refuse("a/1", 500)
		w.publish("a/1", "b/1", "a/2", "c/1")
		w.sleep(10 * time.Second)
		w.want("b/1", "c/1")
		w.stop()
		w.publish("b/2") // no sender runs
		w.close()
		w.open()
		w.run()
		w.sleep(10 * time.Second)
		w.want("b/2")
		w.refuse("", 0)
		w.publish("a/3")
		w.sleep(5 * time.Minute)
		w.want("a/1", "a/2", "a/3")
		w.stop()
		w.run()
		w.sleep(time.Hour)
		w.want()
		w.stop()
		w.close()
	})
}

// TestStop ends a sender while its endpoint hangs: in two seconds.
func TestStop(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.latency = time.Hour
		w.publish("a/1", "b/1")
		synctest.Wait()
		started := time.Now()
		w.stop()
		if took := time.Since(started); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
		w.latency = 0
		w.run()
		w.sleep(time.Second)
		w.want("a/1", "b/1")
	})
}

// TestHangs has an endpoint that never answers: each attempt ends after 15 s.
func TestHangs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.latency = time.Hour
		w.publish("a/1")
		w.sleep(15*time.Second - 1)
		w.latency = 0
		w.want()
		w.sleep(2 * time.Second)
		w.want("a/1")
	})
}

// TestTooMany checks the bound of what is kept for an endpoint that takes
// nothing, and of the dead letters.
func TestTooMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newSenderHarness(t)
		w.maxHeld, w.dead.Max = 100, 30
		w.run()
		w.refuse("a", 500)
		w.publish("a/1", "b/1")
		w.sleep(time.Second)
		w.want("b/1")
		var ids []string
		for n := range 98 {
			ids = append(ids, fmt.Sprintf("b/%d", n+2))
		}
		w.publish(ids...)
		w.sleep(time.Second)
		w.wantLetters()
		w.taken = nil
		w.publish("b/100") // a/1 is 100 behind it
		w.sleep(time.Second)
		w.want("b/100")
		w.wantLetters("a/1: too many events wait")
		w.refuse("c", 410) // nothing more is delivered
		ids = nil
		for n := range 150 {
			ids = append(ids, fmt.Sprintf("c/%d", n+1))
		}
		w.publish(ids...)
		w.sleep(time.Second)
		letters := w.letters()
		if len(letters) != 30 || letters[0] != "c/21: too many events wait" || letters[29] != "c/50: too many events wait" {
			t.Errorf("the dead letters are %v", letters)
		}
		if !strings.Contains(w.log.String(), "old dead letters removed") {
			t.Error("the log does not report that dead letters are removed")
		}
		waiting, err := w.store.Pending()
		if err != nil || len(waiting) != 100 {
			t.Errorf("%d events wait, %v", len(waiting), err)
		}
		w.stop()
		w.close()
	})
}

// faultyStore is a store of which some calls fail.
type faultyStore struct {
	*bolt.Store
	mu              sync.Mutex
	works, failures int  // calls that succeed, then calls that fail
	full            bool // every write fails
}

// fill makes every write fail from now on.
func (d *faultyStore) fill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = true
}

func (d *faultyStore) write() error {
	d.mu.Lock()
	full := d.full
	d.mu.Unlock()
	if full {
		return syscall.ENOSPC
	}
	return d.fail()
}

func (d *faultyStore) fail() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.works--; d.works >= 0 {
		return nil
	}
	if d.failures--; d.failures < 0 {
		return nil
	}
	return syscall.ENOSPC
}

func (d *faultyStore) StartCheckpoint(ctx context.Context, name string) (uint64, error) {
	if err := d.fail(); err != nil {
		return 0, err
	}
	return d.Store.StartCheckpoint(ctx, name)
}

func (d *faultyStore) Events(after uint64, limit int) ([]bolt.Entry, error) {
	if err := d.fail(); err != nil {
		return nil, err
	}
	return d.Store.Events(after, limit)
}

func (d *faultyStore) Event(sequence uint64) (event.Event, bool, error) {
	if err := d.fail(); err != nil {
		return event.Event{}, false, err
	}
	return d.Store.Event(sequence)
}

func (d *faultyStore) AddPending(ctx context.Context, events []bolt.Pending, until uint64) error {
	if err := d.write(); err != nil {
		return err
	}
	return d.Store.AddPending(ctx, events, until)
}

func (d *faultyStore) Pending() ([]bolt.Pending, error) {
	if err := d.fail(); err != nil {
		return nil, err
	}
	return d.Store.Pending()
}

func (d *faultyStore) RemovePending(ctx context.Context, sequences ...uint64) error {
	if err := d.write(); err != nil {
		return err
	}
	return d.Store.RemovePending(ctx, sequences...)
}

// TestFullDisk has every call of the store fail for a while, from the n-th on. The
// sender continues by itself, and delivers each event once.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for first := range 14 { // all calls until the last event is delivered
		t.Run(fmt.Sprint(first), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newSenderHarness(t)
				if err := w.store.AddPending(t.Context(), nil, 0); err != nil {
					t.Fatal(err)
				}
				w.disk = &faultyStore{works: first, failures: 20}
				w.run()
				w.publish("a/1", "b/1", "a/2")
				w.sleep(time.Minute)
				w.want("a/1", "a/2", "b/1")
				if waiting, err := w.store.Pending(); err != nil || len(waiting) != 0 {
					t.Errorf("there wait %v, %v", waiting, err)
				}
				if got := strings.Count(w.log.String(), syscall.ENOSPC.Error()); got == 0 || got > 20 {
					t.Errorf("%d errors are logged:\n%s", got, &w.log)
				}
				w.stop()
				w.run()
				w.sleep(time.Minute)
				w.want()
				w.stop()
				w.close()
			})
		})
	}
}

// TestDeadLettersInUse has another process hold the file of the dead letters when
// one is to be added: nothing is lost.
func TestDeadLettersInUse(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.refuse("a/1", 500)
		w.publish("a/1", "a/2")
		w.sleep(23 * time.Hour)
		w.wantLetters() // makes the file
		held, err := os.Open(w.dead.Path)
		if err == nil {
			err = syscall.Flock(int(held.Fd()), syscall.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.sleep(80 * time.Minute) // a/1 is given up after one
		w.want("a/2")
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		w.sleep(time.Minute)
		w.wantLetters("a/1: the webhook responded with status 500")
		if waiting, err := w.store.Pending(); err != nil || len(waiting) != 0 {
			t.Errorf("there wait %v, %v", waiting, err)
		}
	})
}

// TestDeadLettersDamaged checks that a damaged file of dead letters delays no event but
// those that belong in it, and that a new file is used soon.
func TestDeadLettersDamaged(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, w *senderHarness) {
		w.refuse("a/1", 500)
		w.publish("a/1", "a/2")
		w.sleep(23 * time.Hour)
		w.wantLetters() // makes the file
		if err := os.WriteFile(w.dead.Path, bytes.Repeat([]byte("x"), 1<<15), 0o600); err != nil {
			t.Fatal(err)
		}
		w.sleep(2 * time.Hour)
		w.want("a/2")
		for i := range 3 { // within the time in which the file is left alone
			id := fmt.Sprintf("b/%d", i)
			w.publish(id)
			w.sleep(time.Second)
			w.want(id)
		}
		if tries := strings.Count(w.log.String(), "is damaged"); tries == 0 || tries > 130 {
			t.Errorf("in two hours there were %d attempts", tries)
		}
		if err := os.Remove(w.dead.Path); err != nil {
			t.Fatal(err)
		}
		w.sleep(2 * time.Minute)
		w.wantLetters("a/1: the webhook responded with status 500")
		if waiting, err := w.store.Pending(); err != nil || len(waiting) != 0 {
			t.Errorf("there wait %v, %v", waiting, err)
		}
	})
}

// TestHeaders checks the attributes as headers (CloudEvents, HTTP protocol
// binding, section 3.1.3.2, whose example is the first).
func TestHeaders(t *testing.T) {
	t.Parallel()
	for workspace, want := range map[string]string{
		"Euro € 😀":       "Euro%20%E2%82%AC%20%F0%9F%98%80",
		`100%"x"`:        "100%25%22x%22",
		"a b\tc\x7f\r\n": "a%20b%09c%7F%0D%0A",
		"plain-~!'()/:@": "plain-~!'()/:@",
		"a\xff":          "a%EF%BF%BD",
		"":               "",
	} {
		var got http.Header
		client, err := webhook.NewClient(webhook.Config{URL: "https://example.com", Secret: secret}, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			got = r.Header
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
		})
		if err := client.Send(t.Context(), "https://api.example.com", event.Event{Kind: event.Due, ID: "a/1", Workspace: workspace}); err != nil {
			t.Fatal(err)
		}
		if values := got.Values("Ce-Workspace"); strings.Join(values, "|") != want || want == "" && values != nil {
			t.Errorf("%q becomes %q, want %q", workspace, values, want)
		}
		if values := got.Values("Ce-Subject"); values != nil {
			t.Errorf("a subject of %q", values)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
