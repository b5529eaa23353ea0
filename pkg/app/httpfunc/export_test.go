package httpfunc

import (
	"log/slog"

	"github.com/aws/aws-lambda-go/lambda"
)

// Warming is what the init phase does, which Run includes.
type Warming struct{ *warming }

// StartWarming starts the warm-up.
func StartWarming(keys, table step, log *slog.Logger) Warming {
	return Warming{startWarming(keys, table, log)}
}

// Wait waits for what the first request needs.
func (w Warming) Wait(eventWaits bool, prime step) { w.wait(eventWaits, prime) }

// Before returns a handler that does not respond before the connection is open.
func (w Warming) Before(next lambda.Handler) lambda.Handler { return w.before(next) }

// Keys returns a channel that is closed when the keys are there or have failed.
func (w Warming) Keys() <-chan struct{} { return w.keys }

// Prime handles a create that is not stored.
var Prime = prime
