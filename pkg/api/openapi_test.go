package api_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
	"syncplane/pkg/fault"
	"syncplane/pkg/local/server"
	"syncplane/pkg/syncs"
)

// described is the OpenAPI document with JSON:API, as far as these tests look at it.
type described struct {
	Paths map[string]map[string]json.RawMessage `json:"paths"`

	Components struct {
		Schemas struct {
			APIErrorCode struct {
				Enum []string `json:"enum"`
			} `json:"APIErrorCode"` //nolint:tagliatelle // a name of the document
		} `json:"schemas"`
		Examples map[string]struct {
			Value json.RawMessage `json:"value"`
		} `json:"examples"`
	} `json:"components"`
}

// parseDocument parses the OpenAPI document once, because that takes longer than most
// tests.
var parseDocument = sync.OnceValues(func() (described, error) {
	var d described
	err := json.Unmarshal(api.OpenAPIWithJSONAPI, &d)
	return d, err
})

// document returns the OpenAPI document, which tests must not change.
func document(t *testing.T) described {
	t.Helper()
	d, err := parseDocument()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocumentNamesEveryRoute checks that what is documented is served, with
// these methods and no other. The local server alone serves the event stream.
func TestDocumentNamesEveryRoute(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	paths := maps.Clone(document(t).Paths)
	if paths[server.StreamPath]["get"] == nil {
		t.Errorf("%s is not documented", server.StreamPath)
	}
	delete(paths, server.StreamPath)
	for path, item := range paths {
		var want []string
		for method := range item {
			if method != "parameters" {
				want = append(want, strings.ToUpper(method))
			}
		}
		if slices.Contains(want, "GET") {
			want = append(want, "HEAD")
		}
		want = append(want, "OPTIONS")
		slices.Sort(want)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, strings.NewReplacer("{id}", syncID, "{time}", "2026-11-24T06:00:00Z").Replace(path), nil)
		r.Header.Set(api.RequestIDHeader, requestID)
		if got := g.do(t, r).Header.Get("Allow"); got != strings.Join(want, ", ") {
			t.Errorf("%s: served are %s, documented %v", path, got, want)
		}
	}
	if got, want := api.New(api.Config{}).Paths(), slices.Sorted(maps.Keys(paths)); !slices.Equal(got, want) {
		t.Errorf("served are %v, documented %v", got, want)
	}
}

// TestDocumentNamesEveryCode compares the codes of errors in the source with the
// OpenAPI document. Those of package intake go to events.
func TestDocumentNamesEveryCode(t *testing.T) {
	t.Parallel()
	found := codes(t, func(path string) bool { return !strings.Contains(path, "intake/") })
	documented := slices.Sorted(slices.Values(document(t).Components.Schemas.APIErrorCode.Enum))
	if diff := cmp.Diff(found, documented); diff != "" {
		t.Errorf("the source (-) and the document (+) differ: %s", diff)
	}
}

// TestDocsNameEveryCode compares the codes of errors in the source with
// docs/errors.md, those of package intake included.
func TestDocsNameEveryCode(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "| status | codes |")
	var documented []string
	for _, match := range regexp.MustCompile("`([a-z_0-9]+)`").FindAllStringSubmatch(table, -1) {
		documented = append(documented, match[1])
	}
	slices.Sort(documented)
	if diff := cmp.Diff(codes(t, func(string) bool { return true }), slices.Compact(documented)); diff != "" {
		t.Errorf("the source (-) and docs/errors.md (+) differ: %s", diff)
	}
}

// TestDocsNameEveryPath checks that the documentation names each path.
func TestDocsNameEveryPath(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(page)
	}
	for path := range document(t).Paths {
		if !strings.Contains(all.String(), path+"`") {
			t.Errorf("no page of docs names %s", path)
		}
	}
}

// codes returns the codes of errors in the source files that pick accepts, sorted.
func codes(t *testing.T, pick func(path string) bool) []string {
	t.Helper()
	files, err := codesOfFiles()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for path, codes := range files {
		if pick(path) {
			maps.Copy(found, codes)
		}
	}
	for _, field := range fieldNames() {
		delete(found, field)
	}
	return slices.Sorted(maps.Keys(found))
}

