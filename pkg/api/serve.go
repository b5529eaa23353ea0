package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonapi"
	"syncplane/pkg/syncjson"
)

// ServeHTTP is the way of every request: route, authorize, permit, read, run,
// respond, log. Nothing about the body is told to a caller who may not write.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := a.Now()
	record := logEntry{path: "none"}
	out, err := a.handle(r, &record)
	if err != nil {
		out = errorResponse(out.header, err, r)
	}
	respond(w, r, out)
	a.log(r, record, out.status, a.Now().Sub(began), err)
}

// Fail answers a request that never reached an operation, such as an event
// that is no request or a handler that panicked.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	out := errorResponse(nil, err, r)
	respond(w, r, out)
	a.log(r, logEntry{path: "none"}, out.status, 0, err)
}

// ReadBody returns the body of r if the operation that r asks for takes one: a
// server calls it before ServeHTTP, so that it holds no body of a request that
// is refused without one. If r is refused for its route, method, token,
// permission, media type or declared length, or its body cannot be read or is
// too long, the response is written and logged, and ok is false.
//
// A fault.Error that r.Body returns is the answer.
func (a *API) ReadBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	began := a.Now()
	record := logEntry{path: "none"}
	_, c, out, err := a.accept(r, &record)
	if err == nil {
		return c.body, true
	}
	out = errorResponse(out.header, err, r)
	respond(w, r, out)
	a.log(r, record, out.status, a.Now().Sub(began), err)
	return nil, false
}

func (a *API) handle(r *http.Request, record *logEntry) (response, error) {
	op, c, out, err := a.accept(r, record)
	if err != nil || op.handler == nil {
		return out, err
	}
	return op.handler(r.Context(), c)
}

// accept routes and authorizes r and reads its body. If no operation is needed, the
// operation is zero and the answer complete; with an error the answer holds the
// headers alone.
func (a *API) accept(r *http.Request, record *logEntry) (operation, call, response, error) {
	refuse := func(err error) (operation, call, response, error) { return operation{}, call{}, response{}, err }
	route, id, at, ok := a.match(r.URL.EscapedPath())
	if !ok {
		return refuse(fault.New(fault.NotFound, "not_found", "there is nothing at this path"))
	}
	record.path = route.path
	op, ok := route.operations[r.Method]
	if r.Method == http.MethodHead && !ok {
		op, ok = route.operations[http.MethodGet]
	}
	if r.Method == http.MethodOptions {
		return operation{}, call{}, response{status: http.StatusNoContent, header: http.Header{"Allow": {route.allow()}}}, nil
	}
	if !ok {
		return operation{}, call{}, response{header: http.Header{"Allow": {route.allow()}}}, &fault.Error{
			Kind: fault.MethodNotAllowed, Code: "method_not_allowed",
			Message: fmt.Sprintf("%q is not possible here; what is: %s", syncjson.Shorten(r.Method), route.allow()),
		}
	}

	c := call{id: id, time: at, query: r.URL.RawQuery, header: r.Header, prefix: r.Header.Get(PrefixHeader)}
	if op.action != "" {
		who, err := a.Caller(r.Context(), r.Header.Get("Authorization"))
		if err != nil {
			return refuse(err)
		}
		record.caller = who
		c.caller, c.workspace = who, who.Workspace
		if err := permit(&c, op.action); err != nil {
			return refuse(err)
		}
	}
	var err error
	if c.media, err = negotiate(r.Header); err != nil {
		return refuse(err)
	}
	if op.hasBody && (!op.bodyOptional || r.ContentLength != 0) {
		if err := checkMedia(r.Header); err != nil {
			return refuse(err)
		}
		if c.body, err = readBody(r); err != nil {
			return refuse(err)
		}
	}
	return op, c, response{}, nil
}

// permit returns nil if the caller may do what an operation needs. An executor of
// all workspaces names that of the run in a header.
func permit(c *call, needs auth.Action) error {
	if needs != auth.ExecuteRuns {
		return auth.Check(c.caller, needs)
	}
	if named := c.header.Get(WorkspaceHeader); named != "" {
		c.workspace = named
	}
	return auth.CheckExecute(c.caller, c.workspace)
}

// match finds the route of an escaped path, and what stands there for {id} or
// {name}, and for {time}.
func (a *API) match(path string) (found route, id, at string, ok bool) {
	segments := strings.Split(path, "/")
	for _, route := range a.routes {
		id, at = "", ""
		if slices.EqualFunc(strings.Split(route.path, "/"), segments, func(want, got string) bool {
			switch {
			case !strings.HasPrefix(want, "{"):
				return want == got
			case want == "{time}":
				at = got
			default:
				id = got
			}
			return got != ""
		}) {
			id, err := url.PathUnescape(id)
			at, timeErr := url.PathUnescape(at)
			return route, id, at, err == nil && timeErr == nil
		}
	}
	return found, "", "", false
}

