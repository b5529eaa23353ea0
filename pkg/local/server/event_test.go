package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/local/server"
)

// captured is a function that keeps the event of its one invocation.
type captured struct{ payload []byte }

func (c *captured) Invoke(_ context.Context, payload []byte) ([]byte, error) {
	c.payload = payload
	return []byte(`{"statusCode":204}`), nil
}

// send has a server make an event of the bytes of a request.
func send(t *testing.T, stage, request string) (events.APIGatewayV2HTTPRequest, *http.Response) {
	t.Helper()
	function := &captured{}
	now := func() time.Time {
		return time.Date(2026, time.November, 23, 21, 6, 0, 123e6, time.FixedZone("CET", 3600))
	}
	server := httptest.NewServer(server.Gateway{Function: function, Now: now, Stage: stage})
	defer server.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's own
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // a test's own
	var event events.APIGatewayV2HTTPRequest
	if function.payload != nil {
		if err := json.Unmarshal(function.payload, &event); err != nil {
			t.Fatal(err)
		}
	}
	return event, response
}

// TestEvent compares a whole event with one that has the form of published
// captures of live events.
func TestEvent(t *testing.T) {
	t.Parallel()
	got, response := send(t, "", `POST /capture/space%20value?repeat=one&repeat=two&to=https%3A%2F%2Fexample.com%2Fa&plus=a+b&encoded=a%2Bb&empty= HTTP/1.1
Host: localhost:8080
Accept: */*
Content-Type: application/json
Content-Length: 12
Cookie: session=abc123; theme=dark
X-Probe: first
User-Agent: curl/8.7.1
Cookie: last=1
X-PROBE:   second
Connection: x-hop, keep-alive
X-Hop: 1
TE: trailers

{"λ":"世"}`)
	if response.StatusCode != http.StatusNoContent {
		t.Errorf("got %d", response.StatusCode)
	}
	if _, err := uuid.Parse(got.RequestContext.RequestID); err != nil {
		t.Error(err)
	}
	want := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default",
		RawPath:        "/capture/space value",
		RawQueryString: "repeat=one&repeat=two&to=https%3A%2F%2Fexample.com%2Fa&plus=a+b&encoded=a%2Bb&empty=",
		Cookies:        []string{"session=abc123", "theme=dark", "last=1"},
		Headers: map[string]string{
			"accept": "*/*", "content-length": "12", "content-type": "application/json", "host": "localhost:8080",
			"user-agent": "curl/8.7.1", "x-forwarded-for": "127.0.0.1", "x-forwarded-port": "8080", "x-forwarded-proto": "http",
			"x-probe": "first,second",
		},
		QueryStringParameters: map[string]string{
			"repeat": "one,two", "to": "https://example.com/a", "plus": "a b", "encoded": "a+b", "empty": "",
		},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: "$default", AccountID: "local", Stage: "$default", RequestID: got.RequestContext.RequestID, APIID: "local",
			DomainName: "localhost", DomainPrefix: "local", Time: "23/Nov/2026:20:06:00 +0000", TimeEpoch: 1795464360123,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: "POST", Path: "/capture/space value", Protocol: "HTTP/1.1", SourceIP: "127.0.0.1", UserAgent: "curl/8.7.1",
			},
		},
		Body: `{"λ":"世"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEventPath(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"/api/v1/syncs":                 "/api/v1/syncs",
		"/api/v1/syncs/a%25zz":          "/api/v1/syncs/a%zz",
		"/api/v1/syncs/%2525":           "/api/v1/syncs/%25",
		"/api/v1/syncs/a%2Fb":           "/api/v1/syncs/a/b",
		"/api/v1/syncs/%00":             "/api/v1/syncs/\x00",
		"/api/v1/syncs/%0d%0A":          "/api/v1/syncs/\r\n",
		"/api/v1/syncs/%23%3F":          "/api/v1/syncs/#?",
		"/api/v1/syncs/%CE%BB+%20%7e":   "/api/v1/syncs/λ+ ~",
		"/api/v1/syncs/%FF":             "/api/v1/syncs/\ufffd",
		"//api//v1/../syncs/":           "//api//v1/../syncs/",
		"http://proxied.example.com/a":  "/a",
		"http://proxied.example.com/%2": "",
	} {
		got, response := send(t, "", "GET "+sent+" HTTP/1.1\nHost: a\n\n")
		if got.RawPath != want || got.RequestContext.HTTP.Path != want || (want == "") != (response.StatusCode == http.StatusBadRequest) {
			t.Errorf("%s: got %d, %q and %q, want %q", sent, response.StatusCode, got.RawPath, got.RequestContext.HTTP.Path, want)
		}
		if got.QueryStringParameters != nil || got.Cookies != nil || got.Body != "" || got.IsBase64Encoded {
			t.Errorf("%s: got %+v", sent, got)
		}
	}
}

// TestEventBody checks which bodies go as base64: all but text/*, JSON, XML
// and JavaScript, and what is not UTF-8.
func TestEventBody(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		contentType, body, want string
		base64                  bool
	}{
		{"application/json", "{}", "{}", false},
		{"Application/JSON; charset=UTF-8", "{}", "{}", false},
		{"text/plain", "a", "a", false},
		{"text/x-anything;a=b", "a", "a", false},
		{"application/xml", "a", "a", false},
		{"application/javascript", "a", "a", false},
		{"application/json", "", "", false},
		{"application/octet-stream", "", "", false},
		{"application/json", "\xff", "/w==", true},
		{"application/vnd.api+json", "{}", "e30=", true},
		{"application/x-www-form-urlencoded", "a", "YQ==", true},
		{"application/octet-stream", "hello world", "aGVsbG8gd29ybGQ=", true},
		{"json", "{}", "e30=", true},
		{"", "{}", "e30=", true},
	} {
		request := fmt.Sprintf("POST / HTTP/1.1\nHost: a\nContent-Type: %s\nTransfer-Encoding: chunked\n\n%x\n%s\n0\n\n", test.contentType, len(test.body), test.body)
		if test.body == "" {
			request = fmt.Sprintf("POST / HTTP/1.1\nHost: a\nContent-Type: %s\nContent-Length: 0\n\n", test.contentType)
		}
		if test.contentType == "" {
			request = strings.Replace(request, "Content-Type: \n", "", 1)
		}
		got, _ := send(t, "", request)
		if got.Body != test.want || got.IsBase64Encoded != test.base64 || got.Headers["content-length"] != fmt.Sprint(len(test.body)) || got.Headers["transfer-encoding"] != "" {
			t.Errorf("%q %q: got %q, %t, %v", test.contentType, test.body, got.Body, got.IsBase64Encoded, got.Headers)
		}
	}
}

func TestEventOfAStage(t *testing.T) {
	t.Parallel()
	for sent, want := range map[string]string{
		"/prod": "/prod", "/prod/": "/prod/", "/prod/api/v1/syncs": "/prod/api/v1/syncs",
		"/": "", "/production": "", "/api/v1/syncs": "", "//prod/a": "",
	} {
		got, response := send(t, "prod", "GET "+sent+" HTTP/1.1\nHost: a\n\n")
		if got.RawPath != want || (want == "") != (response.StatusCode == http.StatusNotFound) || want != "" && got.RequestContext.Stage != "prod" {
			t.Errorf("%s: got %d, %q", sent, response.StatusCode, got.RawPath)
		}
	}
}
