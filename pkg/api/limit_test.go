package api_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
	"syncplane/pkg/app"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
)

// limited is an API whose workspaces have a limit, with a clock that the test sets.
type limited struct {
	*api.API
	mu  sync.Mutex
	now time.Time
}

func (l *limited) clock() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *limited) advance(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// onAllBackends runs a test on both storage backends.
func onAllBackends(t *testing.T, policy ratelimit.Policy, test func(t *testing.T, l *limited)) {
	t.Helper()
	backends := map[string]func(t *testing.T) interface {
		syncs.Store
		ratelimit.Store
	}{
		"bolt": func(t *testing.T) interface {
			syncs.Store
			ratelimit.Store
		} {
			return newHarness(t).store
		},
		"dynamo": func(t *testing.T) interface {
			syncs.Store
			ratelimit.Store
		} {
			return app.DynamoDB(dynamotest.NewTable(t))
		},
	}
	for name, open := range backends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			l := &limited{now: time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)}
			l.API = api.New(api.Config{
				Syncs: &syncs.Service{Store: store, Now: l.clock, NewID: func() (string, error) {
					id, err := uuid.NewV7()
					return id.String(), err
				}},
				Caller: caller, Log: slog.New(slog.DiscardHandler), Now: l.clock,
				CreateLimit: &ratelimit.Limiter{Policy: policy, Store: store, Now: l.clock},
			})
			test(t, l)
		})
	}
}

// limitedAnswer holds what a response shows of the limit.
type limitedAnswer struct {
	Status                        int
	Policy, Limit, Retry, Replays string
}

func (l *limited) post(t *testing.T, body, key string) (limitedAnswer, string) {
	t.Helper()
	r := good(body)
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	apitest.Check(t, r, w.Code, w.Header(), w.Body.Bytes())
	h := w.Header()
	return limitedAnswer{w.Code, h.Get("Ratelimit-Policy"), h.Get("Ratelimit"), h.Get("Retry-After"), h.Get("Idempotent-Replayed")}, w.Body.String()
}

// TestLimit checks draft-ietf-httpapi-ratelimit-headers-10: t is the time until
// a create is available, and Retry-After is never earlier.
func TestLimit(t *testing.T) {
	t.Parallel()
	const policy = `"create";q=3;w=60`
	onAllBackends(t, ratelimit.Policy{Quota: 3, Window: time.Minute}, func(t *testing.T, l *limited) {
		for i, step := range []struct {
			after time.Duration
			want  limitedAnswer
		}{
			{0, limitedAnswer{200, policy, `"create";r=2;t=20`, "", ""}},
			{0, limitedAnswer{200, policy, `"create";r=1;t=20`, "", ""}},
			{0, limitedAnswer{200, policy, `"create";r=0;t=20`, "", ""}},
			{0, limitedAnswer{429, policy, `"create";r=0;t=20`, "20", ""}},
			{500 * time.Millisecond, limitedAnswer{429, policy, `"create";r=0;t=20`, "20", ""}},
			{12500 * time.Millisecond, limitedAnswer{429, policy, `"create";r=0;t=7`, "7", ""}},
			{7*time.Second - time.Millisecond, limitedAnswer{429, policy, `"create";r=0;t=1`, "1", ""}},
			{time.Millisecond, limitedAnswer{200, policy, `"create";r=0;t=20`, "", ""}},
			{45 * time.Second, limitedAnswer{200, policy, `"create";r=1;t=15`, "", ""}},
		} {
			l.advance(step.after)
			got, body := l.post(t, goodBody, "")
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("step %d: %s: %s", i, diff, body)
			}
		}
		other := good(goodBody)
		other.Header.Set("Authorization", "Bearer other syncs:write")
		w := httptest.NewRecorder()
		if l.ServeHTTP(w, other); w.Code != http.StatusOK {
			t.Errorf("another workspace got %d", w.Code)
		}
	})
}

