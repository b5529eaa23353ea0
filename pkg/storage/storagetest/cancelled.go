package storagetest

import (
	"context"
	"testing"

	"syncplane/pkg/fault"
)

// WantRefused checks that calls with a context that was cancelled before return a
// fault.Unavailable. It makes each of them several times, because a store that waits for
// several things at once may accept some of them.
func WantRefused(t *testing.T, calls map[string]func(ctx context.Context) error) {
	t.Helper()
	const attempts = 20
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range calls {
		for range attempts {
			if err := call(ctx); !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s: got %v, want a fault of kind %v", name, err, fault.Unavailable)
				break
			}
		}
	}
}
