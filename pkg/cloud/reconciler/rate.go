package reconciler

import (
	"context"
	"sync"
	"time"

	"syncplane/pkg/backoff"
)

// listCost is how many other calls of Scheduler one ListSchedules counts as: the default
// rate limit of an account is 1,000 or more a second for most calls, and 50 for
// ListSchedules (Scheduler user guide, "Quotas").
const listCost = 20

// Rate spaces the calls of Scheduler evenly. Its zero value does not limit them.
type Rate struct {
	PerSecond float64

	mu   sync.Mutex
	next time.Time // when the next call may begin
}

// Wait waits until a call that counts as n may begin.
func (r *Rate) Wait(ctx context.Context, now time.Time, n int) error {
	if r == nil || r.PerSecond <= 0 {
		return ctx.Err()
	}
	r.mu.Lock()
	if r.next.Before(now) {
		r.next = now
	}
	wait := r.next.Sub(now)
	r.next = r.next.Add(time.Duration(float64(n) * float64(time.Second) / r.PerSecond))
	r.mu.Unlock()
	return backoff.Sleep(ctx, wait)
}
