package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/fault"
	"syncplane/pkg/ratelimit"
)

// RunRateLimits tests the promises of ratelimit.Store.
func RunRateLimits(t *testing.T, open func(t *testing.T) ratelimit.Store) {
	t.Helper()
	runAll(t, open, []test[ratelimit.Store]{
		{"a bucket empties and refills", testBucket},
		{"a clock that is set back delays a token by one window at most", testClockSetBack},
		{"a shorter window applies at once", testShorterWindow},
		{"workspaces have separate buckets", testBucketWorkspaces},
		{"concurrent calls take as many tokens as there are", testConcurrentTakes},
		{"a token that is given back can be taken again", testGive},
		{"a limiter reports when the next token is available", testLimiter},
		{"a limiter refuses for one window at most after its clock was set back", testLimiterClockSetBack},
		{"concurrent callers of a limiter get different remaining counts", testLimiterConcurrent},
		{"a cancelled context is Unavailable", testRateLimitCancelled},
	})
}

// policy returns the rate limit of most tests: its emission interval is 15
// seconds.
func policy() ratelimit.Policy { return ratelimit.Policy{Quota: 4, Window: time.Minute} }

// startTime returns the time at which the tests of rate limits begin.
func startTime() time.Time { return time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC) }

func newWorkspace() string { return "w-" + uuid.NewString() }

// bucket is the bucket of one workspace. Its times count from startTime.
type bucket struct {
	store     ratelimit.Store
	workspace string
}

func newBucket(store ratelimit.Store) bucket { return bucket{store, newWorkspace()} }

// take takes a token at a time and compares the theoretical arrival time.
func (b bucket) take(t *testing.T, at, wantTAT time.Duration, wantOK bool) {
	t.Helper()
	tat, ok, err := b.store.Take(t.Context(), b.workspace, policy(), startTime().Add(at))
	if err != nil || ok != wantOK || !tat.Equal(startTime().Add(wantTAT)) {
		t.Errorf("at %v: got %v, %t, %v, want %v, %t", at, tat.Sub(startTime()), ok, err, wantTAT, wantOK)
	}
}

func (b bucket) give(t *testing.T, at time.Duration) {
	t.Helper()
	if err := b.store.Give(t.Context(), b.workspace, policy(), startTime().Add(at)); err != nil {
		t.Error(err)
	}
}

func testBucket(t *testing.T, store ratelimit.Store) {
	b := newBucket(store)
	for _, step := range []struct {
		at, tat time.Duration
		ok      bool
	}{
		{0, 15 * time.Second, true},
		{0, 30 * time.Second, true},
		{time.Second, 45 * time.Second, true},
		{time.Second, 60 * time.Second, true},
		{time.Second, 60 * time.Second, false},
		{15*time.Second - time.Microsecond, 60 * time.Second, false},
		{15 * time.Second, 75 * time.Second, true},
		{16 * time.Second, 75 * time.Second, false},
		{time.Hour, time.Hour + 15*time.Second, true}, // the bucket has been full for long
	} {
		b.take(t, step.at, step.tat, step.ok)
	}
}

func testClockSetBack(t *testing.T, store ratelimit.Store) {
	for _, ahead := range []time.Duration{time.Second, time.Minute, 2 * time.Hour, 10 * 365 * 24 * time.Hour} {
		t.Run("by "+ahead.String(), func(t *testing.T) {
			b := newBucket(store)
			for i := range policy().Quota {
				b.take(t, ahead, ahead+time.Duration(i+1)*15*time.Second, true)
			}
			b.take(t, ahead, ahead+time.Minute, false)
			b.take(t, 0, time.Minute, false) // as if the bucket had been emptied now
			b.take(t, time.Second, time.Minute, false)
			b.take(t, 15*time.Second-time.Microsecond, time.Minute, false)
			b.take(t, 15*time.Second, 75*time.Second, true)
			b.take(t, 15*time.Second, 75*time.Second, false)
			b.take(t, -time.Hour, -time.Hour+time.Minute, false) // set back once more
			b.take(t, -time.Hour+30*time.Second, -time.Hour+75*time.Second, true)
			b.take(t, -time.Hour+30*time.Second, -time.Hour+90*time.Second, true)
			b.take(t, -time.Hour+30*time.Second, -time.Hour+90*time.Second, false)
		})
	}
}

