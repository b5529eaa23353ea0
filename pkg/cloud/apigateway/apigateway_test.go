package apigateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/fault"
)

const (
	idHeader     = "X-Request-Id"
	prefixHeader = "X-Forwarded-Prefix"
)

// fail responds with the status and the code of an error.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	code := "internal"
	if broken, ok := errors.AsType[*fault.Error](err); ok && broken.Kind == fault.Malformed {
		status, code = http.StatusBadRequest, broken.Code
	}
	w.Header().Set(idHeader, r.Header.Get(idHeader))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, code)
}

// good returns an event as API Gateway sends it.
func good() events.APIGatewayV2HTTPRequest {
	return events.APIGatewayV2HTTPRequest{
		Version:  "2.0",
		RouteKey: "POST /api/v1/syncs",
		RawPath:  "/api/v1/syncs",
		Headers:  map[string]string{"content-type": "application/json", "host": "abc123.execute-api.eu-central-1.amazonaws.com"},
		Body:     `{"sync":{}}`,
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			APIID:        "abc123",
			DomainName:   "abc123.execute-api.eu-central-1.amazonaws.com",
			DomainPrefix: "abc123",
			RequestID:    "JKJaXmPLvHcESHA=",
			Stage:        "$default",
			HTTP:         events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: "POST", Path: "/api/v1/syncs", SourceIP: "192.0.2.1"},
		},
	}
}

// invoke passes an event to a Handler over handler, and fails the test if Invoke
// returns an error or not a response.
func invoke(t *testing.T, handler http.HandlerFunc, payload []byte) events.APIGatewayV2HTTPResponse {
	t.Helper()
	h := apigateway.New(apigateway.Config{
		Next: handler, Fail: fail, RequestIDHeader: idHeader, PrefixHeader: prefixHeader,
		Mapping: apigateway.Mapping{Domain: "api.example.com", Path: "/orders"},
	})
	answer, err := h.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatalf("Invoke: %v", err)
	}
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(answer, &response); err != nil {
		t.Fatalf("Invoke did not return a response: %v: %s", err, answer)
	}
	return response
}

