package httpfunc

import (
	"context"
	"log/slog"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
)

// warmTimeout bounds the warm-up. Our own choice: Lambda limits the init phase to
// ten seconds.
const warmTimeout = 3 * time.Second

// step is a part of the warm-up.
type step func(context.Context) error

// warming is what the init phase does so that the first request is faster. What fails is
// logged, and a request tries it again.
type warming struct {
	log       *slog.Logger
	handshake chan struct{} // closed when the TLS handshake with the table starts
	keys      chan struct{} // closed when the keys are there or have failed
	done      chan struct{} // closed when that is true of the connection to the table, too
}

// startWarming fetches the keys and opens the connection to the table.
func startWarming(keys, table step, log *slog.Logger) *warming {
	w := &warming{log, make(chan struct{}), make(chan struct{}), make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), warmTimeout)
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{TLSHandshakeStart: sync.OnceFunc(func() { close(w.handshake) })})
	go func() {
		defer close(w.keys)
		w.try(ctx, "keys", keys)
	}()
	// The table comes last: of goroutines that are started, the last one runs first.
	go func() {
		defer close(w.done)
		defer cancel()
		w.try(traced, "table", table)
		<-w.keys
	}()
	return w
}

// try takes a step.
func (w *warming) try(ctx context.Context, what string, take step) {
	if err := take(ctx); err != nil {
		w.log.LogAttrs(ctx, slog.LevelWarn, "not warm", slog.String("what", what), slog.String("error", err.Error()))
	}
}

// wait waits for the keys and the connection to the table. While the handshake waits for
// the server there is one of two things to do. If an event waits for the function and the
// keys are there, wait returns, so that the function reads the event and verifies its
// token. Otherwise it calls prime. Without a handshake it does neither.
func (w *warming) wait(eventWaits bool, prime step) {
	select {
	case <-w.handshake:
	case <-w.done:
		return
	}
	if eventWaits {
		select {
		case <-w.keys:
			return
		default:
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), warmTimeout)
	defer cancel()
	w.try(ctx, "code", prime)
	<-w.done
}

// before returns a handler that does not respond before the connection is open. Lambda
// may freeze the process after a response, and a handshake that takes long fails.
func (w *warming) before(next lambda.Handler) lambda.Handler {
	return handlerFunc(func(ctx context.Context, payload []byte) ([]byte, error) {
		response, err := next.Invoke(ctx, payload)
		<-w.done
		return response, err
	})
}

// handlerFunc is a function that is a lambda.Handler.
type handlerFunc func(ctx context.Context, payload []byte) ([]byte, error)

// Invoke calls the function.
func (f handlerFunc) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return f(ctx, payload)
}
