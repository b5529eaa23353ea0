// Package backoff tries an operation again that a concurrent one got in the way
// of. It imports nothing of this project.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// The pauses between two attempts, the time that must be left for one more and
// its answer, and the attempts where no deadline bounds them, some seconds of
// them. Our own choices: a write takes some milliseconds.
const (
	firstPause  = 4 * time.Millisecond
	maxPause    = 200 * time.Millisecond
	reserve     = time.Second
	maxAttempts = 64
)

// Retry calls do until it returns nil or an error for which again is false, with
// growing pauses of random length between two calls. It returns the last error
// of do if the deadline of ctx leaves no time for another call or, without a
// deadline, after 64 calls.
func Retry(ctx context.Context, again func(error) bool, do func() error) error {
	pause := firstPause
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil || !again(err) {
			return err
		}
		wait := pause/2 + rand.N(pause/2) //nolint:gosec // jitter, not a secret
		pause = min(2*pause, maxPause)
		deadline, bounded := ctx.Deadline()
		if bounded && time.Until(deadline) < wait+reserve || !bounded && attempt == maxAttempts {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}
