package runstest

import (
	"flag"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Soak checks the model for a time, in rounds, and logs the figures after each.
type Soak struct {
	Duration time.Duration // the last round begins before its end
	Seed     uint64        // of the first round; the next ones count up from it
	Checks   int           // sequences of operations in a round

	// Open returns the backend of a round, which must be empty.
	Open func(t *testing.T, seed uint64) func(t *rapid.T) Backend
}

// Run runs the rounds. A round with a violation fails, with the shortest sequence of
// operations that shows it, and the next round begins.
func (s Soak) Run(t *testing.T) {
	t.Helper()
	Limit(t, s.Checks)
	start := time.Now()
	var figures Figures
	violations := 0
	for seed := max(s.Seed, 1); ; seed++ { // rapid draws a random seed for 0
		opened := false
		passed := t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			set(t, "rapid.seed", strconv.FormatUint(seed, 10))
			open := s.Open(t, seed)
			opened = true
			rapid.Check(t, Check(open, &figures))
		})
		if !opened {
			t.Fatal("the storage backend cannot be opened")
		}
		if !passed {
			violations++
		}
		past := time.Since(start)
		t.Logf("after %v: %d sequences, %d operations, %d runs, %d claims, %d reports accepted, %d refused, %d calls repeated, %d violations",
			past.Round(time.Second), figures.Sequences, figures.Operations, figures.Runs, figures.Claims, figures.Reports, figures.Late, figures.Lost, violations)
		if past >= s.Duration {
			return
		}
	}
}

// set sets a flag until the test ends.
func set(t *testing.T, name, value string) {
	t.Helper()
	f := flag.Lookup(name)
	before := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(before) })
}
