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

// handshakeTimeout is how long after its start a response waits for the handshake. Our
// own choice: a handshake takes milliseconds, and one that Lambda has frozen fails.
const handshakeTimeout = time.Second

// step is a part of the warm-up.
type step func(context.Context) error

// warming is what the init phase does so that the first request is faster. What fails is
// logged, and a request tries it again.
type warming struct {
	log       *slog.Logger
	start     time.Time // by the wall clock, since the other one may stand while the process is frozen
	cancel    func()
	handshake chan struct{} // closed when the TLS handshake with the table starts
	keys      chan struct{} // closed when the keys are there or have failed
	done      chan struct{} // closed when the keys and the connection are there or have failed
}

// startWarming fetches the keys and opens the connection to the table.
func startWarming(keys, table step, log *slog.Logger) *warming {
	ctx, cancel := context.WithTimeout(context.Background(), warmTimeout)
	start := time.Now().Round(0) //nolint:forbidigo // it is compared with the same clock only
	w := &warming{log, start, cancel, make(chan struct{}), make(chan struct{}), make(chan struct{})}
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
// the server there is one of two things to do. If an event waits for the function, wait
// returns when the keys are there, so that the function reads the event and verifies its
// token. Until then, and if no event waits, it calls prime. Without a handshake it does
// neither.
func (w *warming) wait(eventWaits bool, prime step) {
	select {
	case <-w.handshake:
	case <-w.done:
		select {
		case <-w.handshake: // as well
		default:
			return
		}
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
	if <-w.keys; !eventWaits {
		<-w.done
	}
}

// before returns a handler that does not respond before the connection is open or has
// failed. Lambda may freeze the process after a response, and a handshake that takes long
// fails.
func (w *warming) before(next lambda.Handler) lambda.Handler {
	return handlerFunc(func(ctx context.Context, payload []byte) ([]byte, error) {
		response, err := next.Invoke(ctx, payload)
		w.end()
		return response, err
	})
}

// end waits until the connection is open or has failed, which is long ago for all but the
// first event. It ends a handshake that takes too long.
func (w *warming) end() {
	select {
	case <-w.done:
		return
	default:
	}
	late := time.NewTimer(time.Until(w.start.Add(handshakeTimeout)))
	defer late.Stop()
	select {
	case <-w.done:
	case <-late.C:
		w.cancel()
		<-w.done
	}
}

// handlerFunc is a function that is a lambda.Handler.
type handlerFunc func(ctx context.Context, payload []byte) ([]byte, error)

// Invoke calls the function.
func (f handlerFunc) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	return f(ctx, payload)
}
