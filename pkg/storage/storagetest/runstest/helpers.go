package runstest

import (
	"errors"
	"flag"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
)

func errorCode(err error) string {
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e.Code
	}
	return ""
}

// same compares two runs. Most are equal but for the pointers to their counters, and
// cmp.Equal is slow.
func same(x, y runs.Run) bool {
	near := y
	if counts(x) == counts(y) {
		near.Counters = x.Counters
	}
	return x == near || cmp.Equal(x, y)
}

// counts returns the counters of a run, each with 1 before it, or 0 if there is none.
func counts(r runs.Run) (all [10]int64) {
	c := struct{ TotalQueryRows, TotalRows, SkippedRows, SuccessfulRows, FailedRows *int64 }(r.Counters) // all of them
	for i, n := range []*int64{c.TotalQueryRows, c.TotalRows, c.SkippedRows, c.SuccessfulRows, c.FailedRows} {
		if n != nil {
			all[2*i], all[2*i+1] = 1, *n
		}
	}
	return all
}

// Limit has rapid make n checks in this test if -rapid.checks does not set how
// many. The test must not be parallel.
func Limit(t *testing.T, n int) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if checks.Value.String() != checks.DefValue {
		return
	}
	set(t, "rapid.checks", strconv.Itoa(n))
}
