package apigateway

import (
	"bytes"
	"fmt"
	"net/http"
)

var _ http.ResponseWriter = (*recorder)(nil)

// recorder records a response with the rules of net/http's server: the first status
// wins, header changes after it have no effect, and the status of a handler that
// writes nothing is 200.
type recorder struct {
	header http.Header
	sent   http.Header // a copy of header from the time of WriteHeader
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

// Header returns the header to change before WriteHeader.
func (rec *recorder) Header() http.Header { return rec.header }

// WriteHeader sets the status. Later and informational ones have no effect.
func (rec *recorder) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Errorf("status %d", status)) // as net/http does
	case rec.status != 0 || status < 200: // set already, or informational
	default:
		rec.status = status
		rec.sent = rec.header.Clone()
	}
}

// Write adds to the body.
func (rec *recorder) Write(b []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	if rec.status == http.StatusNoContent || rec.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	return rec.body.Write(b)
}

// finish sets the status 200 if the handler has set none.
func (rec *recorder) finish() { rec.WriteHeader(http.StatusOK) }
