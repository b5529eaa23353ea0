// Package quotatest holds the promises of quota.Store as tests. Every engine
// runs them.
package ratelimittest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/fault"
	"syncplane/pkg/ratelimit"
)

// Run holds the store that open returns to its promises.
func Run(t *testing.T, open func(t *testing.T) ratelimit.Store) {
	t.Helper()
	policy := ratelimit.Policy{Quota: 4, Window: time.Minute}
	start := time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)

	t.Run("a bucket empties and fills up", func(t *testing.T) {
		store, workspace := open(t), "w-"+uuid.NewString()
		for i, step := range []struct {
			at   time.Duration // since start
			full time.Duration // since start
			ok   bool
		}{
			{0, 15 * time.Second, true},
			{0, 30 * time.Second, true},
			{time.Second, 45 * time.Second, true},
			{time.Second, 60 * time.Second, true},
			{time.Second, 60 * time.Second, false},
			{15*time.Second - time.Microsecond, 60 * time.Second, false},
			{15 * time.Second, 75 * time.Second, true},
			{16 * time.Second, 75 * time.Second, false},
			{time.Hour, time.Hour + 15*time.Second, true}, // long full
		} {
			full, ok, err := store.Take(t.Context(), workspace, policy, start.Add(step.at))
			if err != nil || ok != step.ok || !full.Equal(start.Add(step.full)) {
				t.Errorf("step %d: got %v, %t, %v, want %v, %t", i, full.Sub(start), ok, err, step.full, step.ok)
			}
		}
	})

	t.Run("a clock that is set back costs a window at most", func(t *testing.T) {
		for _, ahead := range []time.Duration{time.Second, time.Minute, 2 * time.Hour, 10 * 365 * 24 * time.Hour} {
			store, workspace := open(t), "w-"+uuid.NewString()
			take := func(at, full time.Duration, want bool) {
				t.Helper()
				got, ok, err := store.Take(t.Context(), workspace, policy, start.Add(at))
				if err != nil || ok != want || !got.Equal(start.Add(full)) {
					t.Errorf("%v ahead, at %v: got %v, %t, %v, want %v, %t", ahead, at, got.Sub(start), ok, err, full, want)
				}
			}
			for i := range policy.Quota {
				take(ahead, ahead+time.Duration(i+1)*15*time.Second, true)
			}
			take(ahead, ahead+time.Minute, false)
			take(0, time.Minute, false) // as if it had been emptied now
			take(time.Second, time.Minute, false)
			take(15*time.Second-time.Microsecond, time.Minute, false)
			take(15*time.Second, 75*time.Second, true)
			take(15*time.Second, 75*time.Second, false)
			take(-time.Hour, -time.Hour+time.Minute, false) // back once more
			take(-time.Hour+30*time.Second, -time.Hour+75*time.Second, true)
			take(-time.Hour+30*time.Second, -time.Hour+90*time.Second, true)
			take(-time.Hour+30*time.Second, -time.Hour+90*time.Second, false)
		}
	})

	t.Run("a shorter window counts at once", func(t *testing.T) {
		store, workspace := open(t), "w-"+uuid.NewString()
		long := ratelimit.Policy{Quota: 1, Window: 24 * time.Hour}
		if _, ok, err := store.Take(t.Context(), workspace, long, start); !ok || err != nil {
			t.Fatalf("got %t, %v", ok, err)
		}
		for _, step := range []struct {
			at time.Duration // since start
			ok bool
		}{{0, false}, {14 * time.Second, false}, {15 * time.Second, true}} {
			if _, ok, err := store.Take(t.Context(), workspace, policy, start.Add(step.at)); ok != step.ok || err != nil {
				t.Errorf("after %v: got %t, %v", step.at, ok, err)
			}
		}
	})

	t.Run("a workspace has its own", func(t *testing.T) {
		store, workspace := open(t), "w-"+uuid.NewString()
		for range policy.Quota + 1 {
			if _, _, err := store.Take(t.Context(), workspace, policy, start); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok, err := store.Take(t.Context(), workspace+"2", policy, start); !ok || err != nil {
			t.Errorf("got %t, %v", ok, err)
		}
	})

	t.Run("of many at once as many get one as there are", func(t *testing.T) {
		store, workspace := open(t), "w-"+uuid.NewString()
		var all sync.WaitGroup
		var taken atomic.Int64
		for range 16 {
			all.Go(func() {
				_, ok, err := store.Take(context.WithoutCancel(t.Context()), workspace, policy, start)
				if err != nil {
					t.Error(err)
				}
				if ok {
					taken.Add(1)
				}
			})
		}
		all.Wait()
		if taken.Load() != policy.Quota {
			t.Errorf("%d of 16 got a token, want %d", taken.Load(), policy.Quota)
		}
	})

	t.Run("a token that is given back can be taken again", func(t *testing.T) {
		store, workspace := open(t), "w-"+uuid.NewString()
		take := func(at, full time.Duration, want bool) {
			t.Helper()
			got, ok, err := store.Take(t.Context(), workspace, policy, start.Add(at))
			if err != nil || ok != want || !got.Equal(start.Add(full)) {
				t.Errorf("at %v: got %v, %t, %v, want %v, %t", at, got.Sub(start), ok, err, full, want)
			}
		}
		give := func(at time.Duration) {
			t.Helper()
			if err := store.Give(t.Context(), workspace, policy, start.Add(at)); err != nil {
				t.Error(err)
			}
		}
		give(0) // there is no bucket yet
		for i := range policy.Quota {
			take(0, time.Duration(i+1)*15*time.Second, true)
		}
		take(0, time.Minute, false)
		give(time.Second)
		take(time.Second, time.Minute, true)
		take(time.Second, time.Minute, false)
		for range policy.Quota + 2 { // never more than a full bucket
			give(2 * time.Second)
		}
		for i := range policy.Quota {
			take(3*time.Second, 3*time.Second+time.Duration(i+1)*15*time.Second, true)
		}
		take(3*time.Second, 63*time.Second, false)
		give(time.Hour) // long full
		take(time.Hour, time.Hour+15*time.Second, true)
	})

	t.Run("a limit reports when the next token is there", func(t *testing.T) {
		now := start
		limit := &ratelimit.Limiter{Policy: ratelimit.Policy{Quota: 3, Window: 30 * time.Second}, Store: open(t), Now: func() time.Time { return now }}
		workspace := "w-" + uuid.NewString()
		for i, step := range []struct {
			after time.Duration // since the step before
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
			got, err := limit.Take(t.Context(), workspace)
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("step %d: %s", i, diff)
			}
			throttled, refused := errors.AsType[*fault.Error](err)
			switch {
			case step.ok != (err == nil):
				t.Errorf("step %d: got %v", i, err)
			case refused && (throttled.Kind != fault.Throttled || throttled.RetryAfter != got.Next):
				t.Errorf("step %d: got %v after %v, want %v", i, err, throttled.RetryAfter, got.Next)
			}
		}
	})

	for name, step := range map[string]time.Duration{
		"a second": time.Second, "half a window": 30 * time.Second, "a window": time.Minute, "two hours": 2 * time.Hour,
		"ten years": 10 * 365 * 24 * time.Hour, "to 1970": start.Sub(time.Unix(5, 0)), "a century": 100 * 365 * 24 * time.Hour,
	} {
		t.Run("a clock that is set back by "+name+" refuses for one window at most", func(t *testing.T) {
			for _, given := range []int64{0, 1} { // tokens given back after the step
				for _, used := range []int64{1, policy.Quota, policy.Quota + 1} {
					now := start
					limit := &ratelimit.Limiter{Policy: policy, Store: open(t), Now: func() time.Time { return now }}
					workspace := "w-" + uuid.NewString()
					for range used {
						_, _ = limit.Take(t.Context(), workspace)
					}
					now = now.Add(-step)
					for range given {
						if err := limit.Give(t.Context(), workspace); err != nil {
							t.Fatal(err)
						}
					}
					// A client that asks all the time, as bad ones do.
					var taken int64
					for range 12 {
						allowance, err := limit.Take(t.Context(), workspace)
						if err != nil && !fault.Is(err, fault.Throttled) {
							t.Fatal(err)
						}
						if allowance.Next <= 0 || allowance.Next > policy.Window || allowance.Remaining < 0 || allowance.Remaining >= policy.Quota {
							t.Fatalf("after %d of %d: got %+v, %v", used, policy.Quota, allowance, err)
						}
						if err == nil {
							taken++
						} else if throttled, _ := errors.AsType[*fault.Error](err); throttled.RetryAfter > policy.Window {
							t.Fatalf("refused for %v", throttled.RetryAfter)
						}
						now = now.Add(5 * time.Second)
					}
					if most := 2 * policy.Quota; taken < policy.Quota-1 || taken > most {
						t.Errorf("after %d of %d: %d in a window", used, policy.Quota, taken)
					}
				}
			}
		})
	}

	t.Run("of many at once each is given another remaining number", func(t *testing.T) {
		const callers = 16
		limit := &ratelimit.Limiter{Policy: policy, Store: open(t), Now: func() time.Time { return start }}
		workspace := "w-" + uuid.NewString()
		results, refused := make([]ratelimit.Allowance, callers), make([]error, callers)
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() { results[i], refused[i] = limit.Take(context.WithoutCancel(t.Context()), workspace) })
		}
		all.Wait()
		given := map[int64]bool{}
		for i, got := range results {
			if got.Next <= 0 || got.Next > policy.EmissionInterval() {
				t.Errorf("caller %d: the next token is there in %v", i, got.Next)
			}
			throttled, no := errors.AsType[*fault.Error](refused[i])
			switch {
			case no && (throttled.Kind != fault.Throttled || got.Remaining != 0 || throttled.RetryAfter != got.Next):
				t.Errorf("caller %d: got %+v, %v after %v", i, got, throttled, throttled.RetryAfter)
			case no:
			case given[got.Remaining] || got.Remaining < 0 || got.Remaining >= policy.Quota:
				t.Errorf("caller %d: got %+v, as another one did", i, got)
			default:
				given[got.Remaining] = true
			}
		}
		if int64(len(given)) != policy.Quota {
			t.Errorf("%d of %d got a token, want %d", len(given), callers, policy.Quota)
		}
	})
}
