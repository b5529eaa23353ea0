package apitest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// Server is what RunLifecycle sends its requests to.
type Server struct {
	// Do answers a request. It may be called concurrently.
	Do func(r *http.Request) (*http.Response, error)

	// Token returns a bearer token for a workspace with these scopes.
	Token func(tb testing.TB, workspace string, scopes ...string) string
}

const body = `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"n":1.0},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes",` +
	`"cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}`

const path = "/api/v1/syncs"

// client sends requests to a workspace of its own.
type client struct {
	t         *testing.T
	server    Server
	workspace string
	token     string
}

// result is a response whose body was read.
type result struct {
	status int
	header http.Header
	body   string
}

func (s Server) client(t *testing.T) client {
	t.Helper()
	workspace := "w-" + uuid.NewString()
	return client{t, s, workspace, s.Token(t, workspace, "syncs:read", "syncs:write")}
}

// try sends a request; header is pairs of names and values.
func (c client) try(method, target, body string, header ...string) (result, error) {
	r := httptest.NewRequestWithContext(context.WithoutCancel(c.t.Context()), method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Del(pair[0])
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Add(pair[0], pair[1]) // a name that comes again is another header line
	}
	response, err := c.server.Do(r)
	if err != nil {
		return result{}, err
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return result{}, err
	}
	Check(c.t, r, response.StatusCode, response.Header, text)
	return result{response.StatusCode, response.Header, string(text)}, nil
}

func (c client) do(method, target, body string, header ...string) result {
	c.t.Helper()
	got, err := c.try(method, target, body, header...)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// want sends a request and fails the test unless the status is this.
func (c client) want(status int, method, target, body string, header ...string) result {
	c.t.Helper()
	got := c.do(method, target, body, header...)
	if got.status != status {
		c.t.Fatalf("%s %s %.200s: got %d %.500s, want %d", method, target, body, got.status, got.body, status)
	}
	return got
}

// create makes a sync and returns its path.
func (c client) create() (location string, created result) {
	c.t.Helper()
	created = c.want(200, "POST", path, body)
	return created.header.Get("Location"), created
}

// attributes returns those of the resource in a response.
func (r result) attributes(t *testing.T) map[string]any {
	t.Helper()
	var document struct {
		Attributes map[string]any `json:"attributes"`
	}
	if err := json.Unmarshal([]byte(r.body), &document); err != nil || document.Attributes == nil {
		t.Fatalf("no resource: %v: %s", err, r.body)
	}
	return document.Attributes
}

// codes returns the errors in a response, each with its source.
func (r result) codes(t *testing.T) []string {
	t.Helper()
	var document struct {
		Errors []struct {
			Code   string            `json:"code"`
			Source map[string]string `json:"source"`
		} `json:"errors"`
	}
	if err := json.Unmarshal([]byte(r.body), &document); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	var codes []string
	for _, e := range document.Errors {
		codes = append(codes, strings.TrimSpace(e.Code+" "+e.Source["pointer"]+e.Source["header"]+e.Source["parameter"]))
	}
	return codes
}

func (c client) wantCodes(got result, want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, got.codes(c.t)); diff != "" {
		c.t.Errorf("%s: %s", diff, got.body)
	}
}

// RunLifecycle tests the operations on syncs and runs over HTTP, from create to
// delete, and checks every response against the OpenAPI document. It is run on every
// storage backend and through the built function.
func RunLifecycle(t *testing.T, server Server) {
	t.Helper()
	for name, test := range map[string]func(t *testing.T, c client){
		"read":                  readSync,
		"a foreign sync":        foreignSync,
		"scopes":                scopesDecide,
		"list":                  listSyncs,
		"list filters":          listFilters,
		"list refuses":          listRefuses,
		"change":                changeSync,
		"change refuses":        changeRefuses,
		"change nothing":        changeNothing,
		"put what was read":     putWhatWasRead,
		"an upper-case id":      upperCaseID,
		"change conditionally":  changeConditionally,
		"change unless":         changeUnless,
		"read conditionally":    readConditionally,
		"changes at once":       changesAtOnce,
		"pause and resume":      pauseAndResume,
		"delete":                deleteSync,
		"when it runs next":     nextRunOfSync,
		"repeat a create":       repeatCreate,
		"repeat it at once":     repeatAtOnce,
		"keys that are none":    badIdempotencyKeys,
		"JSON:API":              jsonAPI,
		"the form of an answer": answerForms,
		"a run to its end":      runToItsEnd,
		"read a run again":      runConditionally,
		"cancel runs":           runCancels,
		"runs refuse":           runRefuses,
		"runs warn":             runWarns,
		"a foreign run":         runForeign,
		"runs of a paused sync": runPaused,
		"repeat a trigger":      runKeys,
		"list runs":             runPages,
		"runs in JSON:API":      runJSONAPI,
	} {
		t.Run(name, func(t *testing.T) { test(t, server.client(t)) })
	}
}

func readSync(t *testing.T, c client) {
	location, created := c.create()
	got := c.want(200, "GET", location, "")
	if got.body != created.body {
		t.Errorf("read %s, created %s", got.body, created.body)
	}
	etag := got.header.Get("Etag")
	if etag == "" || etag != created.header.Get("Etag") {
		t.Errorf("the ETag is %q, was %q", etag, created.header.Get("Etag"))
	}
	for _, tags := range []string{etag, "W/" + etag, `"x", ` + etag, "*"} {
		if got := c.want(304, "GET", location, "", "If-None-Match", tags); got.body != "" || got.header.Get("Etag") != etag {
			t.Errorf("%s: got %q, %v", tags, got.body, got.header)
		}
	}
	c.want(200, "GET", location, "", "If-None-Match", `"x"`)
	if got := c.want(200, "HEAD", location, ""); got.body != "" || got.header.Get("Etag") != etag {
		t.Errorf("got %q, %v", got.body, got.header)
	}
}

