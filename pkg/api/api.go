// Package api is the HTTP face of the control plane: it turns a request into a
// call of syncs.Service and the answer into JSON. It knows net/http and
// nothing of Lambda or DynamoDB.
package api

import (
	"bytes"
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// RequestIDHeader carries the request's ID: whatever runs the API sets it on
// the request, in place of anything that the client sent, and every response
// has it.
const RequestIDHeader = "X-Request-Id"

// PrefixHeader carries what stands before the path in the client's address,
// such as the stage in /prod/api/v1/syncs: whatever runs the API sets it on the
// request, in place of anything that the client sent. Location and all links
// begin with it.
const PrefixHeader = "X-Forwarded-Prefix"

// OpenAPI is the description of everything that this package serves, an
// OpenAPI 3.1 document.
//
//go:embed openapi.json
var OpenAPI []byte

// Config is what the face stands on.
type Config struct {
	Syncs *syncs.Service
	Runs  *runs.Service

	// Caller turns the Authorization header into who is calling. Its errors
	// are fault.Unauthenticated, fault.Forbidden and fault.Unavailable.
	Caller func(ctx context.Context, authorization string) (auth.Caller, error)

	// CreateLimit holds workspaces to so many creates in a time; nil holds
	// them to nothing and costs nothing.
	CreateLimit *ratelimit.Limiter

	Log *slog.Logger
	Now func() time.Time

	// Observe returns attributes to add to the log line of a request; nil adds
	// none.
	Observe func(Observation) []slog.Attr
}

// Observation is a request that was answered.
type Observation struct {
	Status       int
	Milliseconds float64 // from the first to the last step of the answer
}

// API is the HTTP face. It is an http.Handler.
type API struct {
	Config
	routes   []route
	decoders jsonpool.Pool
}

// New returns the face of everything that is served.
func New(config Config) *API {
	a := &API{Config: config}
	const one = syncsPath + "/{id}"
	const oneRun = one + "/sync_runs/{time}"
	change := operation{action: auth.WriteSyncs, hasBody: true, handler: a.changeSync}
	a.routes = []route{
		{syncsPath, map[string]operation{
			http.MethodGet:  {action: auth.ReadSyncs, handler: a.listSyncs},
			http.MethodPost: {action: auth.WriteSyncs, hasBody: true, handler: a.createSync},
		}},
		{one, map[string]operation{
			http.MethodGet:    {action: auth.ReadSyncs, handler: a.readSync},
			http.MethodPatch:  change,
			http.MethodPut:    change,
			http.MethodDelete: {action: auth.WriteSyncs, handler: a.deleteSync},
		}},
		{one + "/enable", map[string]operation{
			http.MethodPatch: {action: auth.WriteSyncs, hasBody: true, handler: a.enableSync},
		}},
		{one + "/sync_runs", map[string]operation{
			http.MethodGet:  {action: auth.ReadSyncs, handler: a.listRuns},
			http.MethodPost: {action: auth.WriteSyncs, hasBody: true, bodyOptional: true, handler: a.triggerRun},
		}},
		{oneRun, map[string]operation{
			http.MethodGet: {action: auth.ReadSyncs, handler: a.readRun},
		}},
		{oneRun + "/sync_records", map[string]operation{
			http.MethodGet: {action: auth.ReadSyncs, handler: a.listRecords},
		}},
		{oneRun + "/claim", map[string]operation{
			http.MethodPost: {action: auth.ExecuteRuns, hasBody: true, handler: a.claimRun},
		}},
		{oneRun + "/heartbeat", map[string]operation{
			http.MethodPost: {action: auth.ExecuteRuns, hasBody: true, handler: a.heartbeatRun},
		}},
		{oneRun + "/finish", map[string]operation{
			http.MethodPost: {action: auth.ExecuteRuns, hasBody: true, handler: a.finishRun},
		}},
		{oneRun + "/cancel", map[string]operation{
			http.MethodPost: {action: auth.WriteSyncs, hasBody: true, bodyOptional: true, handler: a.cancelRun},
		}},
		{openRunsPath, map[string]operation{
			http.MethodGet: {action: auth.ReadSyncs, handler: a.listOpenRuns},
		}},
		{"/api/v1/openapi.json", map[string]operation{
			http.MethodGet: {handler: a.openAPI},
		}},
		{event.SchemaPath + "{name}", map[string]operation{
			http.MethodGet: {handler: a.schema},
		}},
	}
	return a
}

// route is a path and what can be done there, by method.
type route struct {
	path       string // segments in braces match anything: /api/v1/syncs/{id}
	operations map[string]operation
}

// operation is one thing that a client can do.
type operation struct {
	action       auth.Action // "" needs no token
	hasBody      bool        // it takes a body
	bodyOptional bool        // it takes none as well
	handler      func(ctx context.Context, c call) (response, error)
}

// call is a request as an operation sees it: permitted and read.
type call struct {
	caller auth.Caller
	id     string // what stands in the path for {id} or {name}
	time   string // what stands there for {time}
	query  string
	header http.Header
	media  media  // the form that the answer takes
	prefix string // what all links begin with; see PrefixHeader
	body   []byte

	workspace string // of the run: the caller's own, or that of WorkspaceHeader
}

// response is a response as an operation gives it.
type response struct {
	status int
	header http.Header
	body   []byte
}

// Paths are those that are served, sorted.
func (a *API) Paths() []string {
	paths := make([]string, 0, len(a.routes))
	for _, route := range a.routes {
		paths = append(paths, route.path)
	}
	slices.Sort(paths)
	return paths
}

// openAPI handles GET /api/v1/openapi.json. Its one server is the address that
// the client used.
func (a *API) openAPI(_ context.Context, c call) (response, error) {
	body := OpenAPI
	if c.prefix != "" {
		body = bytes.Replace(body, []byte(`"url": "/"`), append([]byte(`"url": `), quote(c.prefix)...), 1)
	}
	return response{
		status: http.StatusOK,
		header: http.Header{"Content-Type": {"application/json"}},
		body:   body,
	}, nil
}

// schema handles GET /api/v1/schemas/{name}.
func (a *API) schema(_ context.Context, c call) (response, error) {
	text, ok := event.Schema(c.id)
	if !ok {
		return response{}, fault.New(fault.NotFound, "not_found", "there is no schema of this name")
	}
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: text}, nil
}
