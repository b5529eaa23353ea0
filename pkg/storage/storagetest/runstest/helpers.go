package runstest

import (
	"errors"

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

func same(x, y runs.Run) bool { return cmp.Equal(x, y) }
