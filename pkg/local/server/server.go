package server

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"

	"syncplane/pkg/api"
)

// functionTimeout is the Timeout of the function in template.yaml.
const functionTimeout = 10 * time.Second

// maxBody is the largest body that is read without ReadBody, in bytes: the 10 MB of
// API Gateway.
const maxBody = 10 << 20

// Handler handles an API Gateway event as a Lambda function does.
type Handler interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
}

// Gateway is an http.Handler that does what API Gateway does: it turns each request
// into an event and the result of the function into a response.
type Gateway struct {
	Function Handler
	Now      func() time.Time

	// Stage is the stage that is served; "" is $default. With another stage all
	// paths start with its name, and other paths are not found.
	Stage string

	// ReadBody returns the body of a request, nil if the function does not use
	// it; or it writes the response and returns false. See api.API. If ReadBody
	// is nil, every body is read, as API Gateway does.
	ReadBody func(w http.ResponseWriter, r *http.Request) (body []byte, ok bool)
}

// ServeHTTP invokes the function with the event of r.
func (g Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if prefix := "/" + g.Stage; g.Stage != "" && r.URL.Path != prefix && !strings.HasPrefix(r.URL.Path, prefix+"/") {
		// The response of API Gateway to an unknown stage.
		reply(w, http.StatusNotFound, "Not Found")
		return
	}
	id := uuid.NewString()
	body, ok := g.read(w, r, id)
	if !ok {
		return
	}
	response, err := g.invoke(r, id, body)
	if err != nil {
		// The response of API Gateway to an error of the function.
		reply(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	for name, value := range response.Headers {
		w.Header().Set(name, value)
	}
	for _, cookie := range response.Cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	w.WriteHeader(response.StatusCode)
	text := []byte(response.Body)
	if response.IsBase64Encoded {
		text, _ = base64.StdEncoding.DecodeString(response.Body)
	}
	_, _ = w.Write(text) // the client may have disconnected
}

// reply writes a response of API Gateway itself.
func reply(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"message":%q}`, message) // the client may have disconnected
}

// read returns the body of r; or it writes the response and returns false.
func (g Gateway) read(w http.ResponseWriter, r *http.Request, id string) (body []byte, ok bool) {
	if r.ContentLength == 0 {
		return nil, true
	}
	if g.ReadBody != nil {
		return g.ReadBody(w, g.asRouted(r, id))
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		reply(w, http.StatusBadRequest, "Bad Request")
		return nil, false
	}
	return body, true
}

// asRouted returns r as the function receives it, with everything that decides whether
// its body is read.
func (g Gateway) asRouted(r *http.Request, id string) *http.Request {
	path := r.URL.Path
	if g.Stage != "" {
		path = strings.TrimPrefix(path, "/"+g.Stage)
	}
	routed := r.WithContext(r.Context())
	routed.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
	routed.Header = http.Header{}
	for name, value := range headersOf(r.Header) {
		routed.Header.Set(name, value)
	}
	routed.Header.Set(api.RequestIDHeader, id)
	return routed
}

func (g Gateway) invoke(r *http.Request, id string, body []byte) (events.APIGatewayV2HTTPResponse, error) {
	ctx, cancel := context.WithTimeout(r.Context(), functionTimeout)
	defer cancel()
	var response events.APIGatewayV2HTTPResponse
	payload, err := json.Marshal(eventOf(r, body, cmp.Or(g.Stage, defaultStage), id, g.Now()))
	if err != nil {
		return response, fmt.Errorf("encode the event: %w", err)
	}
	answer, err := g.Function.Invoke(ctx, payload)
	if err != nil {
		return response, err
	}
	return response, json.Unmarshal(answer, &response)
}
