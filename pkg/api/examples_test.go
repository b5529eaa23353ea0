package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api"
	"syncplane/pkg/auth"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/fault"
	"syncplane/pkg/local/server"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/syncs"
)

// The sync of the examples and when it was made and changed.
const (
	exampleID   = "019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e"
	onePath     = "/api/v1/syncs/" + exampleID
	exampleTime = "2026-11-24T06:00:00Z"
)

// exampleServer is a service in the state that an example begins with.
type exampleServer struct {
	harness
	key server.Key
	now time.Time
}

func newExampleServer(t *testing.T) *exampleServer {
	t.Helper()
	key := server.SampleKey()
	s := &exampleServer{harness: newHarness(t), key: key, now: time.Date(2026, time.November, 23, 20, 6, 0, 123e6, time.UTC)}
	s.Now = func() time.Time { return s.now }
	s.Syncs.Now = s.Now
	s.Runs = runsOver(s.store, s.Now)
	s.Syncs.NewID = func() (string, error) { return exampleID, nil }
	return s
}

// created makes the sync.
func (s *exampleServer) created(t *testing.T) {
	t.Helper()
	if response := s.do(t, request(t, http.MethodPost, "/api/v1/syncs", goodBody)); response.StatusCode != http.StatusOK {
		t.Fatalf("the sync is not made: %s", read(t, response))
	}
}

// step sends a request about the run of the examples.
func (s *exampleServer) step(t *testing.T, name, body string) {
	t.Helper()
	if response := s.do(t, request(t, http.MethodPost, onePath+"/sync_runs/"+exampleTime+"/"+name, body)); response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", name, read(t, response))
	}
}

// authenticate makes the server verify tokens, with a claim for the workspace.
func (s *exampleServer) authenticate(t *testing.T, claim string, source oidc.KeySource) {
	t.Helper()
	config := oidc.Config{Issuer: server.Issuer, Audiences: []string{server.Audience}, WorkspaceClaim: claim}
	s.Caller = oidc.New(config, source, func() time.Time { return s.now }).Caller
}

// keys returns the keys that verify the tokens of signed.
func (s *exampleServer) keys(t *testing.T) oidc.KeySource {
	t.Helper()
	set, err := server.KeySet(s.key)
	if err != nil {
		t.Fatal(err)
	}
	return oidc.Static(set)
}

// signed adds a token to r.
func (s *exampleServer) signed(t *testing.T, r *http.Request, expires time.Time, scopes ...string) *http.Request {
	t.Helper()
	text, err := s.key.Token(server.Claims{Workspace: "acme", Scopes: scopes, Issued: expires.Add(-time.Hour), Expires: expires})
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+text)
	return r
}

func request(t *testing.T, method, target, body string, header ...string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	r.Header.Set(api.RequestIDHeader, requestID)
	r.Header.Set("Authorization", "Bearer acme syncs:read syncs:write runs:execute")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	return r
}

// failingStore is a store that fails when it writes.
type failingStore struct {
	syncs.Store
	err error
}

func (b failingStore) Create(context.Context, syncs.Sync) error  { return b.err }
func (b failingStore) Replace(context.Context, syncs.Sync) error { return b.err }
func (b failingStore) CreateOnce(context.Context, syncs.Sync, syncs.IdempotencyKey) (syncs.Sync, error) {
	return syncs.Sync{}, b.err
}

// emptyLimiter is a store of buckets, all of them empty.
type emptyLimiter struct{ ratelimit.Store }

func (emptyLimiter) Take(_ context.Context, _ string, p ratelimit.Policy, now time.Time) (time.Time, bool, error) {
	return now.Add(p.Window), false, nil
}

