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

// ServeHTTP handles a request: it routes, authenticates, authorizes, reads the body,
// runs the operation, responds and logs. The body is read only if the caller is
// permitted the operation.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := a.Now()
	entry := logEntry{path: "none"}
	out, err := a.handle(r, &entry)
	if err != nil {
		out = errorResponse(out.header, err, r)
	}
	respond(w, r, out)
	a.log(r, entry, out.status, a.Now().Sub(started), err)
}

// Fail responds with err and logs the request. It is for requests that did not reach
// an operation, such as an event that cannot be decoded, and for a handler that
// panicked.
func (a *API) Fail(w http.ResponseWriter, r *http.Request, err error) {
	out := errorResponse(nil, err, r)
	respond(w, r, out)
	a.log(r, logEntry{path: "none"}, out.status, 0, err)
}

// ReadBody returns the body of r if its operation reads one. A server calls it
// before ServeHTTP, so that it does not hold the bodies of requests that are refused
// in any case. If r is refused because of its route, method, token, permission,
// media type or declared length, or because its body cannot be read or is too long,
// ReadBody writes and logs the response and returns false.
//
// If reading r.Body returns a fault.Error, that is the response.
func (a *API) ReadBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	started := a.Now()
	entry := logEntry{path: "none"}
	_, c, out, err := a.accept(r, &entry)
	if err == nil {
		return c.body, true
	}
	out = errorResponse(out.header, err, r)
	respond(w, r, out)
	a.log(r, entry, out.status, a.Now().Sub(started), err)
	return nil, false
}

// handle runs the operation of r.
func (a *API) handle(r *http.Request, entry *logEntry) (response, error) {
	op, c, out, err := a.accept(r, entry)
	if err != nil || op.handler == nil {
		return out, err
	}
	return op.handler(r.Context(), c)
}

// accept routes and authorizes r and reads its body. For OPTIONS the operation is
// zero and the response complete. With an error the response holds only headers.
func (a *API) accept(r *http.Request, entry *logEntry) (operation, call, response, error) {
	refuse := func(err error) (operation, call, response, error) { return operation{}, call{}, response{}, err }
	route, id, at, ok := a.match(r.URL.EscapedPath())
	if !ok {
		return refuse(fault.New(fault.NotFound, "not_found", "this path does not exist"))
	}
	entry.path = route.path
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
		entry.caller = who
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
		// The length of the body is unknown: it may be absent.
		mayBeAbsent := op.bodyOptional && r.ContentLength < 0
		mediaErr := checkMedia(r.Header)
		if mediaErr != nil && !mayBeAbsent {
			return refuse(mediaErr)
		}
		if c.body, err = readBody(r); err != nil {
			return refuse(err)
		}
		if mediaErr != nil && len(c.body) > 0 {
			return refuse(mediaErr)
		}
	}
	return op, c, response{}, nil
}

// permit returns nil if the caller is permitted the action of an operation. An
// executor for all workspaces names the workspace of the run in a header.
func permit(c *call, needs auth.Action) error {
	if needs != auth.ExecuteRuns {
		return auth.Check(c.caller, needs)
	}
	if named := c.header.Get(WorkspaceHeader); named != "" {
		c.workspace = named
		if slices.Contains(c.caller.Scopes, string(auth.ExecuteAllRuns)) && !auth.ValidWorkspace(named) {
			return &fault.Error{Kind: fault.Malformed, Fields: []fault.Field{{
				Header: WorkspaceHeader, Code: "invalid_header",
				Detail: fmt.Sprintf("%s must be the name of a workspace, of 1 to %d visible ASCII characters other than #", WorkspaceHeader, auth.MaxWorkspace),
			}}}
		}
	}
	return auth.CheckExecute(c.caller, c.workspace)
}

