package runs_test

import (
	"errors"
	"testing"
	"time"

	"syncplane/pkg/runs"
)

// TestCheckStored checks which stored runs are refused, since their deadlines cannot be
// applied.
func TestCheckStored(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	good := runs.Run{Version: 1, Status: runs.InProgress, StartedAt: at, DeadlineAt: at, EndBy: at}
	for name, test := range map[string]struct {
		edit     func(r *runs.Run)
		readable bool
	}{
		"in progress":        {func(*runs.Run) {}, true},
		"queued":             {func(r *runs.Run) { *r = runs.Run{Version: 1, Status: runs.Queued, DeadlineAt: at} }, true},
		"pending":            {func(r *runs.Run) { *r = runs.Run{Version: 1, Status: runs.Pending} }, true},
		"ended":              {func(r *runs.Run) { *r = runs.Run{Version: 2, Status: runs.Failed} }, true},
		"without a version":  {func(r *runs.Run) { r.Version = 0 }, false},
		"another status":     {func(r *runs.Run) { r.Status = "blocked" }, false},
		"no status":          {func(r *runs.Run) { r.Status = "" }, false},
		"without a deadline": {func(r *runs.Run) { r.DeadlineAt = time.Time{} }, false},
		"without a start":    {func(r *runs.Run) { r.StartedAt = time.Time{} }, false},
		"without an end":     {func(r *runs.Run) { r.EndBy = time.Time{} }, false},
		"queued, no deadline": {func(r *runs.Run) {
			*r = runs.Run{Version: 1, Status: runs.Queued}
		}, false},
	} {
		r := good
		test.edit(&r)
		if err := r.CheckStored(); errors.Is(err, runs.ErrUnreadable) == test.readable || test.readable && err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