func encode(t *testing.T, event any) []byte {
	t.Helper()
	payload, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// seen holds what a handler receives.
type seen struct {
	Method, Path, Query, Host, Body, ID, Prefix string
	Header                                      http.Header
}

func TestInvokeRequest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit func(e *events.APIGatewayV2HTTPRequest)
		want func(s *seen)
	}{
		"the request":                 {func(*events.APIGatewayV2HTTPRequest) {}, func(*seen) {}},
		"a header value with a comma": {func(e *events.APIGatewayV2HTTPRequest) { e.Headers["if-match"] = `"abc,def"` }, func(s *seen) { s.Header.Set("If-Match", `"abc,def"`) }},
		"names that differ in case":   {func(e *events.APIGatewayV2HTTPRequest) { e.Headers["X-A"], e.Headers["x-a"] = "1", "2" }, func(s *seen) { s.Header.Set("X-A", "1, 2") }},
		"cookies":                     {func(e *events.APIGatewayV2HTTPRequest) { e.Cookies = []string{"a=1", "b=2"} }, func(s *seen) { s.Header.Set("Cookie", "a=1; b=2") }},
		"a base64 body":               {func(e *events.APIGatewayV2HTTPRequest) { e.Body, e.IsBase64Encoded = "/wA=", true }, func(s *seen) { s.Body = "\xff\x00" }},
		"a query":                     {func(e *events.APIGatewayV2HTTPRequest) { e.RawQueryString = "a=1&b=%20x#y" }, func(s *seen) { s.Query = "a=1&b=%20x%23y" }},
		"a query in parts":            {func(e *events.APIGatewayV2HTTPRequest) { e.QueryStringParameters = map[string]string{"a": "1 2"} }, func(s *seen) { s.Query = "a=1+2" }},
		"no raw path":                 {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "" }, func(*seen) {}},
		"a path with a question mark": {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "/a?b#c" }, func(s *seen) { s.Path = "/a%3Fb%23c" }},
		"an escaped slash":            {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "/a%2Fb//c" }, func(s *seen) { s.Path = "/a%252Fb//c" }},
		"a decoded percent sign":      {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "/a%zz%" }, func(s *seen) { s.Path = "/a%25zz%25" }},
		"a decoded NUL":               {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "/a\x00\r\n\x7f" }, func(s *seen) { s.Path = "/a%00%0D%0A%7F" }},
		"decoded unicode":             {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "/a b/λ-世界" }, func(s *seen) { s.Path = "/a%20b/%CE%BB-%E4%B8%96%E7%95%8C" }},
		"a path of slashes":           {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "//evil.example.com/a" }, func(s *seen) { s.Path = "//evil.example.com/a" }},
		"a path like a host":          {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "@evil.example.com:80/a" }, func(s *seen) { s.Path = "/@evil.example.com:80/a" }},
		"a path without a slash":      {func(e *events.APIGatewayV2HTTPRequest) { e.RawPath = "a" }, func(s *seen) { s.Path = "/a" }},
		"the named stage's path":      {stage("prod", "/prod/api/v1/syncs"), func(s *seen) { s.Prefix = "/prod" }},
		"the named stage itself": {func(e *events.APIGatewayV2HTTPRequest) {
			stage("prod", "/prod")(e)
			e.RouteKey = "$default"
		}, func(s *seen) { s.Path, s.Prefix = "/", "/prod" }},
		"a longer first segment":      {stage("prod", "/production"), func(s *seen) { s.Path = "/production" }},
		"a stage at a custom domain":  {stage("prod", "/api/v1/syncs"), func(*seen) {}},
		"a stage named like the path": {stage("api", "/api/api/v1/syncs"), func(s *seen) { s.Prefix = "/api" }},
		"that at a custom domain":     {stage("api", "/api/v1/syncs"), func(*seen) {}},
		"a stage and no route": {func(e *events.APIGatewayV2HTTPRequest) {
			stage("prod", "/prod/nothing")(e)
			e.RouteKey = "$default"
		}, func(s *seen) { s.Path, s.Prefix = "/nothing", "/prod" }},
		"a stage without a domain": {func(e *events.APIGatewayV2HTTPRequest) {
			stage("prod", "/prod/api/v1/syncs")(e)
			e.RequestContext.APIID, e.RequestContext.DomainName, e.RequestContext.DomainPrefix = "", "", ""
		}, func(s *seen) { s.Host, s.Prefix = "", "/prod" }},
		// At a custom domain the client's address has the key of the mapping in
		// place of the stage.
		"a mapped domain":                {domain("api.example.com", "$default", "/api/v1/syncs"), func(s *seen) { s.Host, s.Prefix = "api.example.com", "/orders" }},
		"a mapped domain, another case":  {domain("API.example.com", "$default", "/api/v1/syncs"), func(s *seen) { s.Host, s.Prefix = "API.example.com", "/orders" }},
		"a mapped domain of a stage":     {domain("api.example.com", "prod", "/prod/api/v1/syncs"), func(s *seen) { s.Host, s.Prefix = "api.example.com", "/orders" }},
		"another domain":                 {domain("www.example.com", "$default", "/api/v1/syncs"), func(s *seen) { s.Host = "www.example.com" }},
		"another domain of a stage":      {domain("www.example.com", "prod", "/prod/api/v1/syncs"), func(s *seen) { s.Host = "www.example.com" }},
		"another domain without a stage": {domain("www.example.com", "prod", "/api/v1/syncs"), func(s *seen) { s.Host = "www.example.com" }},
		"a client's own prefix":          {func(e *events.APIGatewayV2HTTPRequest) { e.Headers["x-forwarded-prefix"] = "//evil.example.com" }, func(*seen) {}},
		"that with a stage": {func(e *events.APIGatewayV2HTTPRequest) {
			stage("prod", "/prod/api/v1/syncs")(e)
			e.Headers["X-FORWARDED-prefix"] = "//evil.example.com"
		}, func(s *seen) { s.Prefix = "/prod" }},
		"a method in lower case":    {func(e *events.APIGatewayV2HTTPRequest) { e.RequestContext.HTTP.Method = "delete" }, func(s *seen) { s.Method = "delete" }},
		"a client's own request id": {func(e *events.APIGatewayV2HTTPRequest) { e.Headers["x-request-id"] = "mine" }, func(*seen) {}},
		"an invalid request id": {func(e *events.APIGatewayV2HTTPRequest) {
			e.RequestContext.RequestID = "a\r\nb"
		}, func(s *seen) { s.ID = "unknown" }},
		"a long request id": {func(e *events.APIGatewayV2HTTPRequest) {
			e.RequestContext.RequestID = strings.Repeat("a", 129)
		}, func(s *seen) { s.ID = "unknown" }},
		"a malformed domain name": {func(e *events.APIGatewayV2HTTPRequest) { e.RequestContext.DomainName = "%zz /[" }, func(s *seen) { s.Host = "%zz /[" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event := good()
			test.edit(&event)
			want := seen{
				Method: "POST", Path: "/api/v1/syncs", Host: "abc123.execute-api.eu-central-1.amazonaws.com", Body: `{"sync":{}}`, ID: "JKJaXmPLvHcESHA=",
				Header: http.Header{"Content-Type": {"application/json"}, "Host": {"abc123.execute-api.eu-central-1.amazonaws.com"}},
			}
			test.want(&want)
			want.Header.Set(idHeader, want.ID)

			var got seen
			response := invoke(t, func(_ http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				prefix := r.Header.Get(prefixHeader)
				r.Header.Del(prefixHeader)
				got = seen{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Host, string(body), r.Header.Get(idHeader), prefix, r.Header}
			}, encode(t, event))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if response.StatusCode != http.StatusOK {
				t.Errorf("the status of a handler that writes nothing is %d, want 200", response.StatusCode)
			}
		})
	}
}