func testShorterWindow(t *testing.T, store ratelimit.Store) {
	workspace := newWorkspace()
	long := ratelimit.Policy{Quota: 1, Window: 24 * time.Hour}
	if _, ok, err := store.Take(t.Context(), workspace, long, startTime()); !ok || err != nil {
		t.Fatalf("got %t, %v", ok, err)
	}
	for _, step := range []struct {
		at time.Duration // since startTime
		ok bool
	}{{0, false}, {14 * time.Second, false}, {15 * time.Second, true}} {
		if _, ok, err := store.Take(t.Context(), workspace, policy(), startTime().Add(step.at)); ok != step.ok || err != nil {
			t.Errorf("after %v: got %t, %v", step.at, ok, err)
		}
	}
}

func testBucketWorkspaces(t *testing.T, store ratelimit.Store) {
	workspace := newWorkspace()
	for range policy().Quota + 1 {
		if _, _, err := store.Take(t.Context(), workspace, policy(), startTime()); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, err := store.Take(t.Context(), workspace+"2", policy(), startTime()); !ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
}

func testConcurrentTakes(t *testing.T, store ratelimit.Store) {
	const callers = 16
	workspace := newWorkspace()
	var all sync.WaitGroup
	var taken atomic.Int64
	for range callers {
		all.Go(func() {
			_, ok, err := store.Take(context.WithoutCancel(t.Context()), workspace, policy(), startTime())
			if err != nil {
				t.Error(err)
			}
			if ok {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if taken.Load() != policy().Quota {
		t.Errorf("%d of %d callers got a token, want %d", taken.Load(), callers, policy().Quota)
	}
}

func testGive(t *testing.T, store ratelimit.Store) {
	b, quota := newBucket(store), policy().Quota
	b.give(t, 0) // there is no bucket yet
	for i := range quota {
		b.take(t, 0, time.Duration(i+1)*15*time.Second, true)
	}
	b.take(t, 0, time.Minute, false)
	b.give(t, time.Second)
	b.take(t, time.Second, time.Minute, true)
	b.take(t, time.Second, time.Minute, false)
	for range quota + 2 { // never more than a full bucket
		b.give(t, 2*time.Second)
	}
	for i := range quota {
		b.take(t, 3*time.Second, 3*time.Second+time.Duration(i+1)*15*time.Second, true)
	}
	b.take(t, 3*time.Second, 63*time.Second, false)
	b.give(t, time.Hour) // the bucket has been full for long
	b.take(t, time.Hour, time.Hour+15*time.Second, true)
}

func testRateLimitCancelled(t *testing.T, store ratelimit.Store) {
	b := newBucket(store)
	b.take(t, 0, 15*time.Second, true)
	WantRefused(t, map[string]func(ctx context.Context) error{
		"Take": func(ctx context.Context) error {
			_, _, err := store.Take(ctx, b.workspace, policy(), startTime())
			return err
		},
		"Give": func(ctx context.Context) error { return store.Give(ctx, b.workspace, policy(), startTime()) },
	})
	b.take(t, 0, 30*time.Second, true)
}

func testLimiter(t *testing.T, store ratelimit.Store) {
	now, workspace := startTime(), newWorkspace()
	limiter := &ratelimit.Limiter{Policy: ratelimit.Policy{Quota: 3, Window: 30 * time.Second}, Store: store, Now: func() time.Time { return now }}
	for i, step := range []struct {
		after time.Duration // since the previous step
		want  ratelimit.Allowance
		ok    bool
	}{
		{0, ratelimit.Allowance{Remaining: 2, Next: 10 * time.Second}, true},
		{0, ratelimit.Allowance{Remaining: 1, Next: 10 * time.Second}, true},
		{0, ratelimit.Allowance{Remaining: 0, Next: 10 * time.Second}, true},
		{0, ratelimit.Allowance{Remaining: 0, Next: 10 * time.Second}, false},
		{4 * time.Second, ratelimit.Allowance{Remaining: 0, Next: 6 * time.Second}, false},
		{6*time.Second - time.Millisecond, ratelimit.Allowance{Remaining: 0, Next: time.Millisecond}, false},
		{time.Millisecond, ratelimit.Allowance{Remaining: 0, Next: 10 * time.Second}, true},
		{25 * time.Second, ratelimit.Allowance{Remaining: 1, Next: 5 * time.Second}, true},
		{-2 * time.Hour, ratelimit.Allowance{Remaining: 0, Next: 10 * time.Second}, false},
		{9 * time.Second, ratelimit.Allowance{Remaining: 0, Next: time.Second}, false},
		{time.Second, ratelimit.Allowance{Remaining: 0, Next: 10 * time.Second}, true},
	} {
		now = now.Add(step.after)
		got, err := limiter.Take(t.Context(), workspace)
		if diff := cmp.Diff(step.want, got); diff != "" {
			t.Errorf("step %d: %s", i, diff)
		}
		if step.ok != (err == nil) {
			t.Errorf("step %d: got %v", i, err)
		}
		if err != nil {
			wantThrottled(t, err, got)
		}
	}
}

func testLimiterClockSetBack(t *testing.T, store ratelimit.Store) {
	quota := policy().Quota
	var all errgroup.Group // the tests have buckets of their own; bbolt stores the tokens of several in one commit
	all.SetLimit(8)
	for name, step := range map[string]time.Duration{
		"a second": time.Second, "half a window": 30 * time.Second, "a window": time.Minute, "two hours": 2 * time.Hour,
		"ten years": 10 * 365 * 24 * time.Hour, "to 1970": startTime().Sub(time.Unix(5, 0)), "a century": 100 * 365 * 24 * time.Hour,
	} {
		for _, given := range []int64{0, 1} { // tokens that are given back after the step
			for _, used := range []int64{1, quota, quota + 1} {
				clockSetBack := func(t *testing.T) {
					t.Helper()
					now, workspace := startTime(), newWorkspace()
					limiter := &ratelimit.Limiter{Policy: policy(), Store: store, Now: func() time.Time { return now }}
					for range used {
						_, _ = limiter.Take(t.Context(), workspace)
					}
					now = now.Add(-step)
					for range given {
						if err := limiter.Give(t.Context(), workspace); err != nil {
							t.Fatal(err)
						}
					}
					// A client that sends a request every five seconds for a window.
					var taken int64
					for range 12 {
						allowance, err := limiter.Take(t.Context(), workspace)
						if allowance.Next <= 0 || allowance.Next > policy().Window || allowance.Remaining < 0 || allowance.Remaining >= quota {
							t.Fatalf("got %+v, %v", allowance, err)
						}
						if err == nil {
							taken++
						} else {
							wantThrottled(t, err, allowance)
						}
						now = now.Add(5 * time.Second)
					}
					if taken < quota-1 || taken > 2*quota {
						t.Errorf("%d tokens were taken in a window", taken)
					}
				}
				all.Go(func() error {
					t.Run(fmt.Sprintf("%s, %d used, %d given back", name, used, given), clockSetBack)
					return nil
				})
			}
		}
	}
	_ = all.Wait() // the tests report their errors
}

func testLimiterConcurrent(t *testing.T, store ratelimit.Store) {
	const callers = 16
	quota, workspace := policy().Quota, newWorkspace()
	limiter := &ratelimit.Limiter{Policy: policy(), Store: store, Now: startTime}
	results, errs := make([]ratelimit.Allowance, callers), make([]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() { results[i], errs[i] = limiter.Take(context.WithoutCancel(t.Context()), workspace) })
	}
	all.Wait()
	remaining := map[int64]bool{} // the counts that were returned
	for i, got := range results {
		if got.Next <= 0 || got.Next > policy().EmissionInterval() {
			t.Errorf("caller %d: the next token is available in %v", i, got.Next)
		}
		switch {
		case errs[i] != nil:
			wantThrottled(t, errs[i], got)
			if got.Remaining != 0 {
				t.Errorf("caller %d: refused with %d remaining", i, got.Remaining)
			}
		case remaining[got.Remaining] || got.Remaining < 0 || got.Remaining >= quota:
			t.Errorf("caller %d: got %+v, as another caller did", i, got)
		default:
			remaining[got.Remaining] = true
		}
	}
	if int64(len(remaining)) != quota {
		t.Errorf("%d of %d callers got a token, want %d", len(remaining), callers, quota)
	}
}

// wantThrottled checks that err is a fault.Throttled whose RetryAfter is the wait for
// the next token.
func wantThrottled(t *testing.T, err error, allowance ratelimit.Allowance) {
	t.Helper()
	throttled, ok := errors.AsType[*fault.Error](err)
	if !ok || throttled.Kind != fault.Throttled {
		t.Fatalf("got %v, want a fault.Throttled", err)
	}
	if throttled.RetryAfter != allowance.Next {
		t.Errorf("refused for %v, and the next token is available in %v", throttled.RetryAfter, allowance.Next)
	}
}
