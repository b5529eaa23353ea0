package apitest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
)

const (
	path = "/api/v1/syncs"
	id   = "019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e"
	sync = `{"id":"` + id + `","type":"syncs","attributes":{` +
		`"source_id":1,"destination_id":2,"model_id":3,"configuration":{},"schedule_type":"automated",` +
		`"sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","stream_name":"contacts",` +
		`"status":"pending","created_at":"2026-11-23T20:06:00.123Z","updated_at":"2026-11-23T20:06:00.123Z"}}`
	missing = `{"errors":[{"status":"404","code":"not_found","title":"Not found","detail":"this path does not exist","id":"a"}]}`
)

// TestDecode checks that Decode returns what the decoder of the schemas returns, and
// what it refuses.
func TestDecode(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		string(api.OpenAPIWithJSONAPI), sync, missing, `[1,-0.5e400,12345678901234567890]`, ` {"a":[{},[],null,true,false,"\u00e9\n\ud83d\ude80"]} `,
		`0`, `""`, `null`, `[]`, `{"":{"a":1},"a":{"a":2}}`,
	} {
		want, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := apitest.Decode([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%.80s: got %.300v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `{`, `{"a"`, `{"a":1`, `{"a":}`, `[1`, `[1,]`, `[}`, `{]`, `1 2`, `{}x`, `"\ud800"`, "\"\xff\"", `{"a":1,"a":2}`} {
		if got, err := apitest.Decode([]byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// response is a response, as a test gets it.
type response struct {
	method, target string
	status         int
	header         http.Header
	body           string
}

// answered returns a response with the headers that every one has, and more.
func answered(method, target string, status int, body string, header ...string) response {
	r := response{method, target, status, http.Header{
		"X-Request-Id": {"a"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}, "Vary": {"Accept"},
	}, body}
	if body != "" {
		r.header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.header.Add(header[i], header[i+1])
	}
	return r
}

// recorder records the errors that Check reports.
type recorder struct {
	testing.TB
	problem []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.problem = append(r.problem, fmt.Sprintf(format, args...))
}

func check(t *testing.T, r response) string {
	t.Helper()
	noted := &recorder{TB: t}
	request := httptest.NewRequestWithContext(t.Context(), r.method, r.target, nil)
	apitest.Check(noted, request, r.status, r.header, []byte(r.body))
	return strings.Join(noted.problem, "\n")
}

// good are responses that the document allows.
func good() map[string]response {
	const one = path + "/" + id
	return map[string]response{
		"a create":             answered("POST", path, 200, sync, "Location", one, "Etag", `"1"`),
		"a warned create":      answered("POST", path, 200, sync, "Location", one, "Etag", `"1"`, "Warning", `299 - "unknown field /a"`, "Warning", `299 - "unknown field /b"`),
		"a read":               answered("GET", one, 200, sync, "Etag", `"1"`),
		"a read by HEAD":       answered("HEAD", one, 200, "", "Etag", `"1"`, "Content-Type", "application/json"),
		"what is known":        answered("GET", one, 304, "", "Etag", `"1"`),
		"a delete":             answered("DELETE", one, 204, ""),
		"a refusal":            answered("POST", path, 503, strings.NewReplacer("404", "503", "not_found", "store_unavailable").Replace(missing), "Retry-After", "5"),
		"another path":         answered("GET", "/elsewhere", 404, missing),
		"another path by HEAD": answered("HEAD", "/elsewhere", 404, "", "Content-Type", "application/json"),
		"another method":       answered("PUT", path, 405, strings.NewReplacer("404", "405", "not_found", "method_not_allowed").Replace(missing), "Allow", "GET, POST"),
		"what is possible":     answered("OPTIONS", path, 204, "", "Allow", "GET, POST"),
		"the document":         answered("GET", "/api/v1/openapi.json", 200, string(api.OpenAPI)),
	}
}

// TestCheck checks that a documented response passes, and that none passes without
// the headers that every response has.
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, r := range good() {
		if problem := check(t, r); problem != "" {
			t.Errorf("%s: %s", name, problem)
		}
		for _, header := range []string{"X-Request-Id", "Cache-Control", "X-Content-Type-Options", "Vary"} {
			without := r
			without.header = r.header.Clone()
			without.header.Del(header)
			if problem := check(t, without); !strings.Contains(problem, "the header "+header+" is missing") {
				t.Errorf("%s without %s: got %q", name, header, problem)
			}
		}
	}
}

// TestCheckFails checks the error for each response that is not documented.
func TestCheckFails(t *testing.T) {
	t.Parallel()
	body := func(old, with string) func(r *response) {
		return func(r *response) { r.body = strings.Replace(r.body, old, with, 1) }
	}
	header := func(name, value string) func(r *response) {
		return func(r *response) { r.header.Set(name, value) }
	}
	without := func(name string) func(r *response) {
		return func(r *response) { r.header.Del(name) }
	}
	for name, test := range map[string]struct {
		of   string
		edit func(r *response)
		want string
	}{
		"another status":            {"a create", func(r *response) { r.status = 202 }, "the status is not documented for POST /api/v1/syncs"},
		"a status of others":        {"another path", func(r *response) { r.status = 401 }, "there is no such operation"},
		"a read of no path":         {"another path", func(r *response) { r.status = 200 }, "there is no such operation"},
		"another header":            {"a create", header("X-Powered-By", "x"), "the header X-Powered-By is not documented"},
		"a header of others":        {"a read", header("Location", path+"/"+id), "the header Location is not documented"},
		"no location":               {"a create", without("Location"), "the header Location is missing"},
		"an odd location":           {"a create", header("Location", "x"), "the header Location: "},
		"an odd warning":            {"a create", header("Warning", "x"), "the header Warning: "},
		"no tag":                    {"what is known", without("Etag"), "the header ETag is missing"},
		"no time to come back":      {"a refusal", without("Retry-After"), "the header Retry-After is missing"},
		"a time in words":           {"a refusal", header("Retry-After", "soon"), "the header Retry-After: "},
		"no time at all":            {"a refusal", header("Retry-After", "0"), "the header Retry-After: "},
		"a cached answer":           {"another path", header("Cache-Control", "public"), "the header Cache-Control: "},
		"no methods":                {"another method", without("Allow"), "the header Allow is missing"},
		"no methods to choose from": {"what is possible", without("Allow"), "the header Allow is missing"},
		"another media type":        {"a create", header("Content-Type", "text/plain"), `the content type "text/plain" is not documented`},
		"no media type":             {"a create", without("Content-Type"), `the content type "" is not documented`},
		"a form of another status":  {"a create", header("Content-Type", "application/vnd.api+json"), `the content type "application/vnd.api+json" is not documented`},
		"no JSON":                   {"a create", body("{", ""), "the body is not JSON"},
		"no body":                   {"a create", func(r *response) { r.body = "" }, "the body is not JSON"},
		"a field too many":          {"a create", body(`"type"`, `"x":1,"type"`), "additional properties 'x' not allowed"},
		"a field too few":           {"a create", body(`"source_id":1,`, ""), "missing property 'source_id'"},
		"a number as text":          {"a create", body(`:1,`, `:"1",`), "at '/attributes/source_id': got string, want integer"},
		"an unknown status":         {"a create", body("pending", "new"), "at '/attributes/status'"},
		"another kind of UUID":      {"a create", body("-7c51-", "-4c51-"), "at '/id'"},
		"a day that never was":      {"a create", body("2026-11-23T", "2026-11-31T"), "at '/attributes/created_at'"},
		"no milliseconds":           {"a create", body(".123Z", "Z"), "at '/attributes/created_at'"},
		"an unknown code":           {"a refusal", body("store_unavailable", "store_gone"), "at '/errors/0/code'"},
		"no ID":                     {"another path", body(`,"id":"a"`, ""), "missing property 'id'"},
		"another error document":    {"another path", func(r *response) { r.body = `{"message":"Not Found"}` }, "additional properties 'message' not allowed"},
		"a body for HEAD":           {"a read by HEAD", func(r *response) { r.body = sync }, "a body where none is documented"},
		"a body for DELETE":         {"a delete", func(r *response) { r.body = "{}" }, "a body where none is documented"},
		"a body for OPTIONS":        {"what is possible", func(r *response) { r.body = "{}" }, "a body where none is documented"},
		"another document":          {"the document", func(r *response) { r.body = "{}" }, "missing property 'openapi'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := good()[test.of]
			test.edit(&r)
			if problem := check(t, r); !strings.Contains(problem, test.want) {
				t.Errorf("got %q, want %q", problem, test.want)
			}
		})
	}
}
