// Package quotatest holds the promises of quota.Store as tests. Every engine
// runs them.
package quotatest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"syncplane/pkg/quota"
)

// Run holds the store that open returns to its promises.
func Run(t *testing.T, open func(t *testing.T) quota.Store) {
	t.Helper()
	policy := quota.Policy{Quota: 4, Window: time.Minute}
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
}
