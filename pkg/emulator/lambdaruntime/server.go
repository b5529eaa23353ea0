package lambdaruntime

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of the Runtime API in net/http's canonical form.
const (
	headerRequestID = "Lambda-Runtime-Aws-Request-Id"
	headerDeadline  = "Lambda-Runtime-Deadline-Ms"
	headerARN       = "Lambda-Runtime-Invoked-Function-Arn"
	headerTrace     = "Lambda-Runtime-Trace-Id"
	// headerErrorType is a header of an error report, or a trailer of a response
	// that failed midway; in a trailer, headerErrorBody holds the report in base64.
	headerErrorType = "Lambda-Runtime-Function-Error-Type"
	headerErrorBody = "Lambda-Runtime-Function-Error-Body"
)

// routes returns the handler of the Runtime API.
func (f *Function) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", f.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", f.respond)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", f.fail)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", f.failInit)
	return mux
}

// next waits for the next event and delivers it to the function.
func (f *Function) next(w http.ResponseWriter, r *http.Request) {
	f.polled.Do(func() {
		f.running.Store(true)
		f.ready <- f.now()
	})
	select {
	case inv := <-f.pending:
		if inv.waits { // Lambda does not count the init phase
			inv.deadline = f.now().Add(f.timeout)
			inv.timer.Reset(f.timeout)
		}
		header := w.Header()
		header.Set(headerRequestID, inv.id)
		header.Set(headerDeadline, strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		header.Set(headerARN, f.arn)
		header.Set(headerTrace, trace(inv))
		header.Set("Content-Type", "application/json")
		header.Set("Content-Length", strconv.Itoa(len(inv.payload)))
		inv.handed.Store(int64(f.now().Sub(f.epoch)))
		_, _ = w.Write(inv.payload) // an error means that the function has ended, which run notices
	case <-r.Context().Done():
	}
}

// trace returns an X-Ray trace header, not sampled, made from the invocation's
// deadline and the digits of its ID.
func trace(inv *invocation) string {
	digits := strings.ReplaceAll(inv.id, "-", "")
	start := strconv.FormatInt(inv.deadline.Unix()|1<<32, 16)[1:] // eight digits
	return "Root=1-" + start + "-" + digits[:24] + ";Parent=" + digits[16:] + ";Sampled=0"
}

// respond receives the response of an invocation.
func (f *Function) respond(w http.ResponseWriter, r *http.Request) {
	inv := f.invocation(w, r)
	if inv == nil {
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxResponse))
	elapsed := f.now().Sub(f.epoch) - time.Duration(inv.handed.Load())
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		f.answer(inv, elapsed, answer{err: &FunctionError{
			Type:    "Function.ResponseSizeTooLarge",
			Message: "Response payload size exceeded maximum allowed payload size (" + strconv.Itoa(maxResponse) + " bytes).",
		}})
		refuse(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the response is too large")
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "TruncatedResponse", "the response is truncated")
		return
	}
	a := answer{body: body}
	if kind := r.Trailer.Get(headerErrorType); kind != "" {
		report, _ := base64.StdEncoding.DecodeString(r.Trailer.Get(headerErrorBody)) // after an error the type is still known
		a = answer{err: failure(kind, report)}
	}
	if !f.answer(inv, elapsed, a) {
		unknown(w)
		return
	}
	accept(w)
}

// fail receives the error report of an invocation.
func (f *Function) fail(w http.ResponseWriter, r *http.Request) {
	inv := f.invocation(w, r)
	if inv == nil {
		return
	}
	report, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxResponse))
	elapsed := f.now().Sub(f.epoch) - time.Duration(inv.handed.Load())
	if err != nil {
		refuse(w, http.StatusBadRequest, "TruncatedResponse", "the report is truncated or too large")
		return
	}
	if !f.answer(inv, elapsed, answer{err: failure(r.Header.Get(headerErrorType), report)}) {
		unknown(w)
		return
	}
	accept(w)
}

// failInit receives the error report of a function that cannot start.
func (f *Function) failInit(w http.ResponseWriter, r *http.Request) {
	report, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxResponse))
	if err != nil {
		refuse(w, http.StatusBadRequest, "TruncatedResponse", "the report is truncated or too large")
		return
	}
	if f.running.Load() {
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "init has ended")
		return
	}
	select {
	case f.failed <- failure(r.Header.Get(headerErrorType), report):
		accept(w)
	default:
		refuse(w, http.StatusForbidden, "InvalidStateTransition", "init has failed already")
	}
}

// invocation returns the invocation that the request names. If that is not the
// current one, it writes an error response and returns nil.
func (f *Function) invocation(w http.ResponseWriter, r *http.Request) *invocation {
	inv := f.current.Load()
	if inv == nil || inv.id != r.PathValue("id") {
		unknown(w)
		return nil
	}
	return inv
}

// answer settles inv. It returns false if inv is settled already.
func (f *Function) answer(inv *invocation, elapsed time.Duration, a answer) bool {
	if !f.claim(inv) {
		return false
	}
	f.elapsed.Store(int64(elapsed))
	f.settle(inv, a)
	return true
}

// failure returns the error of a report. If the report is not JSON, its text is the
// message; kind, the type in the header, replaces a missing type.
func failure(kind string, report []byte) *FunctionError {
	var body struct {
		Type    string `json:"errorType"`    //nolint:tagliatelle // Lambda's name
		Message string `json:"errorMessage"` //nolint:tagliatelle // Lambda's name
	}
	if err := json.Unmarshal(report, &body); err != nil {
		body.Message = string(report)
	}
	if body.Type == "" {
		body.Type = kind
	}
	if body.Type == "" {
		body.Type = "Runtime.Unknown"
	}
	return &FunctionError{Type: body.Type, Message: body.Message}
}

// accept writes the response to a valid call.
func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`) // an error means that the function has ended, which run notices
}

// unknown writes the response to a call that names another than the current
// invocation.
func unknown(w http.ResponseWriter) {
	refuse(w, http.StatusBadRequest, "InvalidRequestID", "there is no such invocation at present")
}

// refuse writes an error response of the Runtime API. kind and message are constants
// that need no escaping.
func refuse(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"errorType":"`+kind+`","errorMessage":"`+message+`"}`) // as in accept
}
