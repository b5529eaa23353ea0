package api_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
)

// described is the OpenAPI document, as far as these tests look at it.
type described struct {
	Paths map[string]map[string]json.RawMessage `json:"paths"`

	Components struct {
		Schemas struct {
			Error struct {
				Properties struct {
					Code struct {
						Enum []string `json:"enum"`
					} `json:"code"`
				} `json:"properties"`
			} `json:"Error"` //nolint:tagliatelle // a name of the document
		} `json:"schemas"`
		Responses map[string]response `json:"responses"`
	} `json:"components"`
}

type response struct {
	Content map[string]struct {
		Example json.RawMessage `json:"example"`
	} `json:"content"`
}

type operation struct {
	RequestBody struct {
		Content map[string]struct {
			Example json.RawMessage `json:"example"`
		} `json:"content"`
	} `json:"requestBody"` //nolint:tagliatelle // a name of the document
	Responses map[string]response `json:"responses"`
}

func document(t *testing.T) described {
	t.Helper()
	var d described
	if err := json.Unmarshal(api.OpenAPI, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestDocumentNamesEveryRoute holds that what is documented is served, with
// these methods and no other.
func TestDocumentNamesEveryRoute(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	for path, item := range document(t).Paths {
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
		r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, strings.ReplaceAll(path, "{id}", syncID), nil)
		r.Header.Set(api.RequestIDHeader, requestID)
		if got := g.do(t, r).Header.Get("Allow"); got != strings.Join(want, ", ") {
			t.Errorf("%s: served are %s, documented %v", path, got, want)
		}
	}
	if got, want := api.New(api.Config{}).Paths(), slices.Sorted(maps.Keys(document(t).Paths)); !slices.Equal(got, want) {
		t.Errorf("served are %v, documented %v", got, want)
	}
}

// TestDocumentNamesEveryCode reads the codes of errors off the source.
func TestDocumentNamesEveryCode(t *testing.T) {
	t.Parallel()
	code := regexp.MustCompile(`^[a-z]+(_[a-z0-9]+)+$|^blank$|^internal$|^required$|^immutable$|^overtaken$`)
	found := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "test/") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
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
				if slices.Contains([]string{"reject", "refuse", "malformed", "invalid"}, name) {
					for _, argument := range n.Args[:min(2, len(n.Args))] {
						take(argument)
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"source_id", "destination_id", "model_id", "schedule_type", "stream_name", "sync_mode", "sync_interval", "sync_interval_unit", "cron_expression", "cursor_field"} {
		delete(found, field)
	}
	documented := slices.Sorted(slices.Values(document(t).Components.Schemas.Error.Properties.Code.Enum))
	if diff := cmp.Diff(slices.Sorted(maps.Keys(found)), documented); diff != "" {
		t.Errorf("the source (-) and the document (+) differ: %s", diff)
	}
}

// TestExamples holds that the examples of requests are accepted, and those of
// answers are what the document itself allows.
func TestExamples(t *testing.T) {
	t.Parallel()
	d := document(t)
	for path, item := range d.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			var op operation
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatal(err)
			}
			target := strings.ReplaceAll(path, "{id}", syncID)
			if example := op.RequestBody.Content["application/json"].Example; example != nil {
				g := newRig(t)
				if path != "/api/v1/syncs" {
					g.do(t, good(goodBody))
				}
				r := httptest.NewRequestWithContext(t.Context(), strings.ToUpper(method), target, strings.NewReader(string(example)))
				r.Header = good("").Header
				if got := g.do(t, r); got.StatusCode != http.StatusOK {
					t.Errorf("the example of %s %s gets %d %s", method, path, got.StatusCode, read(t, got))
				}
			}
			for status, documented := range op.Responses {
				for media, content := range documented.Content {
					if content.Example != nil {
						checkExample(t, strings.ToUpper(method), target, status, media, content.Example)
					}
				}
			}
		}
	}
	for status, documented := range d.Components.Responses {
		method, target := http.MethodPost, "/api/v1/syncs"
		switch status {
		case "404", "412":
			method, target = http.MethodPatch, target+"/"+syncID
		case "405":
			target = "/elsewhere"
		}
		checkExample(t, method, target, status, "application/json", documented.Content["application/json"].Example)
	}
}

func checkExample(t *testing.T, method, target, status, media string, body []byte) {
	t.Helper()
	code, err := strconv.Atoi(status)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, target, nil)
	header := http.Header{
		"Content-Type": {media}, "X-Request-Id": {requestID}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}, "Vary": {"Accept"},
	}
	switch code {
	case 200, 201:
		header.Set("Etag", `"1"`)
		if method == http.MethodPost {
			header.Set("Location", "/api/v1/syncs/"+syncID)
		}
		if method == http.MethodGet && !strings.Contains(target, syncID) {
			header.Del("Etag")
		}
	case 401, 403:
		header.Set("WWW-Authenticate", `Bearer realm="syncs"`)
	case 405:
		header.Set("Allow", "GET")
	case 409, 429, 503:
		header.Set("Retry-After", "1")
	}
	apitest.Check(t, r, code, header, body)
}

// TestCheckFails holds that the check of responses can fail.
func TestCheckFails(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	r := good(goodBody)
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	for name, test := range map[string]struct {
		edit func(status *int, header http.Header, body *string)
		want string
	}{
		"as it is":           {func(*int, http.Header, *string) {}, ""},
		"another status":     {func(status *int, _ http.Header, _ *string) { *status = 202 }, "the status is not documented"},
		"no request id":      {func(_ *int, header http.Header, _ *string) { header.Del("X-Request-Id") }, "X-Request-Id is missing"},
		"another header":     {func(_ *int, header http.Header, _ *string) { header.Set("X-Powered-By", "x") }, "X-Powered-By is not documented"},
		"an odd location":    {func(_ *int, header http.Header, _ *string) { header.Set("Location", "x") }, "the header Location"},
		"another media type": {func(_ *int, header http.Header, _ *string) { header.Set("Content-Type", "text/plain") }, `"text/plain" is not documented`},
		"no JSON":            {func(_ *int, _ http.Header, body *string) { *body = "x" }, "the body is not JSON"},
		"a field too many":   {func(_ *int, _ http.Header, body *string) { *body = strings.Replace(*body, `"type"`, `"x":1,"type"`, 1) }, "additional properties"},
		"another status word": {func(_ *int, _ http.Header, body *string) {
			*body = strings.Replace(*body, `"pending"`, `"new"`, 1)
		}, "/status"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			status, header, body := w.Code, w.Header().Clone(), w.Body.String()
			test.edit(&status, header, &body)
			got := fmt.Sprint(apitest.Validate(r, status, header, []byte(body)))
			if test.want == "" && got != "<nil>" || !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %q", got, test.want)
			}
		})
	}
}
