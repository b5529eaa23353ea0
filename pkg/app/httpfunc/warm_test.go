package httpfunc_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"

	"syncplane/pkg/app/httpfunc"
)

// steps records the order of the steps of a warm-up.
type steps struct {
	mu    sync.Mutex
	names []string
}

func (s *steps) add(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
}

// has reports whether the step was taken.
func (s *steps) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.names, name)
}

// handshaking starts the handshake that the context traces.
func handshaking(ctx context.Context) { httptrace.ContextClientTrace(ctx).TLSHandshakeStart() }

// TestWarm checks what happens while the handshake waits for the server.
func TestWarm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                         string
		secure, eventWaits, slowKeys bool
		primed, early                bool
	}{
		{name: "an event waits", secure: true, eventWaits: true, early: true},
		{name: "no event waits", secure: true, primed: true},
		{name: "an event waits, but the keys are not there", secure: true, eventWaits: true, slowKeys: true, primed: true, early: true},
		{name: "without TLS", eventWaits: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var taken steps
			var log bytes.Buffer
			var w httpfunc.Warming
			started, primed, connected := make(chan struct{}), make(chan struct{}), make(chan struct{})
			keys := func(context.Context) error {
				if test.slowKeys {
					<-primed
				}
				taken.add("keys")
				return nil
			}
			table := func(ctx context.Context) error {
				if <-started; !test.slowKeys {
					<-w.Keys()
				}
				if test.secure {
					handshaking(ctx)
					<-connected
				}
				taken.add("table")
				return nil
			}
			prime := func(context.Context) error {
				taken.add("code")
				close(primed)
				if !test.early {
					close(connected) // the handshake is over after priming
				}
				return nil
			}
			w = httpfunc.StartWarming(keys, table, slog.New(slog.NewJSONHandler(&log, nil)))
			close(started)
			w.Wait(test.eventWaits, prime)
			if taken.has("code") != test.primed {
				t.Errorf("primed: %v, want %v", taken.has("code"), test.primed)
			}
			if taken.has("table") == test.early {
				t.Errorf("the wait was over before the handshake: %v, want %v", !taken.has("table"), test.early)
			}
			if !taken.has("keys") {
				t.Error("the wait was over before the keys were there")
			}

			// The first response waits for the handshake, whatever the handler does.
			handled, responded := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(responded)
				handler := w.Before(handler(func() { close(handled) }))
				if response, err := handler.Invoke(t.Context(), []byte("event")); err != nil || string(response) != "event" {
					t.Errorf("got %q, %v", response, err)
				}
				if !taken.has("table") {
					t.Error("the response came before the end of the handshake")
				}
			}()
			<-handled
			if test.early {
				close(connected)
			}
			<-responded
			if log.Len() > 0 {
				t.Errorf("got the log %q", &log)
			}
		})
	}
}

// TestFrozenHandshake checks that a response does not wait long for a handshake that has no
// end, as after a time in which Lambda has frozen the process.
func TestFrozenHandshake(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	keys := func(context.Context) error { return nil }
	table := func(ctx context.Context) error {
		handshaking(ctx)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	w := httpfunc.StartWarming(keys, table, slog.New(slog.NewJSONHandler(&log, nil)))
	w.Wait(true, keys)
	if _, err := w.Before(handler(func() {})).Invoke(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if want := `"what":"table","error":"context canceled"`; !strings.Contains(log.String(), want) {
		t.Errorf("got the log %s, want %s", &log, want)
	}
}

// handler is a lambda.Handler that responds with the event.
type handler func()

func (h handler) Invoke(_ context.Context, event []byte) ([]byte, error) {
	h()
	return event, nil
}

// TestWarmFails checks that each step that fails is logged with its name, and does not end
// the init phase.
func TestWarmFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	fails := func(what string) func(context.Context) error {
		return func(context.Context) error { return errors.New("no " + what) }
	}
	table := func(ctx context.Context) error {
		handshaking(ctx)
		return errors.New("no route")
	}
	httpfunc.StartWarming(fails("issuer"), table, slog.New(slog.NewJSONHandler(&log, nil))).Wait(false, fails("memory"))
	for _, want := range []string{
		`"what":"keys","error":"no issuer"`, `"what":"table","error":"no route"`, `"what":"code","error":"no memory"`,
	} {
		if !strings.Contains(log.String(), `"level":"WARN","msg":"not warm",`+want) {
			t.Errorf("got the log %s, want %s", &log, want)
		}
	}
}
