package apigateway

import (
	"bytes"
	"fmt"
	"net/http"
)

// recorder is an http.ResponseWriter that behaves as net/http's server does:
// the first status wins, headers count until then, a handler that writes
// nothing answers 200.
type recorder struct {
	header http.Header
	sent   http.Header // header as it was when the status was settled
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: http.Header{}} }

func (rec *recorder) Header() http.Header { return rec.header }

func (rec *recorder) WriteHeader(status int) {
	switch {
	case status < 100 || status > 999:
		panic(fmt.Errorf("status %d", status)) // as net/http does
	case rec.status != 0 || status < 200: // settled, or merely informational
	default:
		rec.status = status
		rec.sent = rec.header.Clone()
	}
}

func (rec *recorder) Write(b []byte) (int, error) {
	rec.WriteHeader(http.StatusOK)
	if rec.status == http.StatusNoContent || rec.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	return rec.body.Write(b)
}

// finish settles what the handler left open.
func (rec *recorder) finish() { rec.WriteHeader(http.StatusOK) }
