package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"syncplane/pkg/fault"
)

// maxRequestID is the longest ID taken over from an event, in bytes. The
// gateway's have 16.
const maxRequestID = 128

// request is an event, read. The event in it is one that the adapter cannot
// stumble over; what the adapter would spoil stands beside it.
type request struct {
	event  events.APIGatewayV2HTTPRequest
	url    *url.URL
	header http.Header
	host   string
	id     string
	err    error // why the event is no request, fit for the client
}

// read reads an event. Where it is no request the result answers GET / with
// err.
func read(ctx context.Context, payload []byte) request {
	var event events.APIGatewayV2HTTPRequest
	parsed := json.Unmarshal(payload, &event)
	in := request{
		url:    &url.URL{Path: "/"},
		header: headerOf(event),
		host:   event.RequestContext.DomainName,
		id:     requestID(ctx, event),
	}
	in.event.RawPath = "/"
	in.event.RequestContext.HTTP.Method = http.MethodGet
	refuse := func(code, message string) request {
		in.err = &fault.Error{Kind: fault.Malformed, Code: code, Message: message}
		return in
	}

	const want = "this must be the event of an API Gateway HTTP API (payload format 2.0)"
	method := strings.ToUpper(event.RequestContext.HTTP.Method)
	switch {
	case !utf8.Valid(payload):
		return refuse("invalid_utf8", "the request must be UTF-8 throughout")
	case parsed != nil:
		return refuse("not_a_request", want+", and it does not have that form")
	case method == "":
		return refuse("not_a_request", want+", and it has no method in requestContext.http.method")
	case strings.ContainsFunc(method, func(c rune) bool { return !isToken(c) }):
		return refuse("bad_method", "the method must be an HTTP method such as POST")
	}

	path, query := pathOf(event), queryOf(event)
	address, err := url.Parse("https://" + placeholder + path + "?" + query)
	if err != nil {
		return refuse("bad_path", "the path and the query must be percent-encoded as RFC 3986 says")
	}
	body := event.Body
	if event.IsBase64Encoded {
		decoded, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return refuse("bad_base64", "the body is marked as base64 and must be base64")
		}
		body = string(decoded)
	}

	in.url = address
	in.event.RawPath = path
	in.event.RawQueryString = query
	in.event.Body = body
	in.event.RequestContext = event.RequestContext
	in.event.RequestContext.HTTP.Method = method
	in.event.RequestContext.DomainName = placeholder
	return in
}

// placeholder is the host in the address that the adapter parses: the event's
// own may be anything.
const placeholder = "gateway"

// pathOf is the path without the name of the stage, which a stage other than
// $default puts in front of it, except under a custom domain. The route tells
// the two apart.
func pathOf(event events.APIGatewayV2HTTPRequest) string {
	path := event.RawPath
	if path == "" {
		path = event.RequestContext.HTTP.Path
	}
	stage := event.RequestContext.Stage
	rest, staged := strings.CutPrefix(path, "/"+stage)
	_, route, routed := strings.Cut(event.RouteKey, " ")
	switch {
	case stage == "" || stage == "$default" || !staged:
	case rest != "" && rest[0] != '/': // another word that begins alike
	case routed && strings.Count(path, "/") <= strings.Count(route, "/"): // no room for a stage
	default:
		path = rest
	}
	// These two would end the path where the adapter parses it.
	path = strings.NewReplacer("?", "%3F", "#", "%23").Replace(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}

func queryOf(event events.APIGatewayV2HTTPRequest) string {
	if event.RawQueryString != "" {
		return strings.ReplaceAll(event.RawQueryString, "#", "%23")
	}
	values := url.Values{}
	for name, value := range event.QueryStringParameters {
		values.Set(name, value)
	}
	return values.Encode()
}

// headerOf has each header as one value, commas and all, as the gateway sends
// it. Names that differ in case alone are joined in a settled order.
func headerOf(event events.APIGatewayV2HTTPRequest) http.Header {
	header := make(http.Header, len(event.Headers)+2)
	for _, name := range slices.Sorted(maps.Keys(event.Headers)) {
		value := event.Headers[name]
		if before := header.Get(name); before != "" {
			value = before + ", " + value
		}
		header.Set(name, value)
	}
	if len(event.Cookies) > 0 {
		header.Set("Cookie", strings.Join(event.Cookies, "; "))
	}
	return header
}

// requestID is the gateway's ID of the request, or Lambda's where the event
// has none that fits in a header.
func requestID(ctx context.Context, event events.APIGatewayV2HTTPRequest) string {
	id := event.RequestContext.RequestID
	invisible := func(c rune) bool { return c <= ' ' || c > '~' }
	if id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, invisible) {
		return id
	}
	if lambda, ok := lambdacontext.FromContext(ctx); ok && lambda.AwsRequestID != "" {
		return lambda.AwsRequestID
	}
	return "unknown"
}

// isToken reports whether c may stand in a method (RFC 9110, section 5.6.2).
func isToken(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", c)
}
