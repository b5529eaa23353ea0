package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonapi"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
)

const (
	syncID    = "019ab0c4-0000-7000-8000-000000000000"
	requestID = "JKJaXmPLvHcESHA="
)

// harness is an API over a real store. The bearer token names the caller, and every
// response is compared with the OpenAPI document.
type harness struct {
	*api.API
	store *bolt.Store
	log   *bytes.Buffer
}

func newHarness(t *testing.T) harness {
	t.Helper()
	store := bolttest.Open(t)
	now := func() time.Time { return time.Date(2026, time.November, 23, 20, 6, 0, 123e6, time.UTC) }
	log := &bytes.Buffer{}
	return harness{store: store, log: log, API: api.New(api.Config{
		Syncs:   &syncs.Service{Store: store, Now: now, NewID: func() (string, error) { return syncID, nil }},
		Runs:    runsOver(store, now),
		Caller:  caller,
		Log:     slog.New(slog.NewJSONHandler(log, nil)),
		Now:     now,
		Observe: func(o api.Observation) []slog.Attr { return []slog.Attr{slog.Int("observed", o.Status)} },
	})}
}

// runsOver returns the operations on runs over a store.
func runsOver(store *bolt.Store, now func() time.Time) *runs.Service {
	return &runs.Service{Store: bolt.Runs{Store: store, Now: now}, Syncs: store, Now: now, Retention: runs.DefaultRetention()}
}

// caller reads "Bearer <workspace> <scope>…".
func caller(_ context.Context, authorization string) (auth.Caller, error) {
	words := strings.Fields(authorization)
	switch {
	case len(words) == 0:
		return auth.Caller{}, &fault.Error{Kind: fault.Unauthenticated, Code: "token_missing", Message: "a bearer token is needed"}
	case words[1] == "expired":
		return auth.Caller{}, &fault.Error{Kind: fault.Unauthenticated, Code: "invalid_token", Message: "the token expired"}
	case words[1] == "unreachable":
		return auth.Caller{}, &fault.Error{Kind: fault.Unavailable, Code: "issuer_unavailable", Message: "try again", RetryAfter: 1500 * time.Millisecond, Err: errors.New("dial tcp: refused")}
	}
	return auth.Caller{Workspace: words[1], Scopes: words[2:]}, nil
}

// good returns a request that creates a sync.
func good(body string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/api/v1/syncs", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer acme syncs:write")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(api.RequestIDHeader, requestID)
	return r
}

const goodBody = `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes",` +
	`"cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}`

// do has the API answer r.
func (g harness) do(t *testing.T, r *http.Request) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	response := w.Result()
	apitest.Check(t, r, response.StatusCode, response.Header, w.Body.Bytes())
	return response
}

