package runs

import "strconv"

// The names of the changes that are published as events. A requeued or
// reclaimed run has the number of the attempt after the name, so that the name
// is unique within the run.
const (
	TransitionQueued          = "queued"
	TransitionStarted         = "started"
	TransitionSucceeded       = "succeeded"
	TransitionFailed          = "failed"
	TransitionCanceled        = "canceled"
	TransitionSkipped         = "skipped"
	TransitionCancelRequested = "cancel_requested"
)

// transitionOf returns the name of the change that led to the state of r, "" for a
// state that is not published.
func transitionOf(r Run) string {
	numbered := func(name string, attempt int) string {
		if attempt <= 1 {
			return name
		}
		return name + "-" + strconv.Itoa(attempt)
	}
	switch r.Status {
	case Queued:
		return numbered(TransitionQueued, r.Attempt+1)
	case InProgress:
		return numbered(TransitionStarted, r.Attempt)
	case Success:
		return TransitionSucceeded
	case Failed:
		return TransitionFailed
	case Canceled:
		return TransitionCanceled
	case Skipped:
		return TransitionSkipped
	case Pending:
	}
	return ""
}
