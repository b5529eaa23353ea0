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

// same compares two runs. Most are identical, and cmp.Equal is slow.
func same(x, y runs.Run) bool { return x == y || cmp.Equal(x, y) }

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
