// Package jsonapi encodes errors as JSON:API 1.1 error objects ("Error Objects"), and
// maps their kinds to HTTP statuses. It knows package fault; it does not know the
// domain.
package jsonapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/fault"
)

// Status returns the HTTP status of a kind of fault, and its title.
func Status(kind fault.Kind) (status int, title string) {
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

// Public returns the error that a client is shown for err. For an error that is not a
// fault.Error, or is fault.Internal, that is a generic internal error; only the log
// has the cause.
func Public(err error) *fault.Error {
	shown, ok := errors.AsType[*fault.Error](err)
	if !ok || shown.Kind == fault.Internal {
		return &fault.Error{
			Kind: fault.Internal, Code: "internal",
			Message: "an internal error occurred; please quote the id of this error",
		}
	}
	return shown
}

// Code returns the code of the first error that a client is shown for err.
func Code(err error) string {
	shown := Public(err)
	if len(shown.Fields) > 0 {
		return shown.Fields[0].Code
	}
	return shown.Code
}

// AppendErrors appends the array of error objects that a client is shown for err. id
// is the ID of the request.
func AppendErrors(b []byte, err error, id string) []byte {
	shown := Public(err)
	status, title := Status(shown.Kind)
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

// quote returns s as a JSON string.
func quote(s string) []byte {
	b, _ := jsontext.AppendQuote(nil, s) // invalid UTF-8 is replaced
	return b
}