// allow is the value of the Allow header (RFC 9110, section 10.2.1).
func (r route) allow() string {
	methods := slices.Collect(maps.Keys(r.operations))
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	methods = append(methods, http.MethodOptions)
	slices.Sort(methods)
	return strings.Join(methods, ", ")
}

// checkMedia returns nil for JSON in UTF-8, not compressed.
func checkMedia(header http.Header) error {
	if err := checkContentType(header["Content-Type"]); err != nil {
		return err
	}
	for coding := range listMembers(header["Content-Encoding"]) {
		if coding = strings.Trim(coding, " \t"); !strings.EqualFold(coding, "identity") {
			return unsupported("Content-Encoding", fmt.Sprintf("the body must not be compressed, got %q", syncjson.Shorten(coding)))
		}
	}
	return nil
}

// checkContentType returns nil for application/json in UTF-8. Other parameters
// than charset are ignored; one that is there twice is malformed (RFC 6838,
// section 4.3).
func checkContentType(values []string) error {
	const want = "Content-Type must be application/json"
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return unsupported("Content-Type", want+", and there is none")
	}
	sent := strings.Join(values, ",")
	if sent == string(mediaJSON) {
		return nil // as most clients send it
	}
	name, parameters, ok := parseMedia(sent)
	if !ok || !strings.EqualFold(name, string(mediaJSON)) {
		return unsupported("Content-Type", fmt.Sprintf("%s, got %q", want, syncjson.Shorten(sent)))
	}
	for i, p := range parameters {
		if slices.ContainsFunc(parameters[:i], func(before parameter) bool { return before.is(p.name) }) {
			return unsupported("Content-Type", fmt.Sprintf("%s, got %q, with a parameter twice", want, syncjson.Shorten(sent)))
		}
		if p.is("charset") && !strings.EqualFold(p.value, "utf-8") {
			return unsupported("Content-Type", fmt.Sprintf("%s in UTF-8, got charset %q", want, syncjson.Shorten(p.value)))
		}
	}
	return nil
}

func unsupported(name, detail string) error {
	return &fault.Error{Kind: fault.UnsupportedMedia, Fields: []fault.Field{{Header: name, Code: "unsupported_media_type", Detail: detail}}}
}

func readBody(r *http.Request) ([]byte, error) {
	tooLarge := syncjson.TooLarge("body")
	if r.ContentLength > syncjson.MaxBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, syncjson.MaxBody))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, tooLarge
	}
	if _, classified := errors.AsType[*fault.Error](err); classified {
		return nil, err
	}
	if err != nil {
		return nil, &fault.Error{Kind: fault.Malformed, Code: "body_unreadable", Message: "the body ended early or its chunks are malformed", Err: err}
	}
	return body, nil
}

// respond writes out, and nothing of its body to a HEAD request.
func respond(w http.ResponseWriter, r *http.Request, out response) {
	header := w.Header()
	maps.Copy(header, out.header)
	header.Set(RequestIDHeader, r.Header.Get(RequestIDHeader))
	header.Set("Cache-Control", "no-store")
	header.Set("Vary", "Accept")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(out.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(out.body) // a client that has gone away needs no answer
	}
}

// logEntry is what the log says of a request beside its outcome.
type logEntry struct {
	path   string // of the route, never the client's own
	caller auth.Caller
}

// log writes the one line of a request. It never holds a token, a header or a
// body. The causes of 5xx answers are private and stand here alone.
func (a *API) log(r *http.Request, record logEntry, status int, took time.Duration, err error) {
	ctx := r.Context()
	level := slog.LevelInfo
	milliseconds := float64(took.Microseconds()) / 1000
	attrs := []slog.Attr{
		slog.String("request_id", r.Header.Get(RequestIDHeader)),
		slog.String("method", syncjson.Shorten(r.Method)),
		slog.String("path", record.path),
		slog.Int("status", status),
		slog.Float64("duration_ms", milliseconds),
	}
	if record.caller.Workspace != "" {
		attrs = append(attrs, slog.String("workspace", record.caller.Workspace))
	}
	if err != nil {
		attrs = append(attrs, slog.String("code", jsonapi.Code(err)))
		if status >= http.StatusInternalServerError {
			level = slog.LevelError
			attrs = append(attrs, slog.String("error", err.Error()))
		}
	}
	if a.Observe != nil {
		attrs = append(attrs, a.Observe(Observation{status, milliseconds})...)
	}
	a.Log.LogAttrs(context.WithoutCancel(ctx), level, "request", attrs...)
}
