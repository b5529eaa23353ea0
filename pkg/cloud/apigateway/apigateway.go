// Package apigateway adapts an http.Handler to the events of an API Gateway HTTP API
// (payload format 2.0). It is the only user of aws-lambda-go-api-proxy, and protects
// it: for every event and every behavior of the handler, Invoke returns a response
// and no error. It knows events and net/http, and nothing of syncs.
package apigateway

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"runtime/debug"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/awslabs/aws-lambda-go-api-proxy/httpadapter"

	"syncplane/pkg/jsonpool"
)

// margin is how long before the function's timeout the context of a request ends, so
// that the client still receives a response and the log a line. Our own choice.
const margin = 500 * time.Millisecond

// Config holds a Handler's dependencies.
type Config struct {
	Next http.Handler // handles the requests

	// Fail writes the response for an event that is not a request, a
	// fault.Malformed, or for a panic of Next.
	Fail func(w http.ResponseWriter, r *http.Request, err error)

	// RequestIDHeader is the request header in which Next and Fail receive the
	// ID of the request. A value from the client is replaced.
	RequestIDHeader string

	// PrefixHeader is the request header in which Next and Fail receive the
	// prefix that the client's address has before the path, percent-encoded and
	// without a slash at its end, such as /prod. It is absent if there is no
	// prefix. A value from the client is removed.
	PrefixHeader string

	Mapping Mapping
}

// Mapping is an API mapping of a custom domain. The zero Mapping is none.
type Mapping struct {
	Domain string // such as api.example.com
	Path   string // the key of the mapping, such as /orders; "" is the root
}

var _ lambda.Handler = (*Handler)(nil)

// Handler handles the events of an HTTP API.
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

// requestKey is the context key of a request.
type requestKey struct{}

// Invoke handles one event and returns the response. It never returns an error:
// Lambda would report a failed function, and the client would receive a response
// without a reason.
func (h *Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-margin))
		defer cancel()
	}
	in := h.readRequest(ctx, payload)
	response, err := h.adapter.ProxyWithContext(context.WithValue(ctx, requestKey{}, &in), in.event)
	if err != nil {
		response = h.answerWithoutAdapter(ctx, &in, fmt.Errorf("adapt an event: %w", err))
	}
	return encode(response, in.answered), nil
}

// serve is the handler that the adapter calls. It restores the parts of the request
// that the adapter would change, and passes on a complete response. The body does not
// pass through the adapter, which copies it twice, unless the adapter must encode it or
// find its Content-Type.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) {
	in, _ := r.Context().Value(requestKey{}).(*request)
	rec := h.answer(r, in)
	maps.Copy(w.Header(), rec.sent)
	w.WriteHeader(rec.status)
	switch body := rec.body.Bytes(); {
	case len(body) == 0: // for any write the adapter sets a Content-Type
	case w.Header().Get("Content-Type") != "" && utf8.Valid(body):
		in.answered = body
	default:
		_, _ = w.Write(body) // it writes to memory and cannot fail
	}
}

// buffer is the body of a request. A reader that knows its method Bytes does not copy it.
type buffer struct{ bytes.Buffer }

// Close does nothing.
func (*buffer) Close() error { return nil }

// answer calls Next, or Fail if the event is not a request or Next panics.
func (h *Handler) answer(r *http.Request, in *request) *recorder {
	r.Method = in.method
	r.Header = in.header
	r.Host = in.host
	if len(in.body) > 0 {
		r.Body, r.ContentLength = &buffer{*bytes.NewBuffer(in.body)}, int64(len(in.body))
	}
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

// try calls Next and returns its panic as an error with the stack. The error is
// logged, so it holds the panic's value only for errors of the runtime; other values
// could contain anything, and only their type is in the error.
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

// answerWithoutAdapter returns the response to err if the adapter has failed.
func (h *Handler) answerWithoutAdapter(ctx context.Context, in *request, err error) events.APIGatewayV2HTTPResponse {
	in.err = err
	rec := h.answer((&http.Request{Method: http.MethodGet, URL: in.url}).WithContext(ctx), in)
	in.answered = rec.body.Bytes()
	response := events.APIGatewayV2HTTPResponse{
		StatusCode: rec.status,
		Headers:    map[string]string{},
	}
	for name := range rec.sent {
		response.Headers[name] = rec.sent.Get(name)
	}
	return response
}