func domain(name, stageName, path string) func(e *events.APIGatewayV2HTTPRequest) {
	return func(e *events.APIGatewayV2HTTPRequest) {
		stage(stageName, path)(e)
		e.RequestContext.DomainName = name
		e.RequestContext.DomainPrefix, _, _ = strings.Cut(name, ".")
	}
}

func stage(name, path string) func(e *events.APIGatewayV2HTTPRequest) {
	return func(e *events.APIGatewayV2HTTPRequest) {
		e.RequestContext.Stage = name
		e.RawPath = path
	}
}

func TestInvokeMalformed(t *testing.T) {
	t.Parallel()
	edited := func(edit func(e *events.APIGatewayV2HTTPRequest)) []byte {
		event := good()
		edit(&event)
		return encode(t, event)
	}
	for name, test := range map[string]struct {
		payload []byte
		want    string // the code
	}{
		"nothing":                          {nil, "not_a_request"},
		"no JSON":                          {[]byte("{"), "not_a_request"},
		"null":                             {[]byte("null"), "not_a_request"},
		"a string":                         {[]byte(`"x"`), "not_a_request"},
		"a list":                           {[]byte(`[]`), "not_a_request"},
		"an empty object":                  {[]byte(`{}`), "not_a_request"},
		"a queue's event":                  {[]byte(`{"Records":[{"eventSource":"aws:sqs","body":"{}"}]}`), "not_a_request"},
		"a REST API's event":               {[]byte(`{"version":"1.0","httpMethod":"POST","path":"/api/v1/syncs"}`), "not_a_request"},
		"a number for a name":              {[]byte(`{"headers":{"a":1}}`), "not_a_request"},
		"invalid UTF-8":                    {[]byte("{\"body\":\"\xff\"}"), "invalid_utf8"},
		"a control character in the query": {edited(func(e *events.APIGatewayV2HTTPRequest) { e.RawQueryString = "a=\x01" }), "bad_path"},
		"bad base64":                       {edited(func(e *events.APIGatewayV2HTTPRequest) { e.Body, e.IsBase64Encoded = "*", true }), "bad_base64"},
		"a bad method":                     {edited(func(e *events.APIGatewayV2HTTPRequest) { e.RequestContext.HTTP.Method = "PO ST" }), "bad_method"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response := invoke(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") }, test.payload)
			if response.StatusCode != http.StatusBadRequest || response.Body != test.want {
				t.Errorf("got %d %s, want 400 %s", response.StatusCode, response.Body, test.want)
			}
			if response.Headers[idHeader] == "" {
				t.Error("the response has no request id")
			}
		})
	}
}