func foreignSync(t *testing.T, c client) {
	location, _ := c.create()
	other := c.server.client(t)
	never := path + "/" + uuid.NewString()
	for _, request := range []struct{ method, suffix, body string }{
		{"GET", "", ""},
		{"PATCH", "", `{"sync":{"source_id":5}}`},
		{"PUT", "", `{"sync":{"source_id":5}}`},
		{"PATCH", "/enable", `{"enable":false}`},
		{"DELETE", "", ""},
	} {
		var bodies []string
		for _, target := range []string{location, never, path + "/x", path + "/" + strings.ToUpper(strings.TrimPrefix(location, path+"/")), path + "/%00", path + "/a%25zz", path + "/%25", path + "/%0D%0A%7F", path + "/%FF%C3%28", path + "/a%3Fb%23", path + "/" + strings.Repeat("a", 3000)} {
			got := other.want(404, request.method, target+request.suffix, request.body)
			id := got.header.Get("X-Request-Id")
			bodies = append(bodies, strings.ReplaceAll(got.body, id, "<id>"))
		}
		if same := slices.Compact(bodies); len(same) != 1 {
			t.Errorf("%s %s distinguishes them: %v", request.method, request.suffix, same)
		}
	}
	if got := other.want(200, "GET", path, ""); !strings.Contains(got.body, `"data":[]`) {
		t.Errorf("another workspace lists %s", got.body)
	}
	c.want(200, "GET", location, "")
}

func scopesDecide(t *testing.T, c client) {
	location, _ := c.create()
	reader, writer, neither := c, c, c
	reader.token = c.server.Token(t, c.workspace, "syncs:read")
	writer.token = c.server.Token(t, c.workspace, "syncs:write")
	neither.token = c.server.Token(t, c.workspace, "profile")
	for _, request := range []struct{ method, target, body, scope string }{
		{"GET", path, "", "syncs:read"},
		{"GET", location, "", "syncs:read"},
		{"HEAD", location, "", "syncs:read"},
		{"PATCH", location, `{"sync":{"source_id":5}}`, "syncs:write"},
		{"PUT", location, `{"sync":{"source_id":5}}`, "syncs:write"},
		{"PATCH", location + "/enable", `{"enable":false}`, "syncs:write"},
		{"POST", path, body, "syncs:write"},
		{"DELETE", location, "", "syncs:write"},
	} {
		may, mayNot := reader, writer
		if request.scope == "syncs:write" {
			may, mayNot = writer, reader
		}
		neither.want(403, request.method, request.target, request.body)
		got := mayNot.want(403, request.method, request.target, request.body)
		if challenge := got.header.Get("Www-Authenticate"); !strings.Contains(challenge, `scope="`+request.scope+`"`) {
			t.Errorf("%s %s: the challenge is %s", request.method, request.target, challenge)
		}
		if got := may.do(request.method, request.target, request.body); got.status >= 300 {
			t.Errorf("%s %s: got %d %s", request.method, request.target, got.status, got.body)
		}
	}
}

// page is a list in a response.
type page struct {
	Data []struct {
		ID         string         `json:"id"`
		Attributes map[string]any `json:"attributes"`
	} `json:"data"`
	Links struct {
		Self string  `json:"self"`
		Next *string `json:"next"`
	} `json:"links"`
	Meta struct {
		Page struct {
			Size  int     `json:"size"`
			After *string `json:"after"`
		} `json:"page"`
	} `json:"meta"`
}

func (c client) page(target string) page {
	c.t.Helper()
	var p page
	got := c.want(200, "GET", target, "")
	if err := json.Unmarshal([]byte(got.body), &p); err != nil {
		c.t.Fatalf("%v: %s", err, got.body)
	}
	after, linked := p.Meta.Page.After, p.Links.Next
	if (after == nil) != (linked == nil) || after != nil && !strings.Contains(*linked, "page%5Bafter%5D="+*after+"&") {
		c.t.Errorf("meta.page.after is %v, links.next %v: %s", after, linked, got.body)
	}
	return p
}

// ids follows the next links from target and returns all that is listed.
func (c client) ids(target string) (ids []string, pages int) {
	c.t.Helper()
	for pages < 100 {
		p := c.page(target)
		pages++
		for _, s := range p.Data {
			ids = append(ids, s.ID)
		}
		if p.Links.Next == nil {
			break
		}
		target = *p.Links.Next
	}
	return ids, pages
}

func listSyncs(t *testing.T, c client) {
	var want []string
	for range 25 {
		location, _ := c.create()
		want = append(want, strings.TrimPrefix(location, path+"/"))
	}
	slices.Reverse(want)
	for query, pages := range map[string]int{"": 2, "?page[size]=25": 1, "?page%5Bsize%5D=24": 2, "?page[size]=5": 5, "?page[size]=100": 1} {
		got, n := c.ids(path + query)
		if diff := cmp.Diff(want, got); diff != "" || n != pages {
			t.Errorf("%s: %d pages, want %d: %s", query, n, pages, diff)
		}
	}
	first := c.page(path)
	if first.Meta.Page.Size != 20 || len(first.Data) != 20 || first.Links.Next == nil {
		t.Errorf("the first page is %+v", first)
	}
	if again := c.page(first.Links.Self); again.Data[0].ID != want[0] {
		t.Errorf("self leads to %v", again.Data[0].ID)
	}
	second := c.page(*first.Links.Next)
	if again := c.page(second.Links.Self); again.Data[0].ID != second.Data[0].ID {
		t.Error("self of the second page leads elsewhere")
	}
}

func listFilters(t *testing.T, c client) {
	var all []string
	for i := range 6 {
		edited := strings.Replace(body, `"source_id":1`, fmt.Sprintf(`"source_id":%d`, i%2+1), 1)
		edited = strings.Replace(edited, `"model_id":3`, fmt.Sprintf(`"model_id":%d`, i%3+1), 1)
		got := c.want(200, "POST", path, edited)
		all = append(all, strings.TrimPrefix(got.header.Get("Location"), path+"/"))
	}
	c.want(200, "PATCH", path+"/"+all[5]+"/enable", `{"enable":false}`)
	for query, want := range map[string][]int{
		"filter[source_id]=1":                       {4, 2, 0},
		"filter[source_id]=2&filter[model_id]=1":    {3},
		"filter[status]=disabled":                   {5},
		"filter[status]=pending&filter[model_id]=3": {2},
		"filter[destination_id]=2":                  {5, 4, 3, 2, 1, 0},
		"filter[destination_id]=9":                  {},
		"filter[source_id]=1&page[size]=1":          {4, 2, 0},
	} {
		got, _ := c.ids(path + "?" + query)
		var wanted []string
		for _, i := range want {
			wanted = append(wanted, all[i])
		}
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%s: %s", query, diff)
		}
	}
}