func read(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// problems returns the errors in a response, each as its code and its source.
func problems(t *testing.T, body string) []string {
	t.Helper()
	var document struct {
		Errors []struct {
			Code   string `json:"code"`
			ID     string `json:"id"`
			Source struct {
				Pointer string `json:"pointer"`
				Header  string `json:"header"`
			} `json:"source"`
		} `json:"errors"`
	}
	if err := json.Unmarshal([]byte(body), &document); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var all []string
	for _, e := range document.Errors {
		if e.ID != requestID {
			t.Errorf("the error's id is %q, want the request's", e.ID)
		}
		all = append(all, strings.TrimSpace(e.Code+" "+e.Source.Pointer+e.Source.Header))
	}
	return all
}

func TestCreateReturnsResource(t *testing.T) {
	t.Parallel()
	response := newHarness(t).do(t, good(goodBody))
	const want = `{"id":"019ab0c4-0000-7000-8000-000000000000","type":"syncs","attributes":{` +
		`"source_id":1,"destination_id":2,"model_id":3,"configuration":{},"schedule_type":"automated",` +
		`"sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes",` +
		`"cron_expression":"0 6 * * 1-5","cursor_field":"updated_at","stream_name":"contacts","status":"pending",` +
		`"created_at":"2026-11-23T20:06:00.123Z","updated_at":"2026-11-23T20:06:00.123Z","next_run_at":"2026-11-24T06:00:00.000Z"}}`
	if diff := cmp.Diff(want, read(t, response)); diff != "" {
		t.Error(diff)
	}
	wantHeader := http.Header{
		"Content-Type":           {"application/json"},
		"Etag":                   {`"1"`},
		"Location":               {"/api/v1/syncs/" + syncID},
		"Vary":                   {"Accept"},
		"X-Request-Id":           {requestID},
		"Cache-Control":          {"no-store"},
		"X-Content-Type-Options": {"nosniff"},
	}
	if diff := cmp.Diff(wantHeader, response.Header); diff != "" {
		t.Error(diff)
	}
	if response.StatusCode != http.StatusOK {
		t.Errorf("got %d", response.StatusCode)
	}
}

// TestCreateKeepsConfiguration checks that a client gets back the text it sent.
func TestCreateKeepsConfiguration(t *testing.T) {
	t.Parallel()
	for _, configuration := range []string{
		`{"a":1.0,"b":1e400,"c":12345678901234567890,"d":-0,"e":1E-7}`,
		`{"z":1,"a":{"y":2,"b":3}}`,
		`{ "a" : [ 1 ,2 ] }`,
		`{"ключ":"日本語 🚀","\u0061":"\u00e9\ud83d\ude80\u0000\u2028<&>\/"}`,
		strings.Repeat(`{"a":`, 63) + "{}" + strings.Repeat("}", 63),
		`{"a":"` + strings.Repeat("x", 200<<10) + `"}`,
	} {
		response := newHarness(t).do(t, good(strings.Replace(goodBody, `"configuration":{}`, `"configuration":`+configuration, 1)))
		if body := read(t, response); !strings.Contains(body, `,"configuration":`+configuration+`,"schedule_type"`) {
			t.Errorf("sent %.80s, got %d %.400s", configuration, response.StatusCode, body)
		}
	}
}

func TestCreateBody(t *testing.T) {
	t.Parallel()
	with := func(name, value string) string {
		var body struct {
			Sync map[string]json.RawMessage `json:"sync"`
		}
		if err := json.Unmarshal([]byte(goodBody), &body); err != nil {
			t.Fatal(err)
		}
		if value == "" {
			delete(body.Sync, name)
		} else {
			body.Sync[name] = json.RawMessage(value)
		}
		edited, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return string(edited)
	}
	type problem = []string
	for name, test := range map[string]struct {
		body   string
		status int
		want   problem
	}{
		"good":                {goodBody, 200, nil},
		"123.0":               {with("source_id", "123.0"), 200, nil},
		"1.23e2":              {with("source_id", "1.23e2"), 200, nil},
		"1230e-1":             {with("source_id", "1230e-1"), 200, nil},
		"2^53-1":              {with("source_id", "9007199254740991"), 200, nil},
		"2^53-1 with a zero":  {with("source_id", "9007199254740991.0"), 200, nil},
		"2^53":                {with("source_id", "9007199254740992"), 422, problem{"out_of_range /sync/source_id"}},
		"2^53-1 and a bit":    {with("source_id", "9007199254740991.0000000001"), 422, problem{"wrong_type /sync/source_id"}},
		"1e400":               {with("source_id", "1e400"), 422, problem{"out_of_range /sync/source_id"}},
		"-1e400":              {with("source_id", "-1e400"), 422, problem{"out_of_range /sync/source_id"}},
		"1e-400":              {with("source_id", "1e-400"), 422, problem{"wrong_type /sync/source_id"}},
		"1e99999999999999999": {with("source_id", "1e99999999999999999"), 422, problem{"out_of_range /sync/source_id"}},
		"1e-9999999999999999": {with("source_id", "1e-99999999999999999"), 422, problem{"wrong_type /sync/source_id"}},
		"0e5":                 {with("source_id", "0e5"), 422, problem{"out_of_range /sync/source_id"}},
		"-0.0":                {with("source_id", "-0.0"), 422, problem{"out_of_range /sync/source_id"}},
		"-1":                  {with("source_id", "-1"), 422, problem{"out_of_range /sync/source_id"}},
		"a string":            {with("source_id", `"123"`), 422, problem{"wrong_type /sync/source_id"}},
		"1.5":                 {with("source_id", "1.5"), 422, problem{"wrong_type /sync/source_id"}},
		"true":                {with("source_id", "true"), 422, problem{"wrong_type /sync/source_id"}},
		"null":                {with("source_id", "null"), 422, problem{"wrong_type /sync/source_id"}},
		"nothing":             {with("source_id", ""), 422, problem{"required /sync/source_id"}},

		"a list for configuration":   {with("configuration", "[]"), 422, problem{"wrong_type /sync/configuration"}},
		"null for configuration":     {with("configuration", "null"), 422, problem{"wrong_type /sync/configuration"}},
		"text for configuration":     {with("configuration", `"{}"`), 422, problem{"wrong_type /sync/configuration"}},
		"65 levels of configuration": {with("configuration", strings.Repeat(`{"a":`, 65)+"1"+strings.Repeat("}", 65)), 422, problem{"too_deep /sync/configuration"}},
		"50,000 levels of it":        {strings.Replace(goodBody, "{}", `{"a":`+strings.Repeat("[", 50000)+strings.Repeat("]", 50000)+"}", 1), 422, problem{"too_deep /sync/configuration"}},
		"50,000 levels elsewhere":    {`{"a":` + strings.Repeat("[", 50000) + strings.Repeat("]", 50000) + "}", 400, problem{"too_deep"}},

		"no cron":            {with("cron_expression", ""), 200, nil},
		"null cron":          {with("cron_expression", "null"), 200, nil},
		"empty cron":         {with("cron_expression", `""`), 200, nil},
		"blank cron":         {with("cron_expression", `" "`), 422, problem{"invalid_cron /sync/cron_expression"}},
		"cron of a number":   {with("cron_expression", `5`), 422, problem{"wrong_type /sync/cron_expression"}},
		"a step too long":    {with("cron_expression", `"*/90 * * * *"`), 422, problem{"invalid_cron /sync/cron_expression"}},
		"30 February":        {with("cron_expression", `"0 0 30 2 *"`), 422, problem{"invalid_cron /sync/cron_expression"}},
		"null cursor":        {with("cursor_field", "null"), 200, nil},
		"empty cursor":       {with("cursor_field", `""`), 200, nil},
		"cursor of a number": {with("cursor_field", `5`), 422, problem{"wrong_type /sync/cursor_field"}},
		"escaped text":       {with("schedule_type", `"\u0061utomated"`), 200, nil},

		"everything at once": {`{"sync":{"cursor_field":1,"source_id":0,"schedule_type":"hourly"}}`, 422, problem{
			"out_of_range /sync/source_id", "required /sync/destination_id", "required /sync/model_id",
			"not_in_enum /sync/schedule_type", "required /sync/configuration", "required /sync/stream_name",
			"required /sync/sync_mode", "required /sync/sync_interval", "required /sync/sync_interval_unit",
			"wrong_type /sync/cursor_field",
		}},
		"no sync":                          {`{}`, 422, problem{"required /sync"}},
		"Sync":                             {`{"Sync":{}}`, 422, problem{"required /sync"}},
		"null for sync":                    {`{"sync":null}`, 422, problem{"wrong_type /sync"}},
		"a list for sync":                  {`{"sync":[]}`, 422, problem{"wrong_type /sync"}},
		"nothing at all":                   {``, 400, problem{"invalid_json"}},
		"blanks":                           {" \n", 400, problem{"invalid_json"}},
		"half":                             {goodBody[:100], 400, problem{"invalid_json"}},
		"no JSON":                          {`sync=1`, 400, problem{"invalid_json"}},
		"half a list":                      {`[1`, 400, problem{"invalid_json"}},
		"a comma too many":                 {`{"sync":{},}`, 400, problem{"invalid_json"}},
		"NaN":                              {`{"sync":{"source_id":NaN}}`, 400, problem{"invalid_json"}},
		"a byte order mark":                {"\ufeff" + goodBody, 400, problem{"invalid_json"}},
		"half a surrogate":                 {`{"a":"\ud800"}`, 400, problem{"invalid_json"}},
		"invalid UTF-8":                    {"{\"sync\":{\"stream_name\":\"\xff\"}}", 400, problem{"invalid_utf8"}},
		"more after it":                    {goodBody + goodBody, 400, problem{"trailing_data"}},
		"rubbish after it":                 {goodBody + "x", 400, problem{"trailing_data"}},
		"a list":                           {`[{"sync":{}}]`, 400, problem{"not_an_object"}},
		"null as a body":                   {`null`, 400, problem{"not_an_object"}},
		"a duplicate":                      {`{"sync":{"source_id":1,"source_id":2}}`, 400, problem{"duplicate_member /sync/source_id"}},
		"a duplicate at the top":           {`{"sync":{},"sync":{}}`, 400, problem{"duplicate_member /sync"}},
		"a duplicate deep inside":          {with("configuration", `{"a":[{"b":1,"\u0062":2}]}`), 400, problem{"duplicate_member /sync/configuration/a/0/b"}},
		"a duplicate in an ignored member": {`{"sync":{},"x":{"y":1,"y":1}}`, 400, problem{"duplicate_member /x/y"}},
		"400 goes before 422":              {`{"sync":{"source_id":"1"}`, 400, problem{"invalid_json"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response := newHarness(t).do(t, good(test.body))
			body := read(t, response)
			if response.StatusCode != test.status {
				t.Fatalf("got %d, want %d: %.300s", response.StatusCode, test.status, body)
			}
			if test.status != http.StatusOK {
				if diff := cmp.Diff(test.want, problems(t, body)); diff != "" {
					t.Errorf("%s: %.300s", diff, body)
				}
			}
		})
	}
}

func TestCreateReportsValues(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"sync":{"schedule_type":"hourly"}}`:                         `schedule_type must be \"automated\", got \"hourly\"`,
		`{"sync":{"source_id":"123"}}`:                                `source_id must be an integer from 1 to 9007199254740991, got \"123\"`,
		`{"sync":{"source_id":null}}`:                                 `source_id must be an integer from 1 to 9007199254740991, got null`,
		`{"sync":{"source_id":1e400}}`:                                `source_id must be an integer from 1 to 9007199254740991, got 1e400`,
		`{"sync":{"source_id":{"password":"secret"}}}`:                `source_id must be an integer from 1 to 9007199254740991, got an object`,
		`{"sync":{"configuration":["secret"]}}`:                       `configuration must be an object, got an array`,
		`{"sync":{"configuration":"password"}}`:                       `configuration must be an object, got a string`,
		`{"sync":{"sync_mode":"` + strings.Repeat("ü", 100) + `"}}`:   `sync_mode must be \"full_refresh\", got \"` + strings.Repeat("ü", 31) + `…`,
		`{"sync":{"stream_name":"` + strings.Repeat("a", 256) + `"}}`: `stream_name must have at most 255 characters, got 256`,
		`{"sync":5}`: `sync must be an object with the fields of the sync, got a number`,
		`[]`:         `the body must be an object such as {\"sync\": {…}}, got an array`,
	} {
		response := newHarness(t).do(t, good(body))
		if got := read(t, response); !strings.Contains(got, `"detail":"`+want+`"`) {
			t.Errorf("%.80s: got %.600s\nwant %s", body, got, want)
		}
	}
}