// match returns the route of an escaped path and the values of its segments {id} or
// {name}, and {time}.
func (a *API) match(path string) (found route, id, at string, ok bool) {
	segments := strings.Split(path, "/")
	for i, route := range a.routes {
		id, at = "", ""
		if slices.EqualFunc(a.segments[i], segments, func(want, got string) bool {
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

// allow returns the value of the Allow header (RFC 9110, section 10.2.1).
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

// checkContentType returns nil for application/json in UTF-8. Parameters other than
// charset are ignored; a repeated parameter is malformed (RFC 6838, section 4.3).
func checkContentType(values []string) error {
	const want = "Content-Type must be application/json"
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return unsupported("Content-Type", want+"; the header is missing")
	}
	sent := strings.Join(values, ",")
	if sent == string(mediaJSON) {
		return nil // what most clients send
	}
	name, parameters, ok := parseMedia(sent)
	if !ok || !strings.EqualFold(name, string(mediaJSON)) {
		return unsupported("Content-Type", fmt.Sprintf("%s, got %q", want, syncjson.Shorten(sent)))
	}
	for i, p := range parameters {
		if slices.ContainsFunc(parameters[:i], func(before parameter) bool { return before.is(p.name) }) {
			return unsupported("Content-Type", fmt.Sprintf("%s, got %q, with a repeated parameter", want, syncjson.Shorten(sent)))
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

// readBody returns the body of r. A body that is in memory is not copied.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > syncjson.MaxBody {
		return nil, syncjson.TooLarge("body")
	}
	if memory, ok := r.Body.(interface{ Bytes() []byte }); ok && int64(len(memory.Bytes())) == r.ContentLength {
		return memory.Bytes(), nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, syncjson.MaxBody))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return nil, syncjson.TooLarge("body")
	}
	if _, classified := errors.AsType[*fault.Error](err); classified {
		return nil, err
	}
	if err != nil {
		return nil, &fault.Error{Kind: fault.Malformed, Code: "body_unreadable", Message: "the body ended early or its chunks are malformed", Err: err}
	}
	return body, nil
}

// respond writes out, without the body for a HEAD request.
func respond(w http.ResponseWriter, r *http.Request, out response) {
	header := w.Header()
	maps.Copy(header, out.header)
	values := []string{r.Header.Get(RequestIDHeader), "no-store", "Accept", "nosniff"} // in one allocation
	for i, name := range [...]string{RequestIDHeader, "Cache-Control", "Vary", "X-Content-Type-Options"} {
		header[name] = values[i : i+1 : i+1]
	}
	w.WriteHeader(out.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(out.body) // the client may have disconnected
	}
}

// The longest path in the log and the longest segment of it, in bytes. Our own choices:
// an ID fits; a token or an API key that a client put into the path does not.
const (
	maxLoggedPath    = 128
	maxLoggedSegment = 36
)

// loggedPath returns the path of a request for the log: percent-encoded, without the
// query, and shortened.
func loggedPath(address *url.URL) string {
	segments := strings.Split(address.EscapedPath(), "/")
	for i, s := range segments {
		if len(s) > maxLoggedSegment {
			segments[i] = s[:maxLoggedSegment/4] + "…"
		}
	}
	path := strings.Join(segments, "/")
	if len(path) > maxLoggedPath {
		path = strings.ToValidUTF8(path[:maxLoggedPath], "") + "…"
	}
	return path
}

// logEntry holds what is logged about a request other than its outcome.
type logEntry struct {
	path   string // of the route, not of the request
	caller auth.Caller
}

// log writes the log line of a request. It contains no token, header or body. The
// cause of a 5xx response appears only here.
func (a *API) log(r *http.Request, entry logEntry, status int, took time.Duration, err error) {
	ctx := r.Context()
	level := slog.LevelInfo
	milliseconds := float64(took.Microseconds()) / 1000
	const most = 16 // attributes; it avoids that the list grows
	attrs := append(make([]slog.Attr, 0, most),
		slog.String("request_id", r.Header.Get(RequestIDHeader)),
		slog.String("method", syncjson.Shorten(r.Method)),
		slog.String("path", entry.path),
		slog.Int("status", status),
		slog.Float64("duration_ms", milliseconds),
	)
	if status == http.StatusNotFound {
		attrs = append(attrs, slog.String("requested_path", loggedPath(r.URL)))
	}
	if entry.caller.Workspace != "" {
		attrs = append(attrs, slog.String("workspace", entry.caller.Workspace))
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
