// Package apigateway stands between API Gateway's events (HTTP API, payload
// format 2.0) and an http.Handler. It guards aws-lambda-go-api-proxy: whatever
// the event is and whatever the handler does, Invoke returns a response and no
// error. It knows events and net/http, and nothing of syncs.
package apigateway

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"

	"syncplane/pkg/jsonpool"
)

// margin is how long before the function's own timeout a request gives up, so
// that its client gets an answer and the log its line.
const margin = 500 * time.Millisecond

// Config is what a Handler stands on.
type Config struct {
	Next http.Handler

	// Fail answers a request with a fault: an event that is no request, or
	// a Next that panicked.
	Fail func(w http.ResponseWriter, r *http.Request, err error)

	// RequestIDHeader is the header in which Next and Fail find the ID of
	// the request, in place of anything that the client sent there.
	RequestIDHeader string

	// PrefixHeader is the header in which Next and Fail find what stands
	// before the path in the client's address, percent-encoded and without a
	// slash at its end, such as /prod. It is in place of anything that the
	// client sent there, and absent if it would be empty.
	PrefixHeader string

	Mapping Mapping
}

// Mapping is where a custom domain has the API. The zero Mapping is none.
type Mapping struct {
	Domain string // such as api.example.com
	Path   string // the key of the mapping, such as /orders; "" is the root
}

// Handler is a lambda.Handler for the events of an HTTP API.
type Handler struct {
	Config
	adapter *httpadapter.HandlerAdapterV2
	pool    *jsonpool.Pool
}

// New returns a Handler.
func New(config Config) *Handler {
	h := &Handler{Config: config, pool: newPool()}
	h.adapter = httpadapter.NewV2(http.HandlerFunc(h.serve))
	return h
}

type requestKey struct{}

// Invoke answers one event. It never returns an error: to Lambda that would be
// a failure of the function, and to the client an answer without a reason.
func (h *Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	in := h.read(ctx, payload)
	response, err := h.adapter.ProxyWithContext(context.WithValue(ctx, requestKey{}, in), in.event)
	if err != nil {
		response = h.answerWithout(ctx, in, fmt.Errorf("adapt an event: %w", err))
	}
	return encode(response), nil
}

// serve is the handler that the adapter calls. It puts on the request what the
// adapter would have spoilt, and hands over a response that is settled.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	rec := h.answer(r)
	maps.Copy(w.Header(), rec.sent)
	w.WriteHeader(rec.status)
	if rec.body.Len() > 0 { // the adapter gives even an empty body a type
		_, _ = w.Write(rec.body.Bytes()) // to memory, so without an error
	}
}

func (h *Handler) answer(r *http.Request) *recorder {
	in, _ := r.Context().Value(requestKey{}).(request)
	r.Header = in.header
	r.Host = in.host
	r.Header.Set(h.RequestIDHeader, in.id)
	r.Header.Del(h.PrefixHeader)
	if in.prefix != "" {
		r.Header.Set(h.PrefixHeader, in.prefix)
	}

	rec := newRecorder()
	err := in.err
	if err == nil {
		err = h.try(rec, r)
	}
	if err != nil {
		rec = newRecorder()
		h.Fail(rec, r, err)
	}
	rec.finish()
	return rec
}

// try runs the handler and returns its panic as an error, the stack with it.
// Of a panic value that is not the runtime's own only the type is told: it
// could hold anything, and the error is logged.
func (h *Handler) try(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("panic: %w\n%s", cause, debug.Stack())
		default:
			err = fmt.Errorf("panic with a %T\n%s", cause, debug.Stack())
		}
	}()
	h.Next.ServeHTTP(w, r)
	return nil
}

// answerWithout answers with err where the adapter did not.
func (h *Handler) answerWithout(ctx context.Context, in request, err error) events.APIGatewayV2HTTPResponse {
	in.err = err
	r := (&http.Request{Method: http.MethodGet, URL: in.url}).WithContext(context.WithValue(ctx, requestKey{}, in))
	rec := h.answer(r)
	response := events.APIGatewayV2HTTPResponse{
		StatusCode: rec.status,
		Headers:    map[string]string{},
		Body:       rec.body.String(),
	}
	for name := range rec.sent {
		response.Headers[name] = rec.sent.Get(name)
	}
	return response
}
