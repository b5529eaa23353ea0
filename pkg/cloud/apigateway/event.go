package apigateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/jsonpool"
)

// event holds the members of an API Gateway event that are used.
type event struct {
	routeKey              string
	rawPath               string // decoded; begins with the stage unless that is $default
	rawQueryString        string
	queryStringParameters map[string]string
	cookies               []string
	headers               http.Header // one value for each name, with commas as the gateway sends it
	body                  []byte
	isBase64Encoded       bool
	apiID                 string // from requestContext, like the following
	domainName            string
	domainPrefix          string
	requestID             string
	stage                 string
	method                string // from requestContext.http, like the following
	path                  string
	sourceIP              string
}

// newPool returns the pool of decoders for events. The last of duplicate members
// wins, as in AWS's event types. Handler.readRequest rejects invalid UTF-8.
func newPool() *jsonpool.Pool {
	return jsonpool.New(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// readEvent reads an event. After an error the event holds what could be read, so
// that the response can contain the ID of the request.
func readEvent(pool *jsonpool.Pool, payload []byte) (event, error) {
	dec := pool.Get(payload)
	defer pool.Put(dec)
	e := event{}
	r := reader{dec: &dec.Decoder, source: string(payload)}
	r.object(func(name []byte) {
		switch string(name) {
		case "routeKey":
			e.routeKey = r.text()
		case "rawPath":
			e.rawPath = r.text()
		case "rawQueryString":
			e.rawQueryString = r.text()
		case "queryStringParameters":
			e.queryStringParameters = map[string]string{}
			r.object(func(name []byte) { e.queryStringParameters[string(name)] = r.text() })
		case "cookies":
			e.cookies = r.texts()
		case "headers":
			e.headers = r.headers()
		case "body":
			e.body = r.bytes()
		case "isBase64Encoded":
			e.isBase64Encoded = r.boolean()
		case "requestContext":
			r.context(&e)
		default:
			r.skip()
		}
	})
	if _, err := r.dec.ReadToken(); r.err == nil && !errors.Is(err, io.EOF) {
		r.err = errors.New("there is data after the event")
	}
	return e, r.err
}

// context reads requestContext.
func (r *reader) context(e *event) {
	r.object(func(name []byte) {
		switch string(name) {
		case "apiId":
			e.apiID = r.text()
		case "domainPrefix":
			e.domainPrefix = r.text()
		case "domainName":
			e.domainName = r.text()
		case "requestId":
			e.requestID = r.text()
		case "stage":
			e.stage = r.text()
		case "http":
			r.object(func(name []byte) {
				switch string(name) {
				case "method":
					e.method = r.text()
				case "path":
					e.path = r.text()
				case "sourceIp":
					e.sourceIP = r.text()
				default:
					r.skip()
				}
			})
		default:
			r.skip()
		}
	})
}

// reader reads the values of an event. It skips a value of the wrong type and records
// that as an error; null is the zero value. Texts without escapes share the memory of
// source, a copy of the event, as Lambda uses the memory of an event again.
type reader struct {
	dec    *jsontext.Decoder
	source string
	err    error // the first error
}

// note records err unless there is an earlier one.
func (r *reader) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reader) skip() {
	if err := r.dec.SkipValue(); err != nil {
		r.note(err)
	}
}

// is reports whether the next value is of this kind. If it is not, is skips it.
func (r *reader) is(want jsontext.Kind) bool {
	kind := r.dec.PeekKind()
	if kind == want {
		return true
	}
	if kind != jsontext.KindNull {
		r.note(fmt.Errorf("%s is %s", r.dec.StackPointer(), kind))
	}
	r.skip()
	return false
}

// object reads an object and calls member after each name. member must read the
// value and must not retain the name.
func (r *reader) object(member func(name []byte)) {
	if !r.is(jsontext.KindBeginObject) {
		return
	}
	_, err := r.dec.ReadToken()
	for err == nil && r.dec.PeekKind() == jsontext.KindString {
		var name jsontext.Value
		if name, err = r.dec.ReadValue(); err == nil {
			member(jsonpool.Unquote(name))
		}
	}
	if err == nil {
		_, err = r.dec.ReadToken()
	}
	if err != nil {
		r.note(err)
	}
}

func (r *reader) text() string {
	if !r.is(jsontext.KindString) {
		return ""
	}
	quoted, err := r.dec.ReadValue()
	if err != nil {
		r.note(err)
		return ""
	}
	return r.unquote(quoted)
}

// unquote returns the text of the string that was just read.
func (r *reader) unquote(quoted jsontext.Value) string {
	end := int(r.dec.InputOffset())
	text := r.source[end-len(quoted)+1 : end-1]
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	return string(jsonpool.Unquote(quoted))
}

// bytes reads a text as bytes that the caller owns.
func (r *reader) bytes() []byte {
	if !r.is(jsontext.KindString) {
		return nil
	}
	quoted, err := r.dec.ReadValue()
	if err != nil {
		r.note(err)
		return nil
	}
	text, _ := jsontext.AppendUnquote(make([]byte, 0, len(quoted)), quoted) // the error reports invalid UTF-8, as above
	return text
}

func (r *reader) boolean() bool {
	is := r.dec.PeekKind() == jsontext.KindTrue
	if is || r.is(jsontext.KindFalse) {
		r.skip()
	}
	return is
}

func (r *reader) texts() []string {
	if !r.is(jsontext.KindBeginArray) {
		return nil
	}
	var list []string
	_, err := r.dec.ReadToken()
	for err == nil && r.dec.PeekKind() != jsontext.KindEndArray && r.err == nil {
		list = append(list, r.text())
	}
	if err == nil {
		_, err = r.dec.ReadToken()
	}
	if err != nil {
		r.note(err)
	}
	return list
}

// headers reads an object of strings. The values of names that differ only in case
// are joined in the order of the event.
func (r *reader) headers() http.Header {
	const usual = 24 // headers of a request; their values share one allocation
	header := make(http.Header, usual)
	values := make([]string, 0, usual)
	r.object(func(quoted []byte) {
		name := headerName(quoted)
		value := r.text()
		if before, ok := header[name]; ok {
			before[0] += ", " + value
			return
		}
		values = append(values, value)
		header[name] = values[len(values)-1:][:1:1]
	})
	return header
}

// headerName returns the canonical form of the name of a header. The names that most
// requests have are not allocated.
func headerName(name []byte) string {
	for _, usual := range [...]struct{ sent, canonical string }{
		{"accept", "Accept"},
		{"accept-encoding", "Accept-Encoding"},
		{"authorization", "Authorization"},
		{"content-length", "Content-Length"},
		{"content-type", "Content-Type"},
		{"host", "Host"},
		{"user-agent", "User-Agent"},
		{"x-amzn-trace-id", "X-Amzn-Trace-Id"},
		{"x-forwarded-for", "X-Forwarded-For"},
		{"x-forwarded-port", "X-Forwarded-Port"},
		{"x-forwarded-proto", "X-Forwarded-Proto"},
	} {
		if string(name) == usual.sent {
			return usual.canonical
		}
	}
	return http.CanonicalHeaderKey(string(name))
}