// TestExamplesAreAnswers checks that the service answers exactly what the
// document shows, to the byte and with a status that the example stands for,
// and that it accepts the requests that the document shows.
func TestExamplesAreAnswers(t *testing.T) {
	t.Parallel()
	jsonAPI := []string{"Accept", "application/vnd.api+json"}
	create := func(t *testing.T, header ...string) *http.Request {
		return request(t, http.MethodPost, "/api/v1/syncs", exampleOf(t, "/api/v1/syncs", "post"), header...)
	}
	changes := map[string]func(t *testing.T, header ...string) *http.Request{}
	for _, method := range []string{"patch", "put"} {
		changes[method] = func(t *testing.T, header ...string) *http.Request {
			return request(t, strings.ToUpper(method), onePath, exampleOf(t, "/api/v1/syncs/{id}", method), header...)
		}
	}
	pause := func(t *testing.T, header ...string) *http.Request {
		return request(t, http.MethodPatch, onePath+"/enable", exampleOf(t, "/api/v1/syncs/{id}/enable", "patch"), header...)
	}
	// after creates a sync before the request; a change is made half a day later.
	after := func(newRequest func(t *testing.T, header ...string) *http.Request, header ...string) func(t *testing.T, s *exampleServer) *http.Request {
		return func(t *testing.T, s *exampleServer) *http.Request {
			s.created(t)
			r := newRequest(t, header...)
			if r.Method != http.MethodGet {
				s.now = time.Date(2026, time.November, 24, 8, 30, 0, 0, time.UTC)
			}
			return r
		}
	}
	get := func(target string) func(t *testing.T, header ...string) *http.Request {
		return func(t *testing.T, header ...string) *http.Request {
			return request(t, http.MethodGet, target, "", header...)
		}
	}
	// over returns a store that fails with the errors of the DynamoDB backend.
	over := func(kind fault.Kind, example string) func(t *testing.T, s *exampleServer) *http.Request {
		return func(t *testing.T, s *exampleServer) *http.Request {
			var shown struct {
				Errors []struct {
					Code   string `json:"code"`
					Detail string `json:"detail"`
				} `json:"errors"`
			}
			if err := json.Unmarshal(document(t).Components.Examples[example].Value, &shown); err != nil {
				t.Fatal(err)
			}
			shownError := shown.Errors[0]
			if !slices.Contains(append(literals(t, "../storage/dynamo/errors.go"), literals(t, "../storage/dynamo/store.go")...), shownError.Detail) {
				t.Errorf("the DynamoDB backend has no error message %q", shownError.Detail)
			}
			s.Syncs.Store = failingStore{s.store, &fault.Error{Kind: kind, Code: shownError.Code, Message: shownError.Detail}}
			return create(t, "Idempotency-Key", "a")
		}
	}

	type requestFunc = func(t *testing.T, s *exampleServer) *http.Request
	const runsPath = onePath + "/sync_runs"
	const runPath = runsPath + "/" + exampleTime
	trigger := func(header ...string) func(t *testing.T, s *exampleServer) *http.Request {
		return func(t *testing.T, s *exampleServer) *http.Request {
			if _, err := s.store.Read(t.Context(), "acme", exampleID); err != nil {
				s.created(t)
			}
			s.now = time.Date(2026, time.November, 24, 6, 0, 0, 250e6, time.UTC)
			return request(t, http.MethodPost, runsPath, exampleOf(t, "/api/v1/syncs/{id}/sync_runs", "post"), header...)
		}
	}
	step := func(name string) func(t *testing.T, header ...string) *http.Request {
		return func(t *testing.T, header ...string) *http.Request {
			return request(t, http.MethodPost, runPath+"/"+name, exampleOf(t, "/api/v1/syncs/{id}/sync_runs/{time}/"+name, "post"), header...)
		}
	}
	claimed := func(t *testing.T, s *exampleServer) {
		t.Helper()
		s.do(t, step("claim")(t))
		s.now = s.now.Add(90 * time.Second)
	}
	finished := func(t *testing.T, s *exampleServer) {
		t.Helper()
		claimed(t, s)
		s.do(t, step("finish")(t))
	}
	// afterRun triggers a run and calls do before the request.
	afterRun := func(do func(t *testing.T, s *exampleServer), newRequest func(t *testing.T, header ...string) *http.Request, header ...string) func(t *testing.T, s *exampleServer) *http.Request {
		return func(t *testing.T, s *exampleServer) *http.Request {
			s.do(t, trigger()(t, s))
			if do != nil {
				do(t, s)
			}
			return newRequest(t, header...)
		}
	}
	// waiting triggers a run behind one that was claimed, and returns its time.
	waiting := func(t *testing.T, s *exampleServer) string {
		t.Helper()
		s.do(t, trigger()(t, s))
		claimed(t, s)
		s.do(t, request(t, http.MethodPost, runsPath, ""))
		return s.now.Format("2006-01-02T15:04:05Z")
	}
	want := map[string][]requestFunc{
		"Sync":                {func(t *testing.T, _ *exampleServer) *http.Request { return create(t) }, after(get(onePath))},
		"SyncDocument":        {func(t *testing.T, _ *exampleServer) *http.Request { return create(t, jsonAPI...) }, after(get(onePath), jsonAPI...)},
		"SyncList":            {after(get("/api/v1/syncs"))},
		"SyncListDocument":    {after(get("/api/v1/syncs"), jsonAPI...)},
		"ChangedSync":         {after(changes["patch"]), after(changes["put"])},
		"ChangedSyncDocument": {after(changes["patch"], jsonAPI...), after(changes["put"], jsonAPI...)},
		"PausedSync":          {after(pause)},
		"PausedSyncDocument":  {after(pause, jsonAPI...)},

		"Run":                 {trigger(), afterRun(nil, get(runPath))},
		"RunDocument":         {trigger(jsonAPI...), afterRun(nil, get(runPath), jsonAPI...)},
		"ClaimedRun":          {afterRun(nil, step("claim"))},
		"ClaimedRunDocument":  {afterRun(nil, step("claim"), jsonAPI...)},
		"RunningRun":          {afterRun(claimed, step("heartbeat"))},
		"RunningRunDocument":  {afterRun(claimed, step("heartbeat"), jsonAPI...)},
		"FinishedRun":         {afterRun(claimed, step("finish"))},
		"FinishedRunDocument": {afterRun(claimed, step("finish"), jsonAPI...)},
		"CanceledRun":         {afterRun(nil, step("cancel"))},
		"CanceledRunDocument": {afterRun(nil, step("cancel"), jsonAPI...)},
		"StoppingRun":         {afterRun(claimed, step("cancel"))},
		"StoppingRunDocument": {afterRun(claimed, step("cancel"), jsonAPI...)},
		"RunList":             {afterRun(nil, get(runsPath))},
		"RunListDocument":     {afterRun(nil, get(runsPath), jsonAPI...)},
		"OpenRunList":         {afterRun(nil, get("/api/v1/sync_runs"))},
		"OpenRunListDocument": {afterRun(nil, get("/api/v1/sync_runs"), jsonAPI...)},
		"RecordList":          {afterRun(finished, get(runPath+"/sync_records"))},
		"RecordListDocument":  {afterRun(finished, get(runPath+"/sync_records"), jsonAPI...)},
		"RunClaimed":          {afterRun(func(t *testing.T, s *exampleServer) { t.Helper(); s.step(t, "claim", `{"executor":"worker-2"}`) }, step("claim"))},
		"RunEnded":            {afterRun(finished, step("claim")), afterRun(finished, step("cancel"))},
		"Fenced":              {afterRun(func(t *testing.T, s *exampleServer) { t.Helper(); claimed(t, s); s.now = s.now.Add(time.Hour) }, step("heartbeat"))},
		"RunPending": {func(t *testing.T, s *exampleServer) *http.Request {
			return request(t, http.MethodPost, runsPath+"/"+waiting(t, s)+"/claim", `{"executor":"worker-1"}`)
		}},
		"RunWaiting": {func(t *testing.T, s *exampleServer) *http.Request {
			waiting(t, s)
			return request(t, http.MethodPost, runsPath, `{"sync_run":{"sync_run_type":"test"}}`)
		}},

		"SyncDisabled": {func(t *testing.T, s *exampleServer) *http.Request {
			s.created(t)
			s.do(t, pause(t))
			return trigger()(t, s)
		}},

		"DuplicateMember": {func(t *testing.T, _ *exampleServer) *http.Request {
			return request(t, http.MethodPost, "/api/v1/syncs", `{"sync":{"source_id":1,"source_id":2}}`)
		}},
		"UnknownParameter": {after(get("/api/v1/syncs?page%5Blength%5D=20"))},
		"TokenMissing": {func(t *testing.T, s *exampleServer) *http.Request {
			s.authenticate(t, server.WorkspaceClaim, s.keys(t))
			r := create(t)
			r.Header.Del("Authorization")
			return r
		}},
		"TokenExpired": {func(t *testing.T, s *exampleServer) *http.Request {
			s.authenticate(t, server.WorkspaceClaim, s.keys(t))
			return s.signed(t, create(t), s.now.Add(-time.Hour), string(auth.WriteSyncs))
		}},
		"ScopeMissing": {func(t *testing.T, s *exampleServer) *http.Request {
			s.authenticate(t, server.WorkspaceClaim, s.keys(t))
			return s.signed(t, create(t), s.now.Add(time.Minute), string(auth.ReadSyncs))
		}},
		"WorkspaceMissing": {func(t *testing.T, s *exampleServer) *http.Request {
			s.authenticate(t, "another_claim", s.keys(t))
			return s.signed(t, create(t), s.now.Add(time.Minute), string(auth.WriteSyncs))
		}},
		"IssuerUnavailable": {func(t *testing.T, s *exampleServer) *http.Request {
			s.authenticate(t, server.WorkspaceClaim, func(context.Context) ([]byte, error) { return nil, errors.New("no route to host") })
			return s.signed(t, create(t), s.now.Add(time.Minute), string(auth.WriteSyncs))
		}},
		"NotFound": {
			func(t *testing.T, _ *exampleServer) *http.Request { return get(onePath)(t) },
			func(t *testing.T, _ *exampleServer) *http.Request { return changes["patch"](t, jsonAPI...) },
		},
		"NotAcceptable": {after(get(onePath), "Accept", "text/html")},
		"KeyInUse":      {over(fault.Conflict, "KeyInUse")},
		"Overtaken": {func(t *testing.T, s *exampleServer) *http.Request {
			s.created(t)
			s.Syncs.Store = failingStore{s.store, syncs.ErrOvertaken}
			return changes["patch"](t)
		}},
		"VersionMismatch": {func(t *testing.T, s *exampleServer) *http.Request {
			s.created(t)
			s.do(t, pause(t))
			return changes["patch"](t, "If-Match", `"1"`)
		}},
		"VersionExcluded": {func(t *testing.T, s *exampleServer) *http.Request {
			s.created(t)
			return changes["patch"](t, "If-None-Match", `"1"`)
		}},
		"BodyTooLarge": {func(t *testing.T, _ *exampleServer) *http.Request {
			return request(t, http.MethodPost, "/api/v1/syncs", strings.Repeat(" ", 256<<10+1))
		}},
		"UnsupportedMediaType": {func(t *testing.T, _ *exampleServer) *http.Request { return create(t, "Content-Type", "text/plain") }},
		"InvalidFields": {func(t *testing.T, _ *exampleServer) *http.Request {
			body := strings.NewReplacer(`"automated"`, `"hourly"`, "0 6 * * 1-5", "*/90 * * * *").Replace(goodBody)
			return request(t, http.MethodPost, "/api/v1/syncs", body)
		}},
		"KeyReused": {func(t *testing.T, s *exampleServer) *http.Request {
			s.do(t, create(t, "Idempotency-Key", "a"))
			return request(t, http.MethodPost, "/api/v1/syncs", strings.Replace(goodBody, "contacts", "companies", 1), "Idempotency-Key", "a")
		}},
		"RateLimited": {func(t *testing.T, s *exampleServer) *http.Request {
			s.CreateLimit = &ratelimit.Limiter{Policy: ratelimit.Policy{Quota: 100, Window: time.Minute}, Store: emptyLimiter{}, Now: s.Now}
			return create(t)
		}},
		"Internal": {func(t *testing.T, s *exampleServer) *http.Request {
			s.Syncs.Store = failingStore{s.store, errors.New("an index out of range")}
			return create(t)
		}},
		"StoreUnavailable": {over(fault.Unavailable, "StoreUnavailable")},
	}

	shown, statuses := document(t).Components.Examples, statusesOf(t)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(want))); diff != "" {
		t.Errorf("the document (-) and this test (+) know different examples: %s", diff)
	}
	for name, requests := range want {
		for i, newRequest := range requests {
			t.Run(name+"/"+strconv.Itoa(i), func(t *testing.T) {
				t.Parallel()
				s := newExampleServer(t)
				response := s.do(t, newRequest(t, s))
				if path := os.Getenv("DUMP"); path != "" && i == 0 {
					_ = os.WriteFile(path+"/"+name, []byte(read(t, response)), 0o600)
					return
				}
				var compact bytes.Buffer
				if err := json.Compact(&compact, shown[name].Value); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(compact.String(), read(t, response)); diff != "" {
					t.Errorf("the document shows (-), the service answers (+): %s", diff)
				}
				media, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
				if got := strconv.Itoa(response.StatusCode) + " " + media; !slices.Contains(statuses[name], got) {
					t.Errorf("got %s, shown for %v", got, statuses[name])
				}
			})
		}
	}
}

