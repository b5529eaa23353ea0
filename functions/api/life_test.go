package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"

	"syncplane/pkg/api/lifetest"
	"syncplane/pkg/local"
)

// TestLifeThroughTheFunction runs the whole life of a sync through the real
// bootstrap.
func TestLifeThroughTheFunction(t *testing.T) {
	var log bytes.Buffer
	function := start(t, &log)
	key := local.SampleKey()
	lifetest.Run(t, lifetest.Server{
		Do: func(r *http.Request) (*http.Response, error) {
			payload, err := eventOf(r)
			if err != nil {
				return nil, err
			}
			answer, err := function.Invoke(r.Context(), payload)
			if err != nil {
				return nil, err
			}
			return responseOf(answer)
		},
		Token: func(tb testing.TB, workspace string, scopes ...string) string {
			tb.Helper()
			now := time.Now()
			token, err := key.Token(local.Claims{Workspace: workspace, Scopes: scopes, Issued: now, Expires: now.Add(time.Hour)})
			if err != nil {
				tb.Fatal(err)
			}
			return token
		},
	})
	if err := function.Close(); err != nil { // so that all of the log is there
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "eyJ") {
		t.Errorf("the log holds a token:\n%s", &log)
	}
}

// eventOf is r as API Gateway would describe it.
func eventOf(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: r.URL.EscapedPath(), RawQueryString: r.URL.RawQuery,
		Headers: map[string]string{}, Body: string(body),
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RequestID: uuid.NewString(), Stage: "$default",
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: r.Method, Path: r.URL.Path},
		},
	}
	for name, values := range maps.All(r.Header) {
		event.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return json.Marshal(event)
}

func responseOf(answer []byte) (*http.Response, error) {
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(answer, &response); err != nil {
		return nil, err
	}
	header := http.Header{}
	for name, value := range response.Headers {
		header.Set(name, value)
	}
	return &http.Response{StatusCode: response.StatusCode, Header: header, Body: io.NopCloser(strings.NewReader(response.Body))}, nil
}
