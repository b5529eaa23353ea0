package quota_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/bolt"
	"syncplane/pkg/fault"
	"syncplane/pkg/quota"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]quota.Policy{
		"100/1m":      {Quota: 100, Window: time.Minute},
		"1/1s":        {Quota: 1, Window: time.Second},
		"1000000/24h": {Quota: 1_000_000, Window: 24 * time.Hour},
		"":            {}, "100": {}, "100/": {}, "/1m": {}, "0/1m": {}, "-1/1m": {}, "1000001/1m": {},
		"1/999ms": {}, "1/24h1s": {}, "1.5/1m": {}, "100/minute": {},
	} {
		got, err := quota.ParsePolicy(text)
		if got != want || (err == nil) == (want == quota.Policy{}) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestLimit(t *testing.T) {
	t.Parallel()
	store, err := bolt.Open(t.TempDir() + "/syncs.db")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // a test's own
	now := time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)
	limit := &quota.Limit{Policy: quota.Policy{Quota: 3, Window: 30 * time.Second}, Store: store, Now: func() time.Time { return now }}
	for i, want := range []quota.Allowance{{2, 10 * time.Second}, {1, 20 * time.Second}, {0, 30 * time.Second}} {
		if got, err := limit.Take(t.Context(), "acme"); err != nil || got != want {
			t.Errorf("token %d: got %v, %v, want %v", i, got, err, want)
		}
	}
	now = now.Add(4 * time.Second)
	got, err := limit.Take(t.Context(), "acme")
	throttled, ok := errors.AsType[*fault.Error](err)
	if !ok || throttled.Kind != fault.Throttled || throttled.RetryAfter != 6*time.Second {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(quota.Allowance{Remaining: 0, Full: 26 * time.Second}, got); diff != "" {
		t.Error(diff)
	}
	now = now.Add(throttled.RetryAfter)
	if _, err := limit.Take(t.Context(), "acme"); err != nil {
		t.Errorf("when it was told to come back: %v", err)
	}
}

type broken struct{ quota.Store }

func (broken) Take(context.Context, string, quota.Policy, time.Time) (time.Time, bool, error) {
	return time.Time{}, false, &fault.Error{Kind: fault.Unavailable}
}

func TestLimitWithoutItsStore(t *testing.T) {
	t.Parallel()
	limit := &quota.Limit{Policy: quota.Policy{Quota: 3, Window: time.Second}, Store: broken{}, Now: time.Now}
	if _, err := limit.Take(t.Context(), "acme"); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("got %v", err)
	}
}