// exampleOf returns the body that the document shows for an operation.
func exampleOf(t *testing.T, path, method string) string {
	t.Helper()
	var operation struct {
		RequestBody struct {
			Content map[string]struct {
				Example json.RawMessage `json:"example"`
			} `json:"content"`
		} `json:"requestBody"` //nolint:tagliatelle // a name of the document
	}
	if err := json.Unmarshal(document(t).Paths[path][method], &operation); err != nil {
		t.Fatal(err)
	}
	return string(operation.RequestBody.Content["application/json"].Example)
}

// statusesOf returns what each example is shown for: statuses, each with a media
// type.
func statusesOf(t *testing.T) map[string][]string {
	t.Helper()
	statuses := map[string][]string{}
	walk(parsed(t, api.OpenAPIWithJSONAPI), "", func(_ string, n map[string]any) {
		responses, _ := n["responses"].(map[string]any)
		for status, response := range responses {
			content, _ := lookup(response, "/content").(map[string]any)
			for media, shown := range content {
				named, _ := lookup(shown, "/examples").(map[string]any)
				for _, example := range named {
					target, _ := lookup(example, "/$ref").(string)
					name := target[strings.LastIndexByte(target, '/')+1:]
					statuses[name] = append(statuses[name], status+" "+media)
				}
			}
		}
	})
	return statuses
}

// literals returns the strings in a source file.
func literals(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.FromSlash(path), nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				found = append(found, text)
			}
		}
		return true
	})
	return found
}
