package api

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"syncplane/pkg/fault"
	"syncplane/pkg/jsonapi"
)

// defaultRetryAfter is the Retry-After of faults that have none.
const defaultRetryAfter = time.Second

// errorResponse returns the response for err, a document of JSON:API error objects.
// It adds its headers to header.
func errorResponse(header http.Header, err error, r *http.Request) response {
	shown := jsonapi.Public(err)
	status, _ := jsonapi.Status(shown.Kind)
	if header == nil {
		header = http.Header{}
	}
	form, _ := negotiate(r.Header) // application/json if the client accepts neither
	header.Set("Content-Type", string(form))
	switch shown.Kind {
	case fault.Unauthenticated, fault.Forbidden:
		if challenge := challenge(shown); challenge != "" {
			header.Set("WWW-Authenticate", challenge)
		}
	case fault.Throttled, fault.Unavailable, fault.Conflict:
		if shown.RetryAfter != fault.Never {
			after := cmp.Or(shown.RetryAfter, defaultRetryAfter)
			header.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
		}
	case fault.Internal, fault.Malformed, fault.NotFound, fault.MethodNotAllowed, fault.NotAcceptable,
		fault.PreconditionFailed, fault.TooLarge, fault.UnsupportedMedia, fault.Invalid:
	}

	b := jsonapi.AppendErrors([]byte(`{"errors":`), err, r.Header.Get(RequestIDHeader))
	return response{status: status, header: header, body: append(b, '}')}
}

// challenge returns the value of WWW-Authenticate (RFC 6750, section 3). A request
// without a token gets no error code, as the RFC recommends.
func challenge(shown *fault.Error) string {
	const realm = `Bearer realm="syncs"`
	switch shown.Code {
	case "invalid_token":
		return fmt.Sprintf(`%s, error="invalid_token", error_description="%s"`, realm, escapeHeader(shown.Message))
	case "insufficient_scope":
		return fmt.Sprintf(`%s, error="insufficient_scope", scope="%s"`, realm, escapeHeader(shown.Scope))
	default:
		return realm
	}
}