// codesOfFiles returns the codes of errors in each source file. Two tests read them.
var codesOfFiles = sync.OnceValues(func() (map[string]map[string]bool, error) {
	code := regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)+$|^blank$|^internal$|^required$|^immutable$|^overtaken$|^fenced$`)
	files := map[string]map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		found := map[string]bool{}
		files[path] = found
		ast.Inspect(file, func(n ast.Node) bool {
			take := func(e ast.Expr) {
				if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil && code.MatchString(text) {
						found[text] = true
					}
				}
			}
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Code" {
					take(n.Value)
				}
			case *ast.CallExpr:
				name := ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
				}
				switch {
				case name == "New" && len(n.Args) > 2: // fault.New
					take(n.Args[1])
				case strings.Contains(path, "runs/") && name == "reject": // the first argument names the field
					take(n.Args[1])
				case slices.Contains([]string{"reject", "refuse", "malformed", "invalid", "notARequest", "conflict"}, name):
					for _, argument := range n.Args[:min(2, len(n.Args))] {
						take(argument)
					}
				}
			}
			return true
		})
		return nil
	})
	return files, err
})

// fieldNames returns the fields of a sync that a client can send.
func fieldNames() []string {
	return []string{
		"source_id", "destination_id", "model_id", "schedule_type", "configuration", "stream_name",
		"sync_mode", "sync_interval", "sync_interval_unit", "cron_expression", "cursor_field",
	}
}

// TestDocumentReferences checks that every reference has a target, every schema is
// valid, every component is used, every example matches its schema, and the names of
// operations are unique.
func TestDocumentReferences(t *testing.T) {
	t.Parallel()
	for name, text := range map[string][]byte{"openapi.json": api.OpenAPI, "openapi.jsonapi.json": api.OpenAPIWithJSONAPI} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hangsTogether(t, parsed(t, text))
		})
	}
}

func hangsTogether(t *testing.T, root any) {
	t.Helper()
	component := regexp.MustCompile(`^/components/schemas/[^/]+$`)
	used, operations, linked := map[string]bool{}, map[string]bool{}, map[string]bool{}
	walk(root, "", func(pointer string, n map[string]any) {
		if target, ok := n["$ref"].(string); ok {
			used[strings.TrimPrefix(target, "#")] = true
			if lookup(root, strings.TrimPrefix(target, "#")) == nil {
				t.Errorf("%s refers to %s, and there is nothing", pointer, target)
			}
		}
		if name, ok := n["operationId"].(string); ok && strings.HasPrefix(pointer, "/paths/") {
			if strings.Contains(pointer, "/links/") {
				linked[name] = true
			} else if operations[name] {
				t.Errorf("two operations are named %s", name)
			} else {
				operations[name] = true
			}
		}
		at := pointer + "/schema"
		if n["schema"] == nil {
			at = pointer
		}
		if n["schema"] == nil && !component.MatchString(pointer) {
			return
		}
		schema, err := apitest.Schema(at)
		if err != nil {
			t.Error(err)
			return
		}
		for where, example := range examples(root, pointer, n) {
			if err := schema.Validate(example); err != nil {
				t.Errorf("%s: %v", where, err)
			}
		}
	})
	for name := range linked {
		if !operations[name] {
			t.Errorf("a link leads to %s, and there is no such operation", name)
		}
	}
	used["/components/securitySchemes/bearerAuth"] = true
	components, _ := lookup(root, "/components").(map[string]any)
	for kind, named := range components {
		for name := range named.(map[string]any) {
			if pointer := "/components/" + kind + "/" + name; !used[pointer] {
				t.Errorf("nothing uses %s", pointer)
			}
		}
	}
}

func parsed(t *testing.T, text []byte) any {
	t.Helper()
	root, err := apitest.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestDocumentForGenerators checks what client generators need: names that differ,
// also in the case that a language changes; a name for every object and enumeration;
// 64 bits for large integers; and no header example, which Swagger UI would send.
func TestDocumentForGenerators(t *testing.T) {
	t.Parallel()
	root := parsed(t, api.OpenAPI)
	names := map[string]string{}
	for _, kind := range []string{"schemas", "parameters"} {
		named, _ := lookup(root, "/components/"+kind).(map[string]any)
		for name := range named {
			if other, ok := names[strings.ToLower(name)]; ok {
				t.Errorf("%s and %s %s have the same name", other, kind, name)
			}
			names[strings.ToLower(name)] = kind + " " + name
		}
	}
	skipped := regexp.MustCompile(`/(properties|examples?|schemas)$|/examples?/`)
	component := regexp.MustCompile(`^/components/schemas/[^/]+$`)
	walk(root, "", func(pointer string, n map[string]any) {
		if skipped.MatchString(pointer) {
			return
		}
		named := component.MatchString(pointer)
		_, enumeration := n["enum"].([]any)
		_, fields := n["properties"].(map[string]any)
		if (enumeration || fields) && !named && !strings.HasPrefix(pointer, "/paths/~1api~1v1~1schemas~1{name}/") {
			t.Errorf("%s has no name", pointer)
		}
		for _, union := range []string{"oneOf", "anyOf", "allOf"} {
			if n[union] != nil {
				t.Errorf("%s is a union", pointer)
			}
		}
		if text, _ := n["description"].(string); strings.Contains(text, "*/") {
			t.Errorf("the description of %s ends a comment of TypeScript", pointer)
		}
		if n["default"] != nil && strings.Contains(pointer, "/properties/") {
			t.Errorf("%s has a default, which makes it required in the types of openapi-typescript", pointer)
		}
		kinds, _ := n["type"].([]any)
		if n["type"] != "integer" && !slices.Contains(kinds, any("integer")) {
			return
		}
		most, _ := n["maximum"].(json.Number)
		if limit, err := most.Int64(); (err != nil || limit > math.MaxInt32) && n["format"] != "int64" {
			t.Errorf("%s is an integer that may have more than 32 bits, without a format", pointer)
		}
	})
	walk(root, "", func(pointer string, n map[string]any) {
		if n["in"] == "header" && (n["example"] != nil || n["examples"] != nil) {
			t.Errorf("%s has an example", pointer)
		}
	})
}

// walk visits every object in n, with its JSON pointer.
func walk(n any, pointer string, visit func(pointer string, n map[string]any)) {
	switch n := n.(type) {
	case map[string]any:
		visit(pointer, n)
		for name, member := range n {
			walk(member, pointer+"/"+apitest.Escape(name), visit)
		}
	case []any:
		for i, element := range n {
			walk(element, pointer+"/"+strconv.Itoa(i), visit)
		}
	}
}

// lookup returns the value at a pointer that leads through objects alone.
func lookup(n any, pointer string) any {
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		members, _ := n.(map[string]any)
		n = members[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]
	}
	return n
}

// examples returns the examples of a media type and of its schema.
func examples(root any, pointer string, n map[string]any) map[string]any {
	found := map[string]any{}
	if example, ok := n["example"]; ok {
		found[pointer+"/example"] = example
	}
	switch listed := n["examples"].(type) {
	case []any:
		for i, example := range listed {
			found[pointer+"/examples/"+strconv.Itoa(i)] = example
		}
	case map[string]any:
		for name, example := range listed {
			target, _ := lookup(example, "$ref").(string)
			found[pointer+"/examples/"+name] = lookup(root, strings.TrimPrefix(target, "#")+"/value")
		}
	}
	return found
}

// TestSchemaMatchesValidation sends values of every kind for every field, one
// at a time, and checks that the schema accepts those that the service accepts. Not
// among them are the two rules that the document has in words: what a cron
// expression means, and how deep a configuration is nested.
func TestSchemaMatchesValidation(t *testing.T) {
	t.Parallel()
	schema, err := apitest.Schema("/components/schemas/CreateSync")
	if err != nil {
		t.Fatal(err)
	}
	rockets := func(n int) string { return `"` + strings.Repeat("🚀", n) + `"` }
	values := []string{
		"", "null", "true", "[]", "{}", `{"a":[1]}`, `""`, `" "`, `"x"`, `"123"`,
		"0", "1", "-1", "1.0", "1.5", "1e2", "1e400", "527040", "527041", "9007199254740991", "9007199254740992",
		`"automated"`, `"Automated"`, `"automated "`, `"full_refresh"`, `"incremental"`, `"minutes"`, `"hours"`,
		`"0 6 * * 1-5"`, `"\t0 6  1,15 JAN-mar SUN "`, `"*/15 0-6/2,22 * * *"`, `"0 6 * * 1-5 2027"`, `"0 6 * *"`, `"@daily"`, `"0 6 L * ?"`, `"a * * * *"`,
		`"0` + strings.Repeat(",0", 123) + ` 6 * * *"`, `"0` + strings.Repeat(",0", 123) + ` 6 * * * "`,
		rockets(255), rockets(256), `"\u2003` + strings.Repeat("é", 255) + `\u00a0"`, `"\ufeff"`, `"\u200b"`,
		`"a\nb"`, `"a\n"`, `"\ta"`, `"\u0085a"`, `"a\u007f"`, `"\u0000"`,
	}
	g := newHarness(t)
	g.Syncs.NewID = func() (string, error) { id, err := uuid.NewV7(); return id.String(), err }
	for _, name := range fieldNames() {
		for _, value := range values {
			body := with(t, name, value)
			sent, err := apitest.Decode([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			refused := schema.Validate(sent)
			if response := g.do(t, good(body)); (response.StatusCode == http.StatusOK) != (refused == nil) {
				t.Errorf("%s = %.40s: answered %d, the schema reports %v", name, value, response.StatusCode, refused)
			}
		}
	}
}

// with is goodBody with another value for a field, or without it if that is "".
func with(t *testing.T, name, value string) string {
	t.Helper()
	var body struct {
		Sync map[string]json.RawMessage `json:"sync"`
	}
	if err := json.Unmarshal([]byte(goodBody), &body); err != nil {
		t.Fatal(err)
	}
	body.Sync[name] = json.RawMessage(value)
	if value == "" {
		delete(body.Sync, name)
	}
	edited, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(edited)
}

// TestNames compares the patterns of stream_name and cursor_field with their rule.
// Names of only characters beyond U+FFFF that show nothing are accepted by the
// patterns: ECMA-262 has no range of them that is valid both with and without the flag
// u, and tools use either.
func TestNames(t *testing.T) {
	t.Parallel()
	// White space of Unicode, characters that show nothing, and their neighbours.
	character := rapid.SampledFrom([]rune("aé🚀 \u0000\u0009\u000a\u001f\u0020\u0021\u007e\u007f\u0080\u0085\u009f\u00a0\u00a1\u00ad\u115f\u167f\u1680\u1681\u180e\u1fff\u2000\u200a\u200b\u2027\u2028\u2029\u202a\u202f\u205f\u2060\u2800\u3000\u3001\u3164\ufeff\U000e0001"))
	rapid.Check(t, func(t *rapid.T) {
		compareNames(t, rapid.StringOfN(character, 0, 4, -1).Draw(t, "before")+
			strings.Repeat(string(character.Draw(t, "character")), rapid.SampledFrom([]int{0, 1, 251, 252, 253, 254, 255, 256}).Draw(t, "times"))+
			rapid.StringOfN(character, 0, 4, -1).Draw(t, "after"))
	})
}

// TestNamesOfOneCharacter compares the patterns with the rule for each character
// that shows nothing, for its neighbours, and for some of all others.
func TestNamesOfOneCharacter(t *testing.T) {
	t.Parallel()
	draft := validDraft() // Validate formats a message for each error; a valid draft has none
	blank := func(c rune) bool {
		draft.StreamName = new(string(c))
		return slices.ContainsFunc(fieldsOf(draft.Validate()), func(f fault.Field) bool { return f.Name == "stream_name" })
	}
	const some = 97 // of those that are far from any that show nothing
	for _, span := range [][2]rune{{0, 0xd7ff}, {0xe000, 0xffff}, {0x13400, 0x13460}, {0x1bc90, 0x1bcb0}, {0x1d160, 0x1d180}, {0xdfff0, 0xe0200}, {0xe0f00, 0xe1010}} {
		before := false
		for c := span[0]; c <= span[1]; c++ {
			now := blank(c)
			if now || before || c%some == 0 {
				compareNames(t, string(c))
			}
			if now && !before && c > span[0] {
				compareNames(t, string(c-1))
			}
			before = now
		}
	}
	for c := rune(0x10000); c < 0x110000; c += 1009 {
		compareNames(t, string(c))
	}
}

// validDraft returns a draft that Validate accepts.
func validDraft() syncs.Draft {
	return syncs.Draft{
		SourceID: new(int64(1)), DestinationID: new(int64(2)), ModelID: new(int64(3)),
		ScheduleType: new(syncs.ScheduleAutomated), Configuration: new("{}"), StreamName: new("contacts"),
		SyncMode: new(syncs.ModeFullRefresh), SyncInterval: new(int64(30)), SyncIntervalUnit: new(syncs.UnitMinutes),
	}
}

func compareNames(tb rapid.TB, text string) {
	tb.Helper()
	draft := validDraft()
	draft.StreamName, draft.CursorField = &text, &text
	wrong := fieldsOf(draft.Validate())
	for name, component := range map[string]string{"stream_name": "StreamName", "cursor_field": "CursorField"} {
		schema, err := apitest.Schema("/components/schemas/" + component)
		if err != nil {
			tb.Fatal(err)
		}
		refused := slices.ContainsFunc(wrong, func(f fault.Field) bool { return f.Name == name })
		problem := schema.Validate(text)
		if refused && problem == nil && strings.ContainsFunc(text, func(c rune) bool { return c > 0xffff }) {
			continue // the document has this rule in words
		}
		if refused != (problem != nil) {
			tb.Fatalf("%s %+q: the rule reports %v, the schema %v", name, text, wrong, problem)
		}
	}
}

func fieldsOf(err error) []fault.Field {
	if wrong, ok := errors.AsType[*fault.Error](err); ok {
		return wrong.Fields
	}
	return nil
}

// TestPreconditions compares the patterns of If-Match and If-None-Match with
// what is read: a header that a pattern allows is never malformed.
func TestPreconditions(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]map[string]int{
		"If-Match": {
			`*`: 200, `"1"`: 200, `"1-jsonapi"`: 200, `"7", "1"`: 200, `"7","1"`: 200,
			`"2"`: 412, `W/"1"`: 412, `""`: 412, `"one"`: 412, `"2", W/"1"`: 412, `"01"`: 412, `"+1"`: 412, `"a,b"`: 412,
			`1`: 400, `"1`: 400, `1"`: 400, `"1" "2"`: 400, `w/"1"`: 400, `"1 "`: 400, `*, "1"`: 400, ``: 400,
		},
		"If-None-Match": {
			`*`: 412, `"1"`: 412, `"1-jsonapi"`: 412, `W/"1"`: 412, `"7", "1"`: 412, `"2", W/"1"`: 412,
			`"2"`: 200, `""`: 200, `"one"`: 200, `"01"`: 200, `"+1"`: 200, `"a,b"`: 200,
			`1`: 400, `"1`: 400, `1"`: 400, `"1" "2"`: 400, `w/"1"`: 400, `"1 "`: 400, `*, "1"`: 400, ``: 400,
		},
	} {
		schema, err := apitest.Schema("/components/parameters/" + strings.ReplaceAll(name, "-", "") + "/schema")
		if err != nil {
			t.Fatal(err)
		}
		for value, status := range values {
			g := newHarness(t)
			g.do(t, good(goodBody))
			r := good(`{"sync":{"sync_interval":45}}`)
			r.Method, r.URL.Path = http.MethodPatch, "/api/v1/syncs/"+syncID
			r.Header.Set(name, value)
			if got := g.do(t, r); got.StatusCode != status {
				t.Errorf("%s: %s: got %d, want %d", name, value, got.StatusCode, status)
			}
			if problem := schema.Validate(value); (problem == nil) != (status != http.StatusBadRequest) {
				t.Errorf("%s: %s: answered %d, the schema reports %v", name, value, status, problem)
			}
		}
	}
}

// TestIdempotencyKey compares the pattern of Idempotency-Key with what is read.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	schema, err := apitest.Schema("/paths/~1api~1v1~1syncs/post/parameters/0/schema")
	if err != nil {
		t.Fatal(err)
	}
	values := []string{"", "k", `"k"`, `""`, `"`, `"k`, `k"`, `"k" `, "a b", `"a b"`, "a,b", `"a,b"`, `"a","b"`, "é", `"é"`, "a\tb", `"\"\\"`, `"\a"`, strings.Repeat("k", 255), strings.Repeat("k", 256)}
	for c := ' '; c <= '\x7f'; c++ {
		values = append(values, string(c), "k"+string(c), `"`+string(c)+`"`, `"\`+string(c)+`"`)
	}
	g := newHarness(t)
	g.Syncs.NewID = func() (string, error) { id, err := uuid.NewV7(); return id.String(), err }
	for _, value := range values {
		if value != strings.Trim(value, " \t") {
			continue // a client does not send it, and no pattern describes it
		}
		r := good(goodBody)
		r.Header.Set("Idempotency-Key", value)
		status := g.do(t, r).StatusCode
		if problem := schema.Validate(value); (problem == nil) != (status == http.StatusOK) {
			t.Errorf("%q: answered %d, the schema reports %v", value, status, problem)
		}
	}
}
