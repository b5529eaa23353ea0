// Package api implements the HTTP API: it decodes a request, calls syncs.Service or
// runs.Service and encodes the response. It knows net/http; it does not know what
// runs the API or where syncs are stored.
package api

import (
	"bytes"
	"context"
	_ "embed"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// RequestIDHeader carries the ID of the request. The server that runs the API sets
// it on the request and replaces a value of the client; every response has it.
const RequestIDHeader = "X-Request-Id"

// PrefixHeader carries the part of the client's URL before the path of the API, such
// as the stage in /prod/api/v1/syncs. The server that runs the API sets it on the
// request and replaces a value of the client. Location and all links begin with it.
const PrefixHeader = "X-Forwarded-Prefix"

// OpenAPI is the OpenAPI 3.1 document of the API without the JSON:API media types. It
// is generated from OpenAPIWithJSONAPI.
//
//go:generate go test -run ^TestDocumentWithoutJSONAPI$ . -update
//go:embed openapi.json
var OpenAPI []byte

// OpenAPIWithJSONAPI is the OpenAPI 3.1 document of the API.
//
//go:embed openapi.jsonapi.json
var OpenAPIWithJSONAPI []byte

// Config holds the dependencies of an API.
type Config struct {
	Syncs *syncs.Service
	Runs  *runs.Service

	// Caller authenticates the caller by the Authorization header. Its errors
	// are fault.Unauthenticated, fault.Forbidden and fault.Unavailable.
	Caller func(ctx context.Context, authorization string) (auth.Caller, error)

	// CreateLimit limits the rate of creates of a workspace; nil is no limit.
	CreateLimit *ratelimit.Limiter

	Log *slog.Logger
	Now func() time.Time

	// Observe returns attributes to add to the log line of a request; nil adds
	// none.
	Observe func(Observation) []slog.Attr
}

// Observation describes a request that was handled.
type Observation struct {
	Status       int
	Milliseconds float64 // duration of ServeHTTP
}

// API serves the HTTP API. It is an http.Handler.
type API struct {
	Config
	routes   []route
	segments [][]string // of the path of each route
	decoders jsonpool.Pool
}

// New returns the API with all its routes.
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
		{"/api/v1/openapi.jsonapi.json", map[string]operation{
			http.MethodGet: {handler: a.openAPIWithJSONAPI},
		}},
		{event.SchemaPath + "{name}", map[string]operation{
			http.MethodGet: {handler: a.schema},
		}},
	}
	for _, route := range a.routes {
		a.segments = append(a.segments, strings.Split(route.path, "/"))
	}
	return a
}

// route is a path and its operations by method.
type route struct {
	path       string // segments in braces match any text: /api/v1/syncs/{id}
	operations map[string]operation
}

// operation is an operation of the OpenAPI document.
type operation struct {
	action       auth.Action // that the caller must be permitted; "" needs no token
	hasBody      bool        // it reads a body
	bodyOptional bool        // the body may be empty
	handler      func(ctx context.Context, c call) (response, error)
}

// call is a request whose caller was authorized and whose body was read.
type call struct {
	caller auth.Caller
	id     string // in the path, for {id} or {name}
	time   string // in the path, for {time}
	query  string
	header http.Header
	media  media  // media type of the response
	prefix string // prefix of all links; see PrefixHeader
	body   []byte

	workspace string // of the run: that of the caller or of WorkspaceHeader
}

// response is the result of an operation.
type response struct {
	status int
	header http.Header
	body   []byte
}

// Paths returns the paths of all routes, sorted.
func (a *API) Paths() []string {
	paths := make([]string, 0, len(a.routes))
	for _, route := range a.routes {
		paths = append(paths, route.path)
	}
	slices.Sort(paths)
	return paths
}

// openAPI handles GET /api/v1/openapi.json.
func (a *API) openAPI(_ context.Context, c call) (response, error) {
	return c.documentResponse(OpenAPI), nil
}

// openAPIWithJSONAPI handles GET /api/v1/openapi.jsonapi.json.
func (a *API) openAPIWithJSONAPI(_ context.Context, c call) (response, error) {
	return c.documentResponse(OpenAPIWithJSONAPI), nil
}

// documentResponse returns the response with an OpenAPI document. The server URL in
// the document is the prefix of the client's URL.
func (c call) documentResponse(body []byte) response {
	if c.prefix != "" {
		body = bytes.Replace(body, []byte(`"url": "/"`), append([]byte(`"url": `), quote(c.prefix)...), 1)
	}
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

// schema handles GET /api/v1/schemas/{name}.
func (a *API) schema(_ context.Context, c call) (response, error) {
	text, ok := event.Schema(c.id)
	if !ok {
		return response{}, fault.New(fault.NotFound, "not_found", "there is no schema of this name")
	}
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: text}, nil
}