func TestUnknownFieldsWarn(t *testing.T) {
	t.Parallel()
	many := make([]string, 0, 12)
	wantMany := make([]string, 0, 10)
	for _, c := range "abcdefghijkl" {
		many = append(many, `"`+string(c)+`":1`)
		if len(wantMany) < 10 {
			wantMany = append(wantMany, `299 - "unknown field /`+string(c)+`"`)
		}
	}
	for name, test := range map[string]struct {
		body   string
		status int
		want   []string
	}{
		"none":            {goodBody, 200, nil},
		"misspelt":        {strings.Replace(goodBody, "cursor_field", "cursor_feild", 1), 200, []string{`299 - "unknown field /sync/cursor_feild"`}},
		"another case":    {strings.Replace(goodBody, "cursor_field", "Cursor_Field", 1), 200, []string{`299 - "unknown field /sync/Cursor_Field"`}},
		"next to sync":    {strings.Replace(goodBody, `{"sync"`, `{"dry_run":true,"sync"`, 1), 200, []string{`299 - "unknown field /dry_run"`}},
		"with a refusal":  {`{"sync":{"sorce_id":1}}`, 422, []string{`299 - "unknown field /sync/sorce_id"`}},
		"odd characters":  {strings.Replace(goodBody, `{"sync"`, `{"a/~\"\\\r\nü%":1,"sync"`, 1), 200, []string{`299 - "unknown field /a~1~0\"\\%0D%0A%C3%BC%25"`}},
		"a very long one": {strings.Replace(goodBody, `{"sync"`, `{"`+strings.Repeat("a", 5000)+`":1,"sync"`, 1), 200, []string{`299 - "unknown field /` + strings.Repeat("a", 127) + `..."`}},
		"twelve":          {strings.Replace(goodBody, `{"sync"`, `{`+strings.Join(many, ",")+`,"sync"`, 1), 200, wantMany},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response := newHarness(t).do(t, good(test.body))
			if response.StatusCode != test.status {
				t.Errorf("got %d, want %d", response.StatusCode, test.status)
			}
			if diff := cmp.Diff(test.want, response.Header["Warning"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnevenStepsWarn checks that a cron expression whose steps do not run
// at equal distances is accepted, and that its runs are named.
func TestUnevenStepsWarn(t *testing.T) {
	t.Parallel()
	const minutes = `299 - "/sync/cron_expression: minute */45 runs at 0 and 45, not every 45 minutes"`
	for cron, want := range map[string][]string{
		"0 6 * * 1-5":    nil,
		"*/15 * * * *":   nil,
		"*/45 * * * *":   {minutes},
		"*/45 */5 * * *": {minutes, `299 - "/sync/cron_expression: hour */5 runs at 0, 5, 10, 15 and 20, not every 5 hours"`},
		"0 0 */2 * *":    {`299 - "/sync/cron_expression: day-of-month */2 runs at 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29 and 31, not every 2 days"`},
		"*/" + strings.Repeat("0", 50) + "7 * * * *":                      {`299 - "/sync/cron_expression: minute */` + strings.Repeat("0", 38) + `%E2%80%A6 runs at 0, 7, 14, 21, 28, 35, 42, 49 and 56, not every 7 minutes"`},
		strings.TrimSuffix(strings.Repeat("*/45,", 20), ",") + " * * * *": {minutes, minutes, minutes, minutes, minutes, minutes, minutes, minutes, minutes, minutes},
	} {
		g := newHarness(t)
		body := strings.Replace(goodBody, "0 6 * * 1-5", cron, 1)
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
			r := good(body)
			if method != http.MethodPost {
				r.Method, r.URL.Path = method, "/api/v1/syncs/"+syncID
			}
			response := g.do(t, r)
			if diff := cmp.Diff(want, response.Header["Warning"]); response.StatusCode != http.StatusOK || diff != "" {
				t.Errorf("%s %s: got %d: %s", method, cron, response.StatusCode, diff)
			}
		}
		r := good(`{"sync":{"source_id":7}}`)
		r.Method, r.URL.Path = http.MethodPatch, "/api/v1/syncs/"+syncID
		if got := g.do(t, r); got.Header["Warning"] != nil {
			t.Errorf("%s: a change of another field warns of %v", cron, got.Header["Warning"])
		}
	}
}

// TestOrder checks the order in which a request is looked at: each case has the
// faults of all that follow it as well.
func TestOrder(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit   func(r *http.Request)
		status int
		want   []string
		header http.Header
	}{
		"another path":      {func(r *http.Request) { r.URL.Path = "/api/v1/sync"; r.Method = "PUT" }, 404, []string{"not_found"}, nil},
		"a slash too many":  {func(r *http.Request) { r.URL.Path = "/api/v1/syncs/" }, 404, []string{"not_found"}, nil},
		"another method":    {func(r *http.Request) { r.Method = "PUT"; r.Header.Del("Authorization") }, 405, []string{"method_not_allowed"}, http.Header{"Allow": {"GET, HEAD, OPTIONS, POST"}}},
		"HEAD of a change":  {func(r *http.Request) { r.Method = "HEAD"; r.URL.Path = "/api/v1/syncs/x/enable" }, 405, nil, http.Header{"Allow": {"OPTIONS, PATCH"}}},
		"no token":          {func(r *http.Request) { r.Header.Del("Authorization"); r.Header.Del("Content-Type") }, 401, []string{"token_missing"}, http.Header{"Www-Authenticate": {`Bearer realm="syncs"`}}},
		"an expired token":  {authorization("Bearer expired"), 401, []string{"invalid_token"}, http.Header{"Www-Authenticate": {`Bearer realm="syncs", error="invalid_token", error_description="the token expired"`}}},
		"no issuer":         {authorization("Bearer unreachable"), 503, []string{"issuer_unavailable"}, http.Header{"Retry-After": {"2"}}},
		"another scope":     {authorization("Bearer acme syncs:read"), 403, []string{"insufficient_scope"}, http.Header{"Www-Authenticate": {`Bearer realm="syncs", error="insufficient_scope", scope="syncs:write"`}}},
		"no content type":   {contentType(""), 415, []string{"unsupported_media_type Content-Type"}, nil},
		"JSON:API":          {contentType("application/vnd.api+json"), 415, []string{"unsupported_media_type Content-Type"}, nil},
		"a form":            {contentType("application/x-www-form-urlencoded"), 415, []string{"unsupported_media_type Content-Type"}, nil},
		"rubbish":           {contentType("application/json;;;=\r\n"), 415, []string{"unsupported_media_type Content-Type"}, nil},
		"another charset":   {contentType("application/json; charset=latin1"), 415, []string{"unsupported_media_type Content-Type"}, nil},
		"a compressed body": {func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 415, []string{"unsupported_media_type Content-Encoding"}, nil},
		"a body too large":  {func(*http.Request) {}, 413, []string{"body_too_large"}, nil},
		"and of no length":  {func(r *http.Request) { r.ContentLength = -1 }, 413, []string{"body_too_large"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := good(strings.Repeat("x", 256<<10+1))
			test.edit(r)
			response := newHarness(t).do(t, r)
			body := read(t, response)
			if response.StatusCode != test.status {
				t.Fatalf("got %d, want %d: %s", response.StatusCode, test.status, body)
			}
			if r.Method != http.MethodHead {
				if diff := cmp.Diff(test.want, problems(t, body)); diff != "" {
					t.Error(diff)
				}
			}
			for name, want := range test.header {
				if diff := cmp.Diff(want, response.Header[name]); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
		})
	}
}

func authorization(value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", value); r.Header.Del("Content-Type") }
}

func contentType(value string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Del("Content-Type")
		if value != "" {
			r.Header.Set("Content-Type", value)
		}
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(r *http.Request){
		"a charset":             contentType("application/json; charset=utf-8"),
		"another spelling":      contentType("Application/JSON;charset=UTF-8"),
		"a parameter":           contentType("application/json; profile=x"),
		"the identity coding":   func(r *http.Request) { r.Header.Set("Content-Encoding", "identity") },
		"a body of the maximum": func(r *http.Request) { *r = *good(goodBody + strings.Repeat(" ", 256<<10-len(goodBody))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := good(goodBody)
			edit(r)
			if response := newHarness(t).do(t, r); response.StatusCode != http.StatusOK {
				t.Errorf("got %d: %s", response.StatusCode, read(t, response))
			}
		})
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method, path string
		status       int
		allow, body  string
	}{
		{"OPTIONS", "/api/v1/syncs", 204, "GET, HEAD, OPTIONS, POST", ""},
		{"OPTIONS", "/api/v1/syncs/x", 204, "DELETE, GET, HEAD, OPTIONS, PATCH, PUT", ""},
		{"OPTIONS", "/api/v1/syncs/x/enable", 204, "OPTIONS, PATCH", ""},
		{"OPTIONS", "/api/v1/openapi.json", 204, "GET, HEAD, OPTIONS", ""},
		{"GET", "/api/v1/openapi.json", 200, "", string(api.OpenAPI)},
		{"HEAD", "/api/v1/openapi.json", 200, "", ""},
		{"GET", "/api/v1/openapi.jsonapi.json", 200, "", string(api.OpenAPIWithJSONAPI)},
	} {
		r := httptest.NewRequestWithContext(t.Context(), test.method, test.path, nil)
		r.Header.Set(api.RequestIDHeader, requestID)
		response := newHarness(t).do(t, r)
		if body := read(t, response); response.StatusCode != test.status || response.Header.Get("Allow") != test.allow || body != test.body {
			t.Errorf("%s %s: got %d, Allow %q, %.80s", test.method, test.path, response.StatusCode, response.Header.Get("Allow"), body)
		}
	}
}

// TestLog checks the log line of a request, and that no line has a token or a payload.
func TestLog(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	secret := strings.Replace(goodBody, `"configuration":{}`, `"configuration":{"password":"hunter2"}`, 1)
	g.do(t, good(secret))
	g.do(t, good(`{"sync":{"stream_name":"hunter2\t"}}`))
	unreachable := good(secret)
	unreachable.Header.Set("Authorization", "Bearer unreachable")
	g.do(t, unreachable)

	lines := strings.Split(strings.TrimSpace(g.log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("got %d lines, want one a request:\n%s", len(lines), g.log)
	}
	for _, word := range []string{"hunter2", "Bearer", "contacts"} {
		if strings.Contains(g.log.String(), word) {
			t.Errorf("the log holds %q:\n%s", word, g.log)
		}
	}
	const common = `"msg":"request","request_id":"JKJaXmPLvHcESHA=","method":"POST","path":"/api/v1/syncs",`
	for i, want := range []string{
		`"level":"INFO",` + common + `"status":200,"duration_ms":0,"workspace":"acme","observed":200}`,
		`"level":"INFO",` + common + `"status":422,"duration_ms":0,"workspace":"acme","code":"required","observed":422}`,
		`"level":"ERROR",` + common + `"status":503,"duration_ms":0,"code":"issuer_unavailable","error":"try again: dial tcp: refused","observed":503}`,
	} {
		_, got, _ := strings.Cut(lines[i], ",") // past the time
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestLogOfNotFound checks that the log has the path of a 404: encoded, without the
// query, without a token that a client put into it, and shortened.
func TestLogOfNotFound(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 300)
	for sent, want := range map[string]string{
		"/api/v1/syncs/" + syncID:          "/api/v1/syncs/" + syncID,
		"/api/v2/syncs":                    "/api/v2/syncs",
		"/favicon.ico?token=" + long:       "/favicon.ico",
		"/a%0A%22%7B%00b/é":                "/a%0A%22%7B%00b/%C3%A9",
		"/" + long:                         "/aaaaaaaaa…",
		strings.Repeat("/0123456789", 100): strings.Repeat("/0123456789", 100)[:128] + "…",
		"/Bearer/eyJhbGciOiJFZERTQSJ9.eyJpc3MiOiJhIn0.c2lnbmF0dXJl": "/Bearer/eyJhbGciO…",
	} {
		g := newHarness(t)
		if response := g.do(t, request(t, http.MethodGet, sent, "")); response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %d", sent, response.StatusCode)
		}
		var entry struct {
			Path string `json:"requested_path"`
		}
		if err := json.Unmarshal(g.log.Bytes(), &entry); err != nil || entry.Path != want {
			t.Errorf("%s: got %q, want %q: %v: %s", sent, entry.Path, want, err, g.log)
		}
	}
}

// TestFailIsOpaque checks that the response to an internal error does not reveal its cause.
func TestFailIsOpaque(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	w := httptest.NewRecorder()
	r := good(goodBody)
	g.Fail(w, r, errors.New("ResourceNotFoundException: arn:aws:dynamodb"))
	apitest.Check(t, r, w.Code, w.Header(), w.Body.Bytes())
	const want = `{"errors":[{"status":"500","code":"internal","title":"Internal error",` +
		`"detail":"an internal error occurred; please quote the id of this error","id":"JKJaXmPLvHcESHA="}]}`
	if diff := cmp.Diff(want, w.Body.String()); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(g.log.String(), "ResourceNotFoundException") {
		t.Errorf("the log does not have the cause: %s", g.log)
	}
}

func TestStatusOfKinds(t *testing.T) {
	t.Parallel()
	taken := map[int]fault.Kind{}
	for _, kind := range fault.Kinds() {
		status, title := jsonapi.Status(kind)
		if other, ok := taken[status]; ok || http.StatusText(status) == "" || title == "" {
			t.Errorf("kind %d is %d %q, as is kind %d", kind, status, title, other)
		}
		taken[status] = kind
	}
}

// TestPrefix checks that every link begins with what stood before the path in
// the client's address.
func TestPrefix(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	ids := 0
	g.Syncs.NewID = func() (string, error) { ids++; return strings.TrimSuffix(syncID, "0") + strconv.Itoa(ids), nil }
	first := strings.TrimSuffix(syncID, "0") + "1"
	do := func(method, target, body string, header ...string) (*http.Response, string) {
		t.Helper()
		r := request(t, method, target, body, append(header, api.PrefixHeader, "/prod")...)
		response := g.do(t, r)
		return response, read(t, response)
	}
	for _, accept := range []string{"application/json", "application/vnd.api+json"} {
		response, body := do(http.MethodPost, "/api/v1/syncs", goodBody, "Accept", accept, "Idempotency-Key", "k")
		if got := response.Header.Get("Location"); got != "/prod/api/v1/syncs/"+first {
			t.Errorf("%s: Location is %s", accept, got)
		}
		if self := `"links":{"self":"/prod/api/v1/syncs/` + first + `"}`; strings.Contains(body, self) != (accept != "application/json") {
			t.Errorf("%s: got %s", accept, body)
		}
	}
	do(http.MethodPost, "/api/v1/syncs", goodBody)
	for _, r := range []struct{ method, path, body string }{
		{http.MethodGet, "", ""},
		{http.MethodPatch, "", `{"sync":{"sync_interval":45}}`},
		{http.MethodPut, "", `{"sync":{"sync_interval":46}}`},
		{http.MethodPatch, "/enable", `{"enable":false}`},
	} {
		if _, body := do(r.method, "/api/v1/syncs/"+first+r.path, r.body, "Accept", "application/vnd.api+json"); !strings.Contains(body, `"self":"/prod/api/v1/syncs/`+first+`"`) {
			t.Errorf("%s %s: got %s", r.method, r.path, body)
		}
	}
	_, body := do(http.MethodGet, "/api/v1/syncs?page[size]=1&filter[model_id]=3", "", "Accept", "application/vnd.api+json")
	for _, link := range []string{
		`"self":"/prod/api/v1/syncs?filter%5Bmodel_id%5D=3&page%5Bsize%5D=1"`,
		`"next":"/prod/api/v1/syncs?filter%5Bmodel_id%5D=3&page%5Bafter%5D=`,
		`"self":"/prod/api/v1/syncs/` + strings.TrimSuffix(first, "1") + `3"`, // the replay took the second ID
	} {
		if !strings.Contains(body, link) {
			t.Errorf("no %s in %s", link, body)
		}
	}
	if strings.Count(body, `"/`) != strings.Count(body, `"/prod/`) {
		t.Errorf("a link without the prefix in %s", body)
	}
	for name, document := range map[string][]byte{"openapi.json": api.OpenAPI, "openapi.jsonapi.json": api.OpenAPIWithJSONAPI} {
		_, body = do(http.MethodGet, "/api/v1/"+name, "")
		if diff := cmp.Diff(strings.Replace(string(document), `"url": "/"`, `"url": "/prod"`, 1), body); diff != "" || !strings.Contains(body, `"url": "/prod"`) {
			t.Error(name, diff)
		}
	}
}