// TestInvalidNotCounted checks that a request that creates nothing because
// of its content takes nothing from the limit.
func TestInvalidNotCounted(t *testing.T) {
	t.Parallel()
	onAllBackends(t, ratelimit.Policy{Quota: 2, Window: time.Minute}, func(t *testing.T, l *limited) {
		refused := func() {
			t.Helper()
			for body, want := range map[string]int{
				"":                     400,
				"{":                    400,
				goodBody + "x":         400,
				"[]":                   400,
				`{"sync":{},"sync":0}`: 400,
				`{}`:                   422,
				`{"sync":{}}`:          422,
				strings.Replace(goodBody, "automated", "hourly", 1):   422,
				strings.Replace(goodBody, "0 6 * * 1-5", "x", 1):      422,
				strings.Replace(goodBody, `"model_id":3`, `"m":1`, 1): 422,
				strings.Repeat("x", 256<<10+1):                        413,
			} {
				for _, key := range []string{"", "a"} {
					if got, text := l.post(t, body, key); got.Status != want || got.Limit != "" {
						t.Errorf("%.40s: got %+v %.200s, want %d", body, got, text, want)
					}
				}
			}
			if got, _ := l.post(t, goodBody, "a, b"); got.Status != http.StatusBadRequest || got.Limit != "" {
				t.Errorf("a malformed key: got %+v", got)
			}
		}
		refused()
		for _, want := range []string{`"create";r=1;t=30`, `"create";r=0;t=30`} {
			if got, text := l.post(t, goodBody, ""); got.Limit != want || got.Status != http.StatusOK {
				t.Errorf("got %+v %s, want %s", got, text, want)
			}
			refused()
		}
		if got, _ := l.post(t, goodBody, ""); got.Status != http.StatusTooManyRequests {
			t.Errorf("got %+v, want 429", got)
		}
		refused() // what is wrong is reported first
	})
}

// TestReplayNotCounted checks that a repeated create is answered even if nothing is
// left, and takes nothing.
func TestReplayNotCounted(t *testing.T) {
	t.Parallel()
	onAllBackends(t, ratelimit.Policy{Quota: 3, Window: time.Minute}, func(t *testing.T, l *limited) {
		first, text := l.post(t, goodBody, "a")
		if first.Status != http.StatusOK || first.Limit != `"create";r=2;t=20` {
			t.Fatalf("got %+v %s", first, text)
		}
		replayed := func() {
			t.Helper()
			for range 5 {
				got, again := l.post(t, goodBody, "a")
				if diff := cmp.Diff(limitedAnswer{Status: http.StatusOK, Replays: "true"}, got); diff != "" || again != text {
					t.Errorf("got %s: %s", again, diff)
				}
				// The same key for something else is an error of its own.
				other := strings.Replace(goodBody, "contacts", "companies", 1)
				if got, again := l.post(t, other, "a"); got.Status != http.StatusUnprocessableEntity || !strings.Contains(again, "idempotency_key_reused") || got.Limit != "" {
					t.Errorf("got %+v %s", got, again)
				}
			}
		}
		replayed()
		for _, key := range []string{"b", ""} {
			l.post(t, goodBody, key)
		}
		if got, _ := l.post(t, goodBody, "c"); got.Status != http.StatusTooManyRequests || got.Limit != `"create";r=0;t=20` || got.Retry != "20" {
			t.Errorf("got %+v, want 429", got)
		}
		replayed()
		l.advance(20 * time.Second)
		replayed()
		if got, _ := l.post(t, goodBody, "c"); got.Status != http.StatusOK || got.Limit != `"create";r=0;t=20` {
			t.Errorf("got %+v, want 200", got)
		}

		// A key that has expired is a new request.
		l.advance(syncs.KeyLife)
		if got, _ := l.post(t, goodBody, "a"); got.Status != http.StatusOK || got.Replays != "" || got.Limit != `"create";r=2;t=20` {
			t.Errorf("got %+v", got)
		}
	})
}

// TestLimitAtOnce repeats creates from many clients at once: each key takes
// one token, however often it is sent.
func TestLimitAtOnce(t *testing.T) {
	t.Parallel()
	const keys, times = 4, 6
	onAllBackends(t, ratelimit.Policy{Quota: keys + 1, Window: time.Hour}, func(t *testing.T, l *limited) {
		var all sync.WaitGroup
		for key := range keys {
			for range times {
				all.Go(func() {
					for range 50 { // 429 and 409 are repeated
						switch got, text := l.post(t, goodBody, "key-"+strconv.Itoa(key)); got.Status {
						case http.StatusOK:
							return
						case http.StatusConflict, http.StatusTooManyRequests:
						default:
							t.Errorf("got %+v %s", got, text)
							return
						}
					}
					t.Errorf("key %d: never its turn", key)
				})
			}
		}
		all.Wait()
		if got, text := l.post(t, goodBody, ""); got.Status != http.StatusOK || !strings.HasPrefix(got.Limit, `"create";r=0;`) {
			t.Errorf("after %d keys: got %+v %s", keys, got, text)
		}
		for i := range 3 {
			if got, _ := l.post(t, goodBody, fmt.Sprintf("late-%d", i)); got.Status != http.StatusTooManyRequests {
				t.Errorf("got %+v, want 429", got)
			}
		}
	})
}
