package bolt_test

import (
	"testing"
	"testing/synctest"
	"time"

	"syncplane/pkg/fault"
	"syncplane/pkg/testkit/bolttest"
)

// TestIdle checks that a store starts no transaction while it is not used, and one for
// the release of pages after a use.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := bolttest.Open(t)
		started := 0
		after := func(d time.Duration) int {
			time.Sleep(d)
			synctest.Wait()
			before := started
			started = store.Reads()
			return started - before
		}
		after(time.Minute)
		if n := after(time.Hour); n != 0 {
			t.Errorf("in an hour without use: %d transactions", n)
		}
		if _, err := store.Read(t.Context(), "acme", "a"); !fault.Is(err, fault.NotFound) {
			t.Fatal(err)
		}
		if n := after(time.Hour); n != 2 {
			t.Errorf("in an hour with one read: %d transactions", n)
		}
	})
}
