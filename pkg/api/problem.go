package api

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"syncplane/pkg/fault"
)

// StatusOf is the one table that turns a kind of fault into a status, with the
// title that goes with it.
func StatusOf(kind fault.Kind) (status int, title string) {
	switch kind {
	case fault.Malformed:
		return http.StatusBadRequest, "Malformed request"
	case fault.Unauthenticated:
		return http.StatusUnauthorized, "Not authenticated"
	case fault.Forbidden:
		return http.StatusForbidden, "Not permitted"
	case fault.NotFound:
		return http.StatusNotFound, "Not found"
	case fault.MethodNotAllowed:
		return http.StatusMethodNotAllowed, "Method not allowed"
	case fault.NotAcceptable:
		return http.StatusNotAcceptable, "Not acceptable"
	case fault.Conflict:
		return http.StatusConflict, "Conflict"
	case fault.PreconditionFailed:
		return http.StatusPreconditionFailed, "Precondition failed"
	case fault.TooLarge:
		return http.StatusRequestEntityTooLarge, "Request too large"
	case fault.UnsupportedMedia:
		return http.StatusUnsupportedMediaType, "Unsupported media type"
	case fault.Invalid:
		return http.StatusUnprocessableEntity, "Invalid value"
	case fault.Throttled:
		return http.StatusTooManyRequests, "Too many requests"
	case fault.Unavailable:
		return http.StatusServiceUnavailable, "Temporarily unavailable"
	case fault.Internal:
	}
	return http.StatusInternalServerError, "Internal error"
}

// defaultRetry is when to come back where the fault does not say.
const defaultRetry = time.Second

// publicOf is the Error that a client is shown for err. What nobody
// classified is opaque: only the log tells its cause.
func publicOf(err error) *fault.Error {
	shown, ok := errors.AsType[*fault.Error](err)
	if !ok || shown.Kind == fault.Internal {
		return &fault.Error{
			Kind: fault.Internal, Code: "internal",
			Message: "something went wrong on our side; please quote the id of this error",
		}
	}
	return shown
}

// codeOf is the code of the first thing wrong.
func codeOf(err error) string {
	shown := publicOf(err)
	if len(shown.Fields) > 0 {
		return shown.Fields[0].Code
	}
	return shown.Code
}

// problem is the answer to a request that came to nothing: a document of
// JSON:API error objects, on top of the headers that are settled already.
func problem(header http.Header, err error, r *http.Request) answer {
	shown := publicOf(err)
	status, title := StatusOf(shown.Kind)
	if header == nil {
		header = http.Header{}
	}
	form, _ := accepted(r.Header) // who takes neither form gets the usual one
	header.Set("Content-Type", string(form))
	switch shown.Kind {
	case fault.Unauthenticated, fault.Forbidden:
		if challenge := challengeOf(shown); challenge != "" {
			header.Set("WWW-Authenticate", challenge)
		}
	case fault.Throttled, fault.Unavailable, fault.Conflict:
		after := shown.RetryAfter
		if after <= 0 {
			after = defaultRetry
		}
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	case fault.Internal, fault.Malformed, fault.NotFound, fault.MethodNotAllowed, fault.NotAcceptable,
		fault.PreconditionFailed, fault.TooLarge, fault.UnsupportedMedia, fault.Invalid:
	}

	b := appendErrors([]byte(`{"errors":`), shown, status, title, r.Header.Get(RequestIDHeader))
	return answer{status: status, header: header, body: append(b, '}')}
}

// appendErrors appends the error objects of a fault.
func appendErrors(b []byte, shown *fault.Error, status int, title, id string) []byte {
	fields := shown.Fields
	if len(fields) == 0 {
		fields = []fault.Field{{Code: shown.Code, Detail: shown.Message}}
	}
	b = append(b, '[')
	for i, f := range fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"status":"%d","code":%s,"title":%s,"detail":%s`, status, quote(f.Code), quote(title), quote(f.Detail))
		switch {
		case f.Pointer != "":
			b = fmt.Appendf(b, `,"source":{"pointer":%s}`, quote(f.Pointer))
		case f.Header != "":
			b = fmt.Appendf(b, `,"source":{"header":%s}`, quote(f.Header))
		case f.Parameter != "":
			b = fmt.Appendf(b, `,"source":{"parameter":%s}`, quote(f.Parameter))
		}
		b = fmt.Appendf(b, `,"id":%s}`, quote(id))
	}
	return append(b, ']')
}

// challengeOf is the value of WWW-Authenticate (RFC 6750, section 3). A
// request without a token gets no error code, as the RFC wants.
func challengeOf(shown *fault.Error) string {
	const realm = `Bearer realm="syncs"`
	switch shown.Code {
	case "invalid_token":
		return fmt.Sprintf(`%s, error="invalid_token", error_description="%s"`, realm, quotable(shown.Message))
	case "insufficient_scope":
		return fmt.Sprintf(`%s, error="insufficient_scope", scope="%s"`, realm, quotable(shown.Scope))
	default:
		return realm
	}
}
