package server

import (
	"encoding/base64"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// defaultStage is the stage whose name is not in the path.
const defaultStage = "$default"

// localAPI is the ID of the API, and the first label of its own domain.
const localAPI = "local"

// eventOf returns the event that an HTTP API sends to a function for r and its body
// (payload format 2.0): the path is decoded and starts with the stage unless that is
// $default; header names are in lower case and repeated headers are joined with
// commas; cookies are separate; a body that is not text is in base64. The route is
// always $default. Some details are not documented and were taken from published
// captures of live events: rawPath is decoded, rawQueryString is not, commas join
// headers without a space, and only text/*, JSON, XML and JavaScript are text. Unlike
// an HTTP API, eventOf does not decode a path twice or cut it at a question mark.
func eventOf(r *http.Request, body []byte, stage, id string, at time.Time) events.APIGatewayV2HTTPRequest {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, port = r.Host, "80"
	}
	source, _, _ := net.SplitHostPort(r.RemoteAddr)
	event := events.APIGatewayV2HTTPRequest{
		Version:               "2.0",
		RouteKey:              defaultStage, // the route of this name
		RawPath:               r.URL.Path,
		RawQueryString:        r.URL.RawQuery,
		Cookies:               cookiesOf(r.Header),
		Headers:               headersOf(r.Header),
		QueryStringParameters: parametersOf(r.URL),
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			AccountID:    localAPI,
			APIID:        localAPI,
			DomainName:   host,
			DomainPrefix: localAPI, // no custom domain
			RequestID:    id,
			RouteKey:     defaultStage,
			Stage:        stage,
			Time:         at.UTC().Format("02/Jan/2006:15:04:05 -0700"),
			TimeEpoch:    at.UnixMilli(),
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method:    r.Method,
				Path:      r.URL.Path,
				Protocol:  r.Proto,
				SourceIP:  source,
				UserAgent: r.UserAgent(),
			},
		},
	}
	event.Headers["host"] = r.Host
	event.Headers["content-length"] = strconv.Itoa(len(body))
	event.Headers["x-forwarded-for"] = strings.TrimPrefix(event.Headers["x-forwarded-for"]+", "+source, ", ")
	event.Headers["x-forwarded-port"] = port
	event.Headers["x-forwarded-proto"] = "http"
	if len(body) == 0 || isText(r.Header.Get("Content-Type")) && utf8.Valid(body) {
		event.Body = string(body)
	} else {
		event.Body, event.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return event
}

// headersOf returns the headers without the cookies and the hop-by-hop headers (RFC
// 9110, section 7.6.1).
func headersOf(header http.Header) map[string]string {
	headers := make(map[string]string, len(header)+5)
	for name, values := range header {
		headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	for name := range strings.SplitSeq(headers["connection"], ",") {
		delete(headers, strings.ToLower(strings.TrimSpace(name)))
	}
	for _, name := range []string{"connection", "cookie", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"} {
		delete(headers, name)
	}
	return headers
}

// cookiesOf returns the cookies, each name=value; nil without any.
func cookiesOf(header http.Header) []string {
	var cookies []string
	for cookie := range strings.SplitSeq(strings.Join(header["Cookie"], ";"), ";") {
		if cookie = strings.TrimSpace(cookie); cookie != "" {
			cookies = append(cookies, cookie)
		}
	}
	return cookies
}

// parametersOf returns the decoded parameters of a query, repeated ones joined with
// commas; nil without any.
func parametersOf(address *url.URL) map[string]string {
	var parameters map[string]string
	for name, values := range address.Query() {
		if parameters == nil {
			parameters = map[string]string{}
		}
		parameters[name] = strings.Join(values, ",")
	}
	return parameters
}

// isText reports whether an event contains a body of this type without base64.
func isText(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" {
		return false
	}
	switch media {
	case "application/json", "application/xml", "application/javascript":
		return true
	}
	return strings.HasPrefix(media, "text/")
}