func listRefuses(t *testing.T, c client) {
	c.create()
	c.create()
	next := *c.page(path + "?page[size]=1").Links.Next
	cursor := *c.page(path + "?page[size]=1").Meta.Page.After
	edited := []byte(cursor)
	edited[3] ^= 1
	for query, want := range map[string][]string{
		"page[size]=0":                        {"invalid_parameter page[size]"},
		"page[size]=101":                      {"invalid_parameter page[size]"},
		"page[size]=":                         {"invalid_parameter page[size]"},
		"page[size]=1.0":                      {"invalid_parameter page[size]"},
		"page[size]=%2B1":                     {"invalid_parameter page[size]"},
		"page[size]=99999999999999999999":     {"invalid_parameter page[size]"},
		"page[size]=1&page[size]=2":           {"invalid_parameter page[size]"},
		"page[after]=":                        {"invalid_cursor page[after]"},
		"page[after]=x":                       {"invalid_cursor page[after]"},
		"page[after]=" + string(edited):       {"invalid_cursor page[after]"},
		"page[after]=" + cursor + "A":         {"invalid_cursor page[after]"},
		"filter[status]=paused":               {"invalid_parameter filter[status]"},
		"filter[source_id]=0":                 {"invalid_parameter filter[source_id]"},
		"filter[name]=x&page[size]=0&limit=5": {"unknown_parameter filter[name]", "unknown_parameter limit", "invalid_parameter page[size]"},
		"a=%zz":                               {"invalid_query"},
		"a=1;b=2":                             {"invalid_query"},
	} {
		got := c.want(400, "GET", path+"?"+query, "")
		c.wantCodes(got, want...)
	}
	other := c.server.client(t)
	other.create()
	other.wantCodes(other.want(400, "GET", next, ""), "invalid_cursor page[after]")
	c.want(200, "GET", next, "")
}

func changeSync(t *testing.T, c client) {
	location, created := c.create()
	before := created.attributes(t)
	version := created.header.Get("Etag")
	for _, step := range []struct {
		method, patch string
		want          map[string]any // nil removes
	}{
		{"PATCH", `{"sync":{"source_id":7}}`, map[string]any{"source_id": 7.0}},
		{"PUT", `{"sync":{"stream_name":" companies "}}`, map[string]any{"stream_name": "companies"}},
		{"PATCH", `{"sync":{"configuration":{"a":1}}}`, map[string]any{"configuration": map[string]any{"a": 1.0}}},
		{"PATCH", `{"sync":{"sync_interval":45,"destination_id":8,"model_id":9}}`, map[string]any{"sync_interval": 45.0, "destination_id": 8.0, "model_id": 9.0}},
		{"PATCH", `{"sync":{"cron_expression":""}}`, map[string]any{"cron_expression": nil}},
		{"PATCH", `{"sync":{"cron_expression":"5 4 * * *"}}`, map[string]any{"cron_expression": "5 4 * * *"}},
		{"PATCH", `{"sync":{"cron_expression":null}}`, map[string]any{"cron_expression": nil}},
	} {
		got := c.want(200, step.method, location, step.patch)
		want := before
		for name, value := range step.want {
			if want[name] = value; value == nil {
				delete(want, name)
			}
		}
		after := got.attributes(t)
		want["updated_at"], want["next_run_at"] = after["updated_at"], after["next_run_at"] // for that see nextRun
		if diff := cmp.Diff(want, after); diff != "" {
			t.Errorf("%s: %s", step.patch, diff)
		}
		if got.header.Get("Etag") == version {
			t.Errorf("%s: the ETag is still %s", step.patch, version)
		}
		version = got.header.Get("Etag")
		if stored := c.want(200, "GET", location, ""); stored.body != got.body || stored.header.Get("Etag") != version {
			t.Errorf("%s: answered %s, stored %s", step.patch, got.body, stored.body)
		}
		before = after
	}
	if got := c.want(200, "PATCH", location, `{"sync":{"configuration":{"b":1.0, "a":1e400}}}`); !strings.Contains(got.body, `"configuration":{"b":1.0, "a":1e400},`) {
		t.Errorf("the configuration came back as %s", got.body)
	}
	got := c.want(200, "PATCH", location, `{"sync":{"source_id":8,"Status":"healthy","name":"x","sourceId":9}}`)
	if warned := strings.Join(got.header.Values("Warning"), ","); strings.Count(warned, "unknown field") != 3 {
		t.Errorf("the warnings are %s", warned)
	}
	if !strings.Contains(got.body, `"status":"pending"`) || !strings.Contains(got.body, `"source_id":8`) {
		t.Errorf("a client has set the status: %s", got.body)
	}
}

// changeNothing checks that a change to what is there already makes no version.
func changeNothing(t *testing.T, c client) {
	location, created := c.create()
	for _, patch := range []string{
		body,
		`{"sync":{"cursor_field":"updated_at"}}`,
		`{"sync":{"cursor_field":"\u00a0updated_at "}}`,
		`{"sync":{"source_id":1.0}}`,
		`{"sync":{"stream_name":" contacts "}}`,
		`{"sync":{"schedule_type":"automated","sync_mode":"full_refresh","sync_interval_unit":"minutes"}}`,
		`{"sync":{"cron_expression":"0 6 * * 1-5","unknown":1}}`,
	} {
		for _, method := range []string{"PATCH", "PUT"} {
			got := c.want(200, method, location, patch)
			if got.body != created.body || got.header.Get("Etag") != created.header.Get("Etag") {
				t.Errorf("%s %s: got %s %s, was %s", method, patch, got.header.Get("Etag"), got.body, created.body)
			}
			c.want(200, method, location, patch, "If-Match", created.header.Get("Etag"))
			c.wantCodes(c.want(412, method, location, patch, "If-Match", `"2"`), "version_mismatch")
		}
	}
	if got := c.want(200, "GET", location, ""); got.body != created.body || got.header.Get("Etag") != created.header.Get("Etag") {
		t.Errorf("it is now %s", got.body)
	}

	bare := strings.TrimPrefix(c.want(200, "POST", path, strings.NewReplacer(`,"cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"`, "").Replace(body)).header.Get("Location"), path)
	for _, patch := range []string{`{"sync":{"cursor_field":""}}`, `{"sync":{"cursor_field":null,"cron_expression":null}}`, `{"sync":{"cron_expression":""}}`} {
		if got := c.want(200, "PATCH", path+bare, patch); got.header.Get("Etag") != `"1"` {
			t.Errorf("%s: got version %s", patch, got.header.Get("Etag"))
		}
	}
	for _, patch := range []string{`{"sync":{"cursor_field":"id"}}`, `{"sync":{"cursor_field":" "}}`, `{"sync":{"cursor_field":7}}`} {
		c.wantCodes(c.want(422, "PATCH", path+bare, patch), "immutable /sync/cursor_field")
	}
}

