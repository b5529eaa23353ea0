package ratelimit_test

import (
	"context"
	"testing"
	"time"

	"syncplane/pkg/fault"
	"syncplane/pkg/ratelimit"
)

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]ratelimit.Policy{
		"100/1m":      {Quota: 100, Window: time.Minute},
		"1/1s":        {Quota: 1, Window: time.Second},
		"1000000/24h": {Quota: 1_000_000, Window: 24 * time.Hour},
		"":            {}, "100": {}, "100/": {}, "/1m": {}, "0/1m": {}, "-1/1m": {}, "1000001/1m": {},
		"1/999ms": {}, "1/24h1s": {}, "1.5/1m": {}, "100/minute": {},
	} {
		got, err := ratelimit.ParsePolicy(text)
		if got != want || (err == nil) == (want == ratelimit.Policy{}) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
}

type brokenStore struct{ ratelimit.Store }

func (brokenStore) Take(context.Context, string, ratelimit.Policy, time.Time) (time.Time, bool, error) {
	return time.Time{}, false, &fault.Error{Kind: fault.Unavailable}
}

func TestLimiterWithoutStore(t *testing.T) {
	t.Parallel()
	limiter := &ratelimit.Limiter{Policy: ratelimit.Policy{Quota: 3, Window: time.Second}, Store: brokenStore{}, Now: time.Now}
	if _, err := limiter.Take(t.Context(), "acme"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}