func TestInvokeResponse(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    events.APIGatewayV2HTTPResponse
	}{
		"the first status wins": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusAccepted)
				w.Header().Set("X-Late", "1")
				w.WriteHeader(http.StatusTeapot)
			},
			events.APIGatewayV2HTTPResponse{StatusCode: http.StatusAccepted},
		},
		"writing sets the status": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, "a")
				w.WriteHeader(http.StatusTeapot)
				_, _ = io.WriteString(w, "b")
			},
			events.APIGatewayV2HTTPResponse{StatusCode: http.StatusOK, Body: "ab", Headers: map[string]string{"Content-Type": "text/plain"}},
		},
		"an early hint is not the status": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				w.WriteHeader(http.StatusNoContent)
				_, _ = io.WriteString(w, "ignored")
			},
			events.APIGatewayV2HTTPResponse{StatusCode: http.StatusNoContent},
		},
		"a panic is an opaque 500": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusOK)
				_, _ = io.WriteString(w, "half a response")
				panic("secret")
			},
			events.APIGatewayV2HTTPResponse{StatusCode: http.StatusInternalServerError, Body: "internal", Headers: map[string]string{
				"Content-Type": "text/plain; charset=utf-8", idHeader: "JKJaXmPLvHcESHA=",
			}},
		},
		"an invalid status is an opaque 500": {
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(42) },
			events.APIGatewayV2HTTPResponse{StatusCode: http.StatusInternalServerError, Body: "internal", Headers: map[string]string{
				"Content-Type": "text/plain; charset=utf-8", idHeader: "JKJaXmPLvHcESHA=",
			}},
		},
		"a binary body is base64": {
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/octet-stream")
				_, _ = w.Write([]byte{0xff})
			},
			events.APIGatewayV2HTTPResponse{
				StatusCode: http.StatusOK, Body: "/w==", IsBase64Encoded: true,
				Headers: map[string]string{"Content-Type": "application/octet-stream"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := invoke(t, test.handler, encode(t, good()))
			if test.want.Headers == nil {
				test.want.Headers = map[string]string{}
			}
			test.want.Cookies = []string{}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHeaderNames checks that a handler finds each header by the name that net/http gives
// it.
func TestHeaderNames(t *testing.T) {
	t.Parallel()
	names := []string{
		"accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent", "x-amzn-trace-id",
		"x-forwarded-for", "x-forwarded-port", "x-forwarded-proto", "If-None-Match", "idempotency-key", "X-FORWARDED-FOR-2", "bad name",
	}
	event := good()
	want := http.Header{}
	for _, name := range names {
		event.Headers[name] = "of " + name
		want[http.CanonicalHeaderKey(name)] = []string{"of " + name}
	}
	invoke(t, func(_ http.ResponseWriter, r *http.Request) {
		r.Header.Del(idHeader)
		if diff := cmp.Diff(want, r.Header); diff != "" {
			t.Error(diff)
		}
	}, encode(t, event))
}

// TestInvokeCopies checks that what a handler keeps of a request does not change when
// Lambda uses the memory of the event again.
func TestInvokeCopies(t *testing.T) {
	t.Parallel()
	payload := encode(t, good())
	var kept *http.Request
	var body []byte
	invoke(t, func(_ http.ResponseWriter, r *http.Request) {
		kept = r
		memory, ok := r.Body.(interface{ Bytes() []byte })
		if !ok || r.ContentLength != int64(len(memory.Bytes())) {
			t.Fatalf("got a %T and the length %d", r.Body, r.ContentLength)
		}
		body = memory.Bytes()
	}, payload)
	clear(payload)
	if string(body) != `{"sync":{}}` || kept.Header.Get("Content-Type") != "application/json" || kept.Header.Get(idHeader) != "JKJaXmPLvHcESHA=" {
		t.Errorf("got %s, %v", body, kept.Header)
	}
}

// TestInvokePanic checks that the error of a panic contains its value only for errors.
func TestInvokePanic(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler    http.HandlerFunc
		want, deny string
	}{
		"a runtime error": {func(_ http.ResponseWriter, r *http.Request) { _ = make([]int, 0)[len(r.Method)] }, "index out of range", "secret"},
		"another value":   {func(http.ResponseWriter, *http.Request) { panic("secret") }, "panic with a string", "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var logged error
			h := apigateway.New(apigateway.Config{
				Next: test.handler, RequestIDHeader: idHeader,
				Fail: func(_ http.ResponseWriter, _ *http.Request, err error) { logged = err },
			})
			if _, err := h.Invoke(t.Context(), encode(t, good())); err != nil {
				t.Fatal(err)
			}
			if text := logged.Error(); !strings.Contains(text, test.want) || strings.Contains(text, test.deny) || !strings.Contains(text, "apigateway_test.go") {
				t.Errorf("got %s", text)
			}
		})
	}
}