// putWhatWasRead checks that a client can read a sync, edit what it got and send
// all of it back.
func putWhatWasRead(t *testing.T, c client) {
	location, created := c.create()
	whole := func(got result, edit func(attributes map[string]any)) string {
		t.Helper()
		attributes := got.attributes(t)
		attributes["id"], attributes["type"] = strings.TrimPrefix(location, path+"/"), "syncs"
		edit(attributes)
		text, err := json.Marshal(map[string]any{"sync": attributes})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	got := created
	for i, edit := range []func(map[string]any){
		func(map[string]any) {},
		func(a map[string]any) { a["id"] = strings.ToUpper(a["id"].(string)) },
		func(a map[string]any) { a["created_at"] = strings.Replace(a["created_at"].(string), "Z", "+00:00", 1) },
		func(a map[string]any) {
			// They may have changed since the client read them.
			a["updated_at"], a["next_run_at"] = "2020-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"
		},
		func(a map[string]any) { a["stream_name"] = "companies" },
		func(map[string]any) {},
	} {
		// A number comes back as another text of the same value, and so does the
		// configuration: {"n":1.0} was read as {"n":1}.
		put := strings.Replace(whole(got, edit), `{"n":1}`, `{"n":1.0}`, 1)
		next := c.want(200, "PUT", location, put)
		if warned := next.header.Values("Warning"); len(warned) > 0 {
			t.Errorf("edit %d: warned of %v", i, warned)
		}
		if same := next.body == got.body && next.header.Get("Etag") == got.header.Get("Etag"); same == (i == 4) {
			t.Errorf("edit %d: got %s %s, was %s", i, next.header.Get("Etag"), next.body, got.body)
		}
		got = next
	}
	if got.header.Get("Etag") != `"2"` || got.attributes(t)["stream_name"] != "companies" {
		t.Errorf("got %s %s", got.header.Get("Etag"), got.body)
	}
	for member, values := range map[string][]any{
		"id":           {uuid.NewString(), "x", nil, 5},
		"type":         {"sync", nil, 5},
		"created_at":   {"2020-01-01T00:00:00.000Z", "x", nil, 5},
		"status":       {"disabled", "healthy", "Pending", nil, 5},
		"cursor_field": {"id", "", nil, 5, "Updated_at"},
	} {
		for _, value := range values {
			put := whole(got, func(a map[string]any) { a[member], a["stream_name"] = value, "else" })
			c.wantCodes(c.want(422, "PUT", location, put), "immutable /sync/"+member)
		}
	}
	c.wantCodes(c.want(422, "PUT", location, whole(got, func(a map[string]any) {
		a["source_id"], a["status"], a["id"], a["cursor_field"] = 0, "x", "x", "x"
	})), "out_of_range /sync/source_id", "immutable /sync/cursor_field", "immutable /sync/id", "immutable /sync/status")
	if after := c.want(200, "GET", location, ""); after.body != got.body {
		t.Errorf("it is now %s", after.body)
	}
	// On a create these are unknown.
	other := c.want(200, "POST", path, whole(got, func(map[string]any) {}))
	if warned := strings.Join(other.header.Values("Warning"), ","); strings.Count(warned, "unknown field") != 6 || other.header.Get("Location") == location {
		t.Errorf("the warnings are %s", warned)
	}
}

// upperCase checks that the letters of an ID may have either case (RFC 9562,
// section 4), and that answers and links have the one that was given out.
func upperCaseID(t *testing.T, c client) {
	location, created := c.create()
	id := strings.TrimPrefix(location, path+"/")
	for _, spelled := range []string{strings.ToUpper(id), strings.ToUpper(id[:18]) + id[18:]} {
		if got := c.want(200, "GET", path+"/"+spelled, ""); got.body != created.body {
			t.Errorf("%s: got %s", spelled, got.body)
		}
		got := c.want(200, "GET", path+"/"+spelled, "", "Accept", "application/vnd.api+json")
		if !strings.Contains(got.body, `"links":{"self":"`+location+`"}`) {
			t.Errorf("%s: got %s", spelled, got.body)
		}
	}
	upper := path + "/" + strings.ToUpper(id)
	if got := c.want(200, "PATCH", upper, `{"sync":{"source_id":9}}`); !strings.HasPrefix(got.body, `{"id":"`+id+`"`) {
		t.Errorf("got %s", got.body)
	}
	c.want(200, "PATCH", upper+"/enable", `{"enable":false}`)
	if got := c.want(200, "GET", location, "").attributes(t); got["source_id"] != 9.0 || got["status"] != "disabled" {
		t.Errorf("got %v", got)
	}
	for _, other := range []string{strings.ReplaceAll(id, "-", ""), "{" + id + "}", "urn:uuid:" + id, id + "0", strings.Replace(id, "0", "g", 1), strings.Replace(id, "0", "\u0660", 1)} {
		c.want(404, "GET", path+"/"+url.PathEscape(other), "")
	}
	c.want(204, "DELETE", upper, "")
	c.want(404, "GET", location, "")
	if ids, _ := c.ids(path); len(ids) > 0 {
		t.Errorf("there are %v", ids)
	}
}

func changeRefuses(t *testing.T, c client) {
	location, created := c.create()
	for patch, want := range map[string][]string{
		`{"sync":{}}`:                                        {"empty_change /sync"},
		`{"sync":{"Status":"healthy"}}`:                      {"empty_change /sync"},
		`{"sync":{"status":"pending"}}`:                      {"empty_change /sync"},
		`{"sync":{"updated_at":"2020-01-01T00:00:00.000Z"}}`: {"empty_change /sync"},
		`{"sync":{"status":"healthy"}}`:                      {"immutable /sync/status"},
		`{}`:                                                 {"required /sync"},
		`{"sync":[]}`:                                        {"wrong_type /sync"},
		`{"sync":{"source_id":0,"model_id":null}}`:           {"out_of_range /sync/source_id", "wrong_type /sync/model_id"},
		`{"sync":{"cursor_field":"id"}}`:                     {"immutable /sync/cursor_field"},
		`{"sync":{"cursor_field":null}}`:                     {"immutable /sync/cursor_field"},
		`{"sync":{"cursor_field":5}}`:                        {"immutable /sync/cursor_field"},
		`{"sync":{"stream_name":"","sync_mode":1}}`:          {"blank /sync/stream_name", "wrong_type /sync/sync_mode"},
		`{"sync":{"cron_expression":"0` + strings.Repeat(",0", 120_000) + ` 6 * * *","source_id":0}}`: {"out_of_range /sync/source_id", "too_long /sync/cron_expression"},
		`{"sync":{"cron_expression":"*/90 * * * *","cursor_field":"id"}}`:                             {"invalid_cron /sync/cron_expression", "immutable /sync/cursor_field"},
	} {
		c.wantCodes(c.want(422, "PATCH", location, patch), want...)
		c.wantCodes(c.want(422, "PUT", location, patch), want...)
	}
	c.wantCodes(c.want(400, "PATCH", location, `{"sync":`), "invalid_json")
	c.wantCodes(c.want(415, "PATCH", location, `{}`, "Content-Type", "application/merge-patch+json"), "unsupported_media_type Content-Type")
	for _, accepted := range []string{
		"application/json;", "application/json;;charset=utf-8", `application/json; profile="a;charset=latin1, b"`, `application/json; charset="u\tf-8"`, "APPLICATION/json ; CHARSET=UTF-8",
	} {
		c.want(422, "PATCH", location, `{}`, "Content-Type", accepted)
	}
	for _, refused := range []string{
		"application/json, application/json", "application/json; charset = utf-8", `application/json; charset="utf-8`, `application/json; charset=""`,
		"application/json; charset=utf-8; charset=utf-8", "application/json; charset", "application/json; a=b c", "application /json", "json", ";charset=utf-8",
	} {
		c.wantCodes(c.want(415, "PATCH", location, `{}`, "Content-Type", refused), "unsupported_media_type Content-Type")
	}
	c.wantCodes(c.want(415, "PATCH", location, `{}`, "Content-Type", "application/json", "Content-Type", "application/json"), "unsupported_media_type Content-Type")
	c.wantCodes(c.want(415, "PATCH", location, `{}`, "Content-Encoding", "identity", "Content-Encoding", "gzip"), "unsupported_media_type Content-Encoding")
	c.want(422, "PATCH", location, `{}`, "Content-Encoding", "identity, ,Identity")
	if got := c.want(200, "GET", location, ""); got.body != created.body {
		t.Errorf("it is now %s", got.body)
	}
}

func changeConditionally(t *testing.T, c client) {
	location, created := c.create()
	first := created.header.Get("Etag")
	const patch = `{"sync":{"source_id":7}}`
	second := c.want(200, "PATCH", location, patch, "If-Match", first).header.Get("Etag")
	for _, header := range []string{first, "W/" + second, `"x"`, `"999999999999999999999"`, `"02"`, `"+2"`, `"2.0"`, `"2-JSONAPI"`, `"2-jsonapi-jsonapi"`, `""`} {
		c.wantCodes(c.want(412, "PATCH", location, patch, "If-Match", header), "version_mismatch")
		c.wantCodes(c.want(412, "PATCH", location+"/enable", `{"enable":false}`, "If-Match", header), "version_mismatch")
		c.wantCodes(c.want(412, "DELETE", location, "", "If-Match", header), "version_mismatch")
	}
	for _, header := range []string{"", "3", `"3`, `"3" "4"`} {
		c.wantCodes(c.want(400, "PATCH", location, patch, "If-Match", header), "invalid_header If-Match")
	}
	c.want(200, "PATCH", location, patch, "If-Match", first+", "+second)
	c.want(200, "PATCH", location, patch, "If-Match", "*")
	c.wantCodes(c.want(404, "PATCH", path+"/"+uuid.NewString(), patch, "If-Match", "*"), "not_found")
	last := c.want(200, "GET", location, "").header.Get("Etag")
	c.want(204, "DELETE", location, "", "If-Match", last)
}

// changeUnless checks If-None-Match on requests that change a sync (RFC 9110,
// sections 13.1.2 and 13.2.2).
func changeUnless(t *testing.T, c client) {
	location, created := c.create()
	first := created.header.Get("Etag")
	const patch = `{"sync":{"source_id":7}}`
	second := c.want(200, "PATCH", location, patch, "If-None-Match", `"2"`).header.Get("Etag")
	otherForm := second[:len(second)-1] + `-jsonapi"`
	writes := []struct{ method, target, body string }{
		{"PATCH", location, patch},
		{"PUT", location, patch},
		{"PATCH", location + "/enable", `{"enable":false}`},
		{"DELETE", location, ""},
	}
	for _, w := range writes {
		for _, header := range []string{"*", second, "W/" + second, otherForm, first + ", " + second, `"a,b",` + second, ", ," + second + " ,"} {
			c.wantCodes(c.want(412, w.method, w.target, w.body, "If-None-Match", header), "version_excluded")
		}
		for _, header := range []string{"", "2", `"2`, `"2" "3"`, `w/"2"`, `*, "2"`, "\"a b\""} {
			c.wantCodes(c.want(400, w.method, w.target, w.body, "If-None-Match", header), "invalid_header If-None-Match")
		}
		// If-Match is evaluated first, and both must hold.
		c.wantCodes(c.want(412, w.method, w.target, w.body, "If-Match", first, "If-None-Match", second), "version_mismatch")
		c.wantCodes(c.want(412, w.method, w.target, w.body, "If-Match", second, "If-None-Match", second), "version_excluded")
		c.wantCodes(c.want(412, w.method, w.target, w.body, "If-Match", first, "If-None-Match", first), "version_mismatch")
		// Without a sync the answer is 404, whatever the conditions.
		missing := strings.Replace(w.target, location, path+"/"+uuid.NewString(), 1)
		c.wantCodes(c.want(404, w.method, missing, w.body, "If-None-Match", "*"), "not_found")
		c.wantCodes(c.want(404, w.method, missing, w.body, "If-Match", "*", "If-None-Match", `"1"`), "not_found")
	}
	if got := c.want(200, "GET", location, "").header.Get("Etag"); got != second {
		t.Fatalf("a refused request made version %s of %s", got, second)
	}
	third := c.want(200, "PUT", location, `{"sync":{"source_id":8}}`, "If-Match", second, "If-None-Match", first).header.Get("Etag")
	c.want(200, "PATCH", location+"/enable", `{"enable":false}`, "If-None-Match", second)
	c.want(204, "DELETE", location, "", "If-None-Match", third)
}

// readConditionally checks the order of RFC 9110, section 13.2.2: If-Match
// answers 412 before If-None-Match answers 304.
func readConditionally(t *testing.T, c client) {
	location, created := c.create()
	etag := created.header.Get("Etag")
	for _, method := range []string{"GET", "HEAD"} {
		c.want(200, method, location, "", "If-Match", etag)
		c.want(200, method, location, "", "If-Match", "*")
		c.want(200, method, location, "", "If-Match", etag, "If-None-Match", `"2"`)
		c.want(304, method, location, "", "If-Match", etag, "If-None-Match", etag)
		c.want(304, method, location, "", "If-None-Match", `W/"1"`)
		c.want(304, method, location, "", "If-None-Match", `"0","1"`)
		for _, header := range []string{`"2"`, "W/" + etag, `"01"`, `"+1"`, `""`} {
			c.want(412, method, location, "", "If-Match", header)
			c.want(412, method, location, "", "If-Match", header, "If-None-Match", etag)
		}
		for _, header := range []string{`"01"`, `"+1"`, `"1-JSONAPI"`, `"1-jsonapi-jsonapi"`, `"-jsonapi"`, `""`, `"1 "`, "1"} {
			c.want(200, method, location, "", "If-None-Match", header)
		}
		c.want(400, method, location, "", "If-Match", "1")
		c.want(404, method, path+"/"+uuid.NewString(), "", "If-Match", "*")
		c.want(404, method, path+"/"+uuid.NewString(), "", "If-None-Match", "*")
	}
}

// changesAtOnce has many change different fields: with no If-Match the last
// writer wins, but every change is made, and none is torn.
func changesAtOnce(t *testing.T, c client) {
	location, created := c.create()
	patches := []string{`{"sync":{"source_id":11}}`, `{"sync":{"destination_id":12}}`, `{"sync":{"model_id":13}}`, `{"sync":{"sync_interval":14}}`}
	var all sync.WaitGroup
	for _, patch := range patches {
		all.Go(func() {
			for range 20 { // a 409 is repeated
				got, err := c.try("PATCH", location, patch)
				if err != nil || got.status != 409 {
					if err != nil || got.status != 200 {
						t.Errorf("%s: %v, %d %s", patch, err, got.status, got.body)
					}
					return
				}
			}
			t.Errorf("%s: never its turn", patch)
		})
	}
	all.Wait()
	got := c.want(200, "GET", location, "")
	want := created.attributes(t)
	want["source_id"], want["destination_id"], want["model_id"], want["sync_interval"] = 11.0, 12.0, 13.0, 14.0
	want["updated_at"] = got.attributes(t)["updated_at"]
	if diff := cmp.Diff(want, got.attributes(t)); diff != "" {
		t.Error(diff)
	}
	if got.header.Get("Etag") != `"5"` {
		t.Errorf("four changes made version %s", got.header.Get("Etag"))
	}
}

func pauseAndResume(t *testing.T, c client) {
	location, created := c.create()
	for _, step := range []struct {
		body, status string
		changes      bool
	}{
		{`{"enable":true}`, "pending", false},
		{`{"enable":false}`, "disabled", true},
		{`{"enable":false}`, "disabled", false},
		{`{"enable":true}`, "pending", true},
	} {
		got := c.want(200, "PATCH", location+"/enable", step.body)
		if got.attributes(t)["status"] != step.status || step.changes == (got.header.Get("Etag") == created.header.Get("Etag")) {
			t.Errorf("%s: got %s, version %s after %s", step.body, got.body, got.header.Get("Etag"), created.header.Get("Etag"))
		}
		if stored := c.want(200, "GET", location, ""); stored.body != got.body {
			t.Errorf("%s: answered %s, stored %s", step.body, got.body, stored.body)
		}
		created = got
	}
	for body, want := range map[string]string{
		`{"enable":"false"}`: "wrong_type /enable", `{"enable":0}`: "wrong_type /enable", `{"enable":null}`: "wrong_type /enable",
		`{"enable":[]}`: "wrong_type /enable", `{}`: "required /enable", `{"Enable":true}`: "required /enable",
	} {
		c.wantCodes(c.want(422, "PATCH", location+"/enable", body), want)
	}
	c.wantCodes(c.want(400, "PATCH", location+"/enable", `{"enable":true,"enable":false}`), "duplicate_member /enable")
	c.want(200, "PATCH", location+"/enable", `{"enable":false}`)
	if got := c.want(200, "PATCH", location, `{"sync":{"source_id":4}}`); got.attributes(t)["status"] != "disabled" {
		t.Errorf("a change has resumed it: %s", got.body)
	}
}

// nextRun checks that an interval counts from the moment that set it, to the
// second, and that nothing else moves it.
func nextRunOfSync(t *testing.T, c client) {
	t.Helper()
	at := func(r result, name string) time.Time {
		t.Helper()
		text, ok := r.attributes(t)[name].(string)
		if !ok {
			return time.Time{}
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Error(err)
		}
		return at
	}
	location, _ := c.create()
	set := c.want(200, "PATCH", location, `{"sync":{"cron_expression":"","sync_interval":123}}`)
	next := at(set, "updated_at").Truncate(time.Second).Add(123 * time.Minute)
	for _, step := range []struct {
		method, path, body string
		want               time.Time
	}{
		{"GET", "", "", next},
		{"PATCH", "", `{"sync":{"stream_name":"else","sync_interval":123,"cron_expression":null}}`, next},
		{"PATCH", "/enable", `{"enable":false}`, time.Time{}},
		{"GET", "", "", time.Time{}},
		{"PATCH", "/enable", `{"enable":true}`, next},
		{"PATCH", "", `{"sync":{"cron_expression":"0 0 1 1 *"}}`, time.Date(next.Year()+1, time.January, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if got := at(c.want(200, step.method, location+step.path, step.body), "next_run_at"); !got.Equal(step.want) {
			t.Errorf("%s %s %s: got %v, want %v", step.method, step.path, step.body, got, step.want)
		}
	}
	back := c.want(200, "PATCH", location, `{"sync":{"cron_expression":""}}`)
	if got, want := at(back, "next_run_at"), at(back, "updated_at").Truncate(time.Second).Add(123*time.Minute); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func deleteSync(t *testing.T, c client) {
	location, _ := c.create()
	other, _ := c.create()
	if got := c.want(204, "DELETE", location, ""); got.body != "" {
		t.Errorf("got %s", got.body)
	}
	c.wantCodes(c.want(404, "DELETE", location, ""), "not_found")
	c.wantCodes(c.want(404, "GET", location, ""), "not_found")
	c.wantCodes(c.want(404, "PATCH", location, `{"sync":{"source_id":4}}`), "not_found")
	if ids, _ := c.ids(path); len(ids) != 1 || !strings.HasSuffix(other, ids[0]) {
		t.Errorf("what is left is %v", ids)
	}
}

func repeatCreate(t *testing.T, c client) {
	const key = `"8e03978e-40d5-43e8-bc93-6894a57f9324"`
	first := c.want(200, "POST", path, body, "Idempotency-Key", key)
	if first.header.Get("Idempotent-Replayed") != "" {
		t.Error("the first answer is marked as a replay")
	}
	same := `{ "sync": {"cursor_field":"updated_at","cron_expression":"0 6 * * 1-5","sync_interval_unit":"minutes",` +
		`"sync_interval":3e1,"sync_mode":"full_refresh","stream_name":"\u0063ontacts","configuration":{"n":1},` +
		`"schedule_type":"automated","model_id":3.0,"destination_id":2,"source_id":1}}`
	for _, request := range []struct{ body, key string }{{body, key}, {same, key}, {body, strings.Trim(key, `"`)}} {
		got := c.want(200, "POST", path, request.body, "Idempotency-Key", request.key)
		if got.body != first.body || got.header.Get("Idempotent-Replayed") != "true" || got.header.Get("Location") != first.header.Get("Location") {
			t.Errorf("got %s %v, first was %s", got.body, got.header, first.body)
		}
	}
	for _, other := range []string{
		strings.Replace(body, `"source_id":1`, `"source_id":2`, 1),
		strings.Replace(body, `{"n":1.0}`, `{"n":1.0000000000000000000000001}`, 1),
		strings.Replace(body, `{"n":1.0}`, `{"n":"1.0"}`, 1),
	} {
		c.wantCodes(c.want(422, "POST", path, other, "Idempotency-Key", key), "idempotency_key_reused Idempotency-Key")
	}
	if ids, _ := c.ids(path); len(ids) != 1 {
		t.Errorf("there are %d syncs", len(ids))
	}

	// The form is that of each request, whatever the first one had.
	const form = "application/vnd.api+json"
	other := c.want(201, "POST", path, body, "Idempotency-Key", key, "Accept", form)
	again := c.want(201, "POST", path, body, "Idempotency-Key", "k3", "Accept", form)
	plain := c.want(200, "POST", path, body, "Idempotency-Key", "k3")
	for _, got := range []result{other, plain} {
		if got.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("no replay: %v", got.header)
		}
	}
	if other.header.Get("Location") != first.header.Get("Location") || plain.header.Get("Location") != again.header.Get("Location") {
		t.Errorf("got %v and %v", other.header, plain.header)
	}
	if want := `{"jsonapi":{"version":"1.1"},"data":` + plain.body[:len(plain.body)-1] + `,"links":`; !strings.HasPrefix(again.body, want) {
		t.Errorf("got %s, then %s", again.body, plain.body)
	}
	c.want(204, "DELETE", plain.header.Get("Location"), "")

	// A request that was refused has used up nothing.
	c.want(422, "POST", path, `{"sync":{}}`, "Idempotency-Key", "k2")
	c.want(200, "POST", path, body, "Idempotency-Key", "k2")

	// The first answer stays what it was.
	location := first.header.Get("Location")
	c.want(200, "PATCH", location, `{"sync":{"source_id":9}}`)
	c.want(204, "DELETE", location, "")
	if got := c.want(200, "POST", path, body, "Idempotency-Key", key); got.body != first.body {
		t.Errorf("got %s, first was %s", got.body, first.body)
	}

	// Another workspace has keys of its own.
	stranger := c.server.client(t)
	if got := stranger.want(200, "POST", path, body, "Idempotency-Key", key); got.header.Get("Idempotent-Replayed") != "" {
		t.Error("a key of another workspace was found")
	}
}

func repeatAtOnce(t *testing.T, c client) {
	const callers = 12
	results := make([]result, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			got, err := c.try("POST", path, body, "Idempotency-Key", "at-once")
			if err != nil || got.status != 200 {
				t.Errorf("%v, %d %s", err, got.status, got.body)
			}
			results[i] = got
		})
	}
	all.Wait()
	replayed := 0
	for _, got := range results {
		if got.body != results[0].body {
			t.Errorf("got %s and %s", got.body, results[0].body)
		}
		if got.header.Get("Idempotent-Replayed") == "true" {
			replayed++
		}
	}
	if ids, _ := c.ids(path); len(ids) != 1 || replayed != callers-1 {
		t.Errorf("there are %d syncs, %d of %d answers were replays", len(ids), replayed, callers)
	}
}

func badIdempotencyKeys(t *testing.T, c client) {
	for _, key := range []string{"", " ", `""`, `"a`, `a b`, "ä", `"a"b`, `"a\b"`, `"a b"`, strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`} {
		c.wantCodes(c.want(400, "POST", path, body, "Idempotency-Key", key), "invalid_header Idempotency-Key")
	}
	// The same header twice is refused, and so is what a gateway makes of it: it
	// joins equal headers with a comma. Only in quotes is a comma part of a key.
	for _, keys := range [][2]string{{"a", "b"}, {"a", "a"}, {`"a"`, `"b"`}, {`"a"`, `"a"`}, {"a", `"b"`}, {`"a"`, "b"}, {"", "a"}, {"a", ""}} {
		c.wantCodes(c.want(400, "POST", path, body, "Idempotency-Key", keys[0], "Idempotency-Key", keys[1]), "invalid_header Idempotency-Key")
		for _, comma := range []string{",", ", ", " ,\t"} {
			c.wantCodes(c.want(400, "POST", path, body, "Idempotency-Key", keys[0]+comma+keys[1]), "invalid_header Idempotency-Key")
		}
	}
	comma := c.want(200, "POST", path, body, "Idempotency-Key", `"a,b"`)
	if again := c.want(200, "POST", path, body, "Idempotency-Key", ` "a,b" `); again.body != comma.body {
		t.Errorf("got %s, first was %s", again.body, comma.body)
	}
	for _, key := range []string{"k", "!~", strings.Repeat("k", 255), `"` + strings.Repeat("q", 255) + `"`, `"a\"\\"`} {
		c.want(200, "POST", path, body, "Idempotency-Key", key)
	}
}

func jsonAPI(t *testing.T, c client) {
	const form = "application/vnd.api+json"
	type resource struct {
		ID, Type   string
		Attributes map[string]any
		Links      struct{ Self string }
	}
	type document struct {
		JSONAPI struct{ Version string }
		Data    resource
	}
	decode := func(got result, into any) {
		t.Helper()
		if got.header.Get("Content-Type") != form || got.header.Get("Vary") != "Accept" {
			t.Errorf("got %v", got.header)
		}
		if err := json.Unmarshal([]byte(got.body), into); err != nil {
			t.Fatalf("%v: %s", err, got.body)
		}
	}
	var created document
	answer := c.want(201, "POST", path, body, "Accept", form)
	decode(answer, &created)
	location := answer.header.Get("Location")
	if created.JSONAPI.Version != "1.1" || created.Data.Type != "syncs" || created.Data.Links.Self != location || path+"/"+created.Data.ID != location {
		t.Errorf("got %s", answer.body)
	}
	plain := c.want(200, "GET", location, "")
	if diff := cmp.Diff(plain.attributes(t), created.Data.Attributes); diff != "" {
		t.Error(diff)
	}
	read := c.want(200, "GET", location, "", "Accept", form)
	if read.body != answer.body || read.header.Get("Etag") == plain.header.Get("Etag") {
		t.Errorf("got %s %v; two forms share a strong ETag", read.body, read.header)
	}
	c.want(304, "GET", location, "", "Accept", form, "If-None-Match", read.header.Get("Etag"))
	c.want(200, "GET", location, "", "If-None-Match", read.header.Get("Etag"))
	var changed document
	decode(c.want(200, "PATCH", location, `{"sync":{"source_id":9}}`, "Accept", form, "If-Match", read.header.Get("Etag")), &changed)
	if changed.Data.Attributes["source_id"] != 9.0 {
		t.Errorf("got %+v", changed)
	}
	var listed struct {
		JSONAPI struct{ Version string }
		Data    []resource
		Links   struct{ Self string }
	}
	decode(c.want(200, "GET", path, "", "Accept", form), &listed)
	if listed.JSONAPI.Version != "1.1" || len(listed.Data) != 1 || listed.Data[0].Links.Self != location || listed.Links.Self == "" {
		t.Errorf("got %+v", listed)
	}
	var broken map[string]any
	decode(c.want(422, "POST", path, `{}`, "Accept", form), &broken)
	c.want(204, "DELETE", location, "", "Accept", form)
}

func answerForms(t *testing.T, c client) {
	location, _ := c.create()
	const plain, api = "application/json", "application/vnd.api+json"
	for accept, want := range map[string]string{
		"":                                    plain,
		"*/*":                                 plain,
		"application/*":                       plain,
		plain:                                 plain,
		"text/html, */*;q=0.1":                plain,
		api:                                   api,
		"Application/VND.api+JSON":            api,
		api + ", " + plain:                    plain,
		api + ";q=0.9, " + plain + ";q=0.8":   api,
		plain + ";q=0, " + api:                api,
		api + `;profile="https://a.example"`:  api,
		api + ", */*":                         api,
		api + `;ext="https://a.example", */*`: plain,
		"*/*, " + plain + ";q=0":              api,
		api + `;profile="https://a.example/?a;b,c"`:                        api,
		api + `;profile="a, ` + plain + `;q=1";q=0.5, ` + plain + `;q=0.6`: plain,
		plain + `;profile="\"";q=0.1 , ` + api + ` ; Q=0.2`:                api,
		", ," + api + ",":  api,
		",":                plain,
		plain + ";;q=0.9":  plain,
		api + ";q=1.0000":  api,
		api + `;q="1",*/*`: plain,
		"*;q=.2, */*;q=.2": plain,
		// Java's HttpURLConnection, if its user sets nothing.
		"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2": plain,
	} {
		got := c.want(200, "GET", location, "", "Accept", accept)
		if form := got.header.Get("Content-Type"); form != want || got.header.Get("Vary") != "Accept" {
			t.Errorf("%s: got %s, want %s", accept, form, want)
		}
	}
	for _, accept := range []string{"text/html", plain + ";q=0", api + `;ext="https://a.example"`, "*/*;q=0", "application/xml;q=0.5", "json", plain + ";q=2", plain + `;a="` + plain, plain + " " + plain} {
		got := c.want(406, "GET", location, "", "Accept", accept)
		c.wantCodes(got, "not_acceptable Accept")
		if got.header.Get("Content-Type") != plain {
			t.Errorf("%s: got %v", accept, got.header)
		}
	}
}
