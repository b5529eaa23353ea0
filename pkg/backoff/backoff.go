// Package backoff waits, and retries an operation that conflicts with a concurrent one.
// It does not know the operation and imports no package of this project.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// The bounds of Retry. Our own choices: a write takes some milliseconds.
const (
	firstPause  = 4 * time.Millisecond   // between the first two attempts, at most
	maxPause    = 200 * time.Millisecond // between later attempts, at most
	reserve     = time.Second            // that must remain before the deadline for another attempt and the response
	maxAttempts = 64                     // without a deadline; they take some ten seconds
)

// Retry calls do until it returns nil or an error for which retryable is false, with
// exponential backoff and jitter. It returns the last error of do if the deadline of
// ctx leaves no time for another attempt or, without a deadline, after 64 attempts.
func Retry(ctx context.Context, retryable func(error) bool, do func() error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || !retryable(err) {
			return err
		}
		wait := pause/2 + rand.N(pause/2) //nolint:gosec // jitter, not a secret
		pause = min(2*pause, maxPause)
		deadline, bounded := ctx.Deadline()
		if bounded && time.Until(deadline) < wait+reserve || !bounded && attempt == maxAttempts {
			return err
		}
		if Sleep(ctx, wait) != nil {
			return err
		}
	}
}

// Sleep waits for d. If ctx ends before, it returns the error of ctx.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
