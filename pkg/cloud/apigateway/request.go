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

// maxRequestID is the longest request ID accepted from an event, in bytes. Our own
// choice; API Gateway's have 16.
const maxRequestID = 128

// request is a request read from an event. Its event is one that the adapter accepts;
// the other fields hold what the adapter would change.
type request struct {
	event  events.APIGatewayV2HTTPRequest
	url    *url.URL
	method string // which the adapter would turn into upper case
	header http.Header
	body   []byte
	host   string
	id     string
	prefix string // before the path in the client's address, such as /prod
	err    error  // the client's error, if the event is not a request

	answered []byte // the body of the response, unless the adapter has it in base64
}

// readRequest reads an event. If the event is not a request, the result is GET / with err.
func (h *Handler) readRequest(ctx context.Context, payload []byte) request {
	event, parsed := readEvent(h.pool, payload)
	in := request{
		method: http.MethodGet,
		url:    &url.URL{Path: "/"},
		header: headerOf(event),
		host:   event.domainName,
		id:     requestID(ctx, event),
	}
	in.event.RawPath = "/"
	in.event.RequestContext.HTTP.Method = http.MethodGet
	refuse := func(code, message string) request {
		in.err = fault.New(fault.Malformed, code, "%s", message)
		return in
	}

	const want = "the event must be that of an API Gateway HTTP API (payload format 2.0)"
	method := event.method
	switch {
	case !utf8.Valid(payload):
		return refuse("invalid_utf8", "the request must be valid UTF-8")
	case parsed != nil:
		return refuse("not_a_request", want+", and cannot be read as one")
	case method == "":
		return refuse("not_a_request", want+", and has no method in requestContext.http.method")
	case strings.ContainsFunc(method, func(c rune) bool { return !isToken(c) }):
		return refuse("bad_method", "the method must be an HTTP method such as POST")
	}

	path, staged := pathOf(event)
	query := queryOf(event)
	address, err := url.Parse("https://" + placeholder + path + "?" + query)
	if err != nil {
		return refuse("bad_path", "the query must be percent-encoded (RFC 3986)")
	}
	body := event.body
	if event.isBase64Encoded {
		decoded, err := base64.StdEncoding.AppendDecode(nil, body)
		if err != nil {
			return refuse("bad_base64", "the body is marked as base64 but is not valid base64")
		}
		body = decoded
	}

	in.method = method
	in.url = address
	in.prefix = h.prefixOf(event, staged)
	in.event.RawPath = path
	in.event.RawQueryString = query
	in.body = body
	in.event.RequestContext.HTTP.Method = method
	in.event.RequestContext.HTTP.SourceIP = event.sourceIP
	in.event.RequestContext.DomainName = placeholder
	return in
}

// placeholder is the host in the address that the adapter parses. The host of the
// event may be malformed.
const placeholder = "gateway"

// pathOf returns the path without the name of the stage, percent-encoded, and whether
// it had one. An HTTP API decodes the path, so a percent sign in rawPath does not
// begin an escape. rawPath begins with a stage other than $default, except perhaps at
// a custom domain; a comparison with the route decides.
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
	case rest != "" && rest[0] != '/': // a longer segment that starts with the stage
	case routed && strings.Count(path, "/") <= strings.Count(route, "/"): // not enough segments for a stage
	default:
		path, staged = rest, true
	}
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return (&url.URL{Path: path}).EscapedPath(), staged
}

// prefixOf returns the prefix before the path in the address that the client used. At
// the API's own domain, whose first label is the API's ID, it is the stage. At a
// custom domain it is the key of the mapping, which events do not contain.
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

// queryOf returns the query, percent-encoded.
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

// headerOf returns the header of the request, with its cookies.
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

// requestID returns API Gateway's ID of the request, or Lambda's if the event has no
// ID that is valid in a header.
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
