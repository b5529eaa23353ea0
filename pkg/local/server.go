package local

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"
)

// functionTimeout is the Timeout of the function in template.yaml.
const functionTimeout = 10 * time.Second

// maxBody is the largest body that is read, in bytes: API Gateway's 10 MB. The
// handler's own bound is lower, and it is the one to say so.
const maxBody = 10 << 20

// Handler answers a gateway event, as a Lambda does.
type Handler interface {
	Invoke(ctx context.Context, payload []byte) ([]byte, error)
}

// Gateway is an http.Handler that does what API Gateway does: it makes an
// event of each request and a response of each answer.
type Gateway struct {
	Function Handler
	Now      func() time.Time

	// Stage is the stage that is served; "" is $default. The paths of any
	// other begin with its name, and nothing is at those that do not.
	Stage string
}

// ServeHTTP passes the request on.
func (g Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if prefix := "/" + g.Stage; g.Stage != "" && r.URL.Path != prefix && !strings.HasPrefix(r.URL.Path, prefix+"/") {
		// As API Gateway answers where it has no stage.
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"message":"Not Found"}`))
		return
	}
	response, err := g.invoke(r)
	if err != nil {
		// As API Gateway answers when a function fails.
		http.Error(w, `{"message":"Internal Server Error"}`, http.StatusInternalServerError)
		return
	}
	for name, value := range response.Headers {
		w.Header().Set(name, value)
	}
	for _, cookie := range response.Cookies {
		w.Header().Add("Set-Cookie", cookie)
	}
	w.WriteHeader(response.StatusCode)
	body := []byte(response.Body)
	if response.IsBase64Encoded {
		body, _ = base64.StdEncoding.DecodeString(response.Body)
	}
	_, _ = w.Write(body) // a client that has gone away needs no answer
}

func (g Gateway) invoke(r *http.Request) (events.APIGatewayV2HTTPResponse, error) {
	ctx, cancel := context.WithTimeout(r.Context(), functionTimeout)
	defer cancel()
	var response events.APIGatewayV2HTTPResponse
	event, err := g.event(r)
	if err != nil {
		return response, err
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return response, fmt.Errorf("encode the event: %w", err)
	}
	answer, err := g.Function.Invoke(ctx, payload)
	if err != nil {
		return response, err
	}
	return response, json.Unmarshal(answer, &response)
}

// event is r as API Gateway would describe it.
func (g Gateway) event(r *http.Request) (events.APIGatewayV2HTTPRequest, error) {
	var event events.APIGatewayV2HTTPRequest
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return event, fmt.Errorf("read the body: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return event, fmt.Errorf("make an id: %w", err)
	}
	return eventOf(r, body, cmp.Or(g.Stage, defaultStage), id.String(), g.Now()), nil
}
