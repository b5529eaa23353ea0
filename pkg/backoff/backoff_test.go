package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"syncplane/pkg/backoff"
)

var (
	errBusy = errors.New("busy")
	errDone = errors.New("done")
)

func busy(err error) bool { return errors.Is(err, errBusy) }

// TestRetry checks how often and for how long an operation is tried, on a fake
// clock.
func TestRetry(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		timeout  time.Duration // 0 for no deadline
		busy     int           // calls that fail with errBusy; -1 for all
		then     error
		want     error
		least    int // calls
		most     int
		duration time.Duration // at most
	}{
		"success":                  {time.Minute, 0, nil, nil, 1, 1, 0},
		"another error":            {time.Minute, 0, errDone, errDone, 1, 1, 0},
		"after three":              {time.Minute, 3, nil, nil, 4, 4, 28 * time.Millisecond},
		"another error afterwards": {time.Minute, 2, errDone, errDone, 3, 3, 12 * time.Millisecond},
		"until the deadline":       {5 * time.Second, -1, nil, errBusy, 20, 50, 4 * time.Second},
		"no time for another":      {time.Second, -1, nil, errBusy, 1, 1, 0},
		"no deadline":              {0, -1, nil, errBusy, 64, 64, 13 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.timeout)
					defer cancel()
				}
				started, calls := time.Now(), 0
				err := backoff.Retry(ctx, busy, func() error {
					calls++
					if test.busy < 0 || calls <= test.busy {
						return errBusy
					}
					return test.then
				})
				if !errors.Is(err, test.want) || calls < test.least || calls > test.most {
					t.Errorf("got %v after %d calls", err, calls)
				}
				if took := time.Since(started); took > test.duration {
					t.Errorf("took %v, want at most %v", took, test.duration)
				}
			})
		})
	}
}

// TestRetryCancelled checks that a cancelled context ends a pause.
func TestRetryCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		calls := 0
		err := backoff.Retry(ctx, busy, func() error {
			if calls++; calls == 5 {
				cancel()
			}
			return errBusy
		})
		if !errors.Is(err, errBusy) || calls != 5 {
			t.Errorf("got %v after %d calls", err, calls)
		}
	})
}