func TestInvokeDeadline(t *testing.T) {
	t.Parallel()
	limit := time.Now().Add(time.Minute)
	ctx, cancel := context.WithDeadline(t.Context(), limit)
	defer cancel()
	h := apigateway.New(apigateway.Config{
		Next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if got, ok := r.Context().Deadline(); !ok || !got.Before(limit) {
				t.Errorf("the deadline of the request is %v, that of the function %v", got, limit)
			}
		}),
		Fail: fail, RequestIDHeader: idHeader,
	})
	if _, err := h.Invoke(ctx, encode(t, good())); err != nil {
		t.Fatal(err)
	}
}

func TestInvokeLambdaRequestID(t *testing.T) {
	t.Parallel()
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "8476a536-e9f4-11e8-9739-2dfe598c3fcd"})
	h := apigateway.New(apigateway.Config{Next: http.NotFoundHandler(), Fail: fail, RequestIDHeader: idHeader})
	answer, err := h.Invoke(ctx, []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(answer), "8476a536-e9f4-11e8-9739-2dfe598c3fcd") {
		t.Errorf("%s lacks Lambda's request id", answer)
	}
}

// FuzzInvoke checks for every payload that Invoke returns a response with a request ID
// and the status 200 or 400, and no error.
func FuzzInvoke(f *testing.F) {
	f.Add([]byte(`{"version":"2.0","rawPath":"/api/v1/syncs","requestContext":{"http":{"method":"POST"}},"body":"{}"}`))
	h := apigateway.New(apigateway.Config{
		Next: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(idHeader, r.Header.Get(idHeader))
			if decoded, err := url.PathUnescape(r.URL.EscapedPath()); err != nil || decoded != r.URL.Path {
				panic(err)
			}
			if _, err := io.Copy(w, r.Body); err != nil {
				panic(err)
			}
		}),
		Fail: fail, RequestIDHeader: idHeader,
	})
	f.Fuzz(func(t *testing.T, payload []byte) {
		answer, err := h.Invoke(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		var response events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal(answer, &response); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusBadRequest || response.Headers[idHeader] == "" {
			t.Errorf("got %s", answer)
		}
	})
}
