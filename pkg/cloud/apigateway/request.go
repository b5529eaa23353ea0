package apigateway

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
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
	prefix string // what stands before the path in the client's address, such as /prod
	err    error  // why the event is no request, fit for the client
}

// read reads an event. Where it is no request the result answers GET / with
// err.
func (h *Handler) read(ctx context.Context, payload []byte) request {
	event, parsed := readEvent(h.pool, payload)
	in := request{
		url:    &url.URL{Path: "/"},
		header: headerOf(event),
		host:   event.domainName,
		id:     requestID(ctx, event),
	}
	in.event.RawPath = "/"
	in.event.RequestContext.HTTP.Method = http.MethodGet
	refuse := func(code, message string) request {
		in.err = &fault.Error{Kind: fault.Malformed, Code: code, Message: message}
		return in
	}

	const want = "this must be the event of an API Gateway HTTP API (payload format 2.0)"
	method := strings.ToUpper(event.method)
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

	path, staged := pathOf(event)
	query := queryOf(event)
	address, err := url.Parse("https://" + placeholder + path + "?" + query)
	if err != nil {
		return refuse("bad_path", "the query must be percent-encoded as RFC 3986 says")
	}
	body := event.body
	if event.isBase64Encoded {
		decoded, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			return refuse("bad_base64", "the body is marked as base64 and must be base64")
		}
		body = string(decoded)
	}

	in.url = address
	in.prefix = h.prefixOf(event, staged)
	in.event.RawPath = path
	in.event.RawQueryString = query
	in.event.Body = body
	in.event.RequestContext.HTTP.Method = method
	in.event.RequestContext.HTTP.SourceIP = event.sourceIP
	in.event.RequestContext.DomainName = placeholder
	return in
}

// placeholder is the host in the address that the adapter parses: the event's
// own may be anything.
const placeholder = "gateway"

// pathOf returns the path without the name of the stage, percent-encoded. An
// HTTP API decodes the path before it hands it over, so that whatever stands in
// rawPath is text: a percent sign there begins no escape. A stage other than
// $default stands in front of the path, except perhaps under a custom domain;
// the route tells the two apart.
func pathOf(event event) (path string, staged bool) {
	path = event.rawPath
	if path == "" {
		path = event.path
	}
	stage := event.stage
	rest, found := strings.CutPrefix(path, "/"+stage)
	_, route, routed := strings.Cut(event.routeKey, " ")
	switch {
	case stage == "" || stage == "$default" || !found:
	case rest != "" && rest[0] != '/': // another word that begins alike
	case routed && strings.Count(path, "/") <= strings.Count(route, "/"): // no room for a stage
	default:
		path, staged = rest, true
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Path: path}).EscapedPath(), staged
}

// prefixOf returns what stands before the path in the address that the client
// used. At the API's own domain, whose first label is the API's ID, that is the
// stage. At a custom domain it is the key of the mapping, which no event has.
func (h *Handler) prefixOf(event event, staged bool) string {
	custom := event.apiID != "" && event.domainPrefix != "" && event.domainPrefix != event.apiID
	switch {
	case custom && h.Mapping.Domain != "" && strings.EqualFold(event.domainName, h.Mapping.Domain):
		return h.Mapping.Path
	case !custom && staged:
		return (&url.URL{Path: "/" + event.stage}).EscapedPath()
	}
	return ""
}

func queryOf(event event) string {
	if event.rawQueryString != "" {
		return strings.ReplaceAll(event.rawQueryString, "#", "%23")
	}
	values := url.Values{}
	for name, value := range event.queryStringParameters {
		values.Set(name, value)
	}
	return values.Encode()
}

// headerOf is the header of the request, the cookies in it.
func headerOf(event event) http.Header {
	header := event.headers
	if header == nil {
		header = http.Header{}
	}
	if len(event.cookies) > 0 {
		header.Set("Cookie", strings.Join(event.cookies, "; "))
	}
	return header
}

// requestID is the gateway's ID of the request, or Lambda's where the event
// has none that fits in a header.
func requestID(ctx context.Context, event event) string {
	id := event.requestID
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
