// Package apitest checks responses against the OpenAPI document that the API
// serves. Every test that gets a response calls Check, so that the document
// cannot differ from the code. RunLifecycle tests all operations in this way.
package apitest

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"syncplane/pkg/api"
)

// location is the name under which the document is compiled.
const location = "openapi.json"

// document is the OpenAPI document, read once.
type document struct {
	root     map[string]any
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // by JSON pointer
}

//nolint:gochecknoglobals // reading it takes longer than most tests
var load = sync.OnceValues(func() (*document, error) {
	parsed, err := Decode(api.OpenAPIWithJSONAPI)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	root, ok := parsed.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("the OpenAPI document is a %T", parsed)
	}
	closeObjects(at(root, "components", "schemas"))
	addUndocumented(root)
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseRegexpEngine(pattern)
	if err := compiler.AddResource(location, parsed); err != nil {
		return nil, fmt.Errorf("add the OpenAPI document: %w", err)
	}
	return &document{root: root, compiler: compiler, schemas: map[string]*jsonschema.Schema{}}, nil
})

// closeObjects makes every schema in n allow only the members that it names. The
// document itself leaves them open, because later versions may add members; those of
// this version must all be documented.
func closeObjects(n any) {
	switch n := n.(type) {
	case map[string]any:
		if n["type"] == "object" && n["properties"] != nil && n["additionalProperties"] == nil {
			n["additionalProperties"] = false
		}
		for _, member := range n {
			closeObjects(member)
		}
	case []any:
		for _, element := range n {
			closeObjects(element)
		}
	}
}

// addUndocumented adds the header Allow and the response 405, which are the same for
// every path. The document describes them in its introduction, because no operation
// has them.
func addUndocumented(root map[string]any) {
	headers, _ := at(root, "components", "headers").(map[string]any)
	headers["Allow"] = map[string]any{
		"required": true,
		"schema":   map[string]any{"type": "string", "pattern": "^[A-Z]+(?:, [A-Z]+)*$"},
	}
	responses, _ := at(root, "components", "responses").(map[string]any)
	response, _ := responses["404"].(map[string]any)
	response = maps.Clone(response)
	allowed, _ := response["headers"].(map[string]any)
	allowed = maps.Clone(allowed)
	allowed["Allow"] = map[string]any{"$ref": "#/components/headers/Allow"}
	response["headers"] = allowed
	responses["405"] = response
}

// escaped matches an escaped character of ECMA-262 and Python.
const escaped = `\\u([0-9A-F]{4})`

// pattern compiles a pattern of the document with the escapes of Go.
func pattern(text string) (jsonschema.Regexp, error) {
	return regexp.Compile(regexp.MustCompile(escaped).ReplaceAllString(text, `\x{$1}`))
}

// Schema returns the schema at a JSON pointer into the document. The error reports why
// it is invalid.
func Schema(pointer string) (*jsonschema.Schema, error) {
	d, err := load()
	if err != nil {
		return nil, err
	}
	return d.schema(pointer)
}

// Check fails the test unless the document allows this response to r.
func Check(tb testing.TB, r *http.Request, status int, header http.Header, body []byte) {
	tb.Helper()
	if err := Validate(r, status, header, body); err != nil {
		tb.Errorf("%s %s answers %d, which the OpenAPI document does not allow: %v\n%.500s", r.Method, r.URL, status, err, body)
	}
}

// Validate returns why the document does not allow this response to r, nil if
// it does.
func Validate(r *http.Request, status int, header http.Header, body []byte) error {
	d, err := load()
	if err != nil {
		return err
	}
	response, err := d.response(r, status)
	if err != nil {
		return err
	}
	if err := d.checkHeaders(response, header); err != nil {
		return err
	}
	content, _ := at(response.node, "content").(map[string]any)
	if r.Method == http.MethodHead || len(content) == 0 {
		if len(body) > 0 {
			return fmt.Errorf("a body where none is documented")
		}
		return nil
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil || content[media] == nil {
		return fmt.Errorf("the content type %q is not documented", header.Get("Content-Type"))
	}
	value, err := Decode(body)
	if err != nil {
		return fmt.Errorf("the body is not JSON: %w", err)
	}
	return d.validate(response.pointer+"/content/"+Escape(media)+"/schema", value)
}

// Decode returns the JSON value in text, as a schema validates it: numbers are of type
// json.Number. It refuses duplicate members. jsonschema.UnmarshalJSON takes three times as
// long with the race detector, because encoding/json visits each byte twice.
func Decode(text []byte) (value any, err error) {
	err = json.Unmarshal(text, &value, json.WithUnmarshalers(json.UnmarshalFromFunc(func(decoder *jsontext.Decoder, value *any) error {
		if decoder.PeekKind() != jsontext.KindNumber {
			return errors.ErrUnsupported
		}
		number, err := decoder.ReadValue()
		*value = stdjson.Number(number)
		return err
	})))
	return value, err
}

// node is a part of the document and its JSON pointer.
type node struct {
	node    map[string]any
	pointer string
}

// at returns the member of n at names, one inside the other; nil if there is none.
func at(n any, names ...string) any {
	for _, name := range names {
		members, _ := n.(map[string]any)
		n = members[name]
	}
	return n
}

// Escape escapes a name for a JSON Pointer (RFC 6901, section 3).
func Escape(name string) string {
	if !strings.ContainsAny(name, "~/") {
		return name
	}
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// resolve follows a $ref within the document.
func (d *document) resolve(n any, pointer string) (node, error) {
	for {
		members, ok := n.(map[string]any)
		if !ok {
			return node{}, fmt.Errorf("there is nothing at %s", pointer)
		}
		target, ok := members["$ref"].(string)
		if !ok {
			return node{members, pointer}, nil
		}
		pointer = strings.TrimPrefix(target, "#")
		n = at(d.root, strings.Split(strings.TrimPrefix(pointer, "/"), "/")...)
	}
}

// response returns the document's description of a response to r with a status.
func (d *document) response(r *http.Request, status int) (node, error) {
	path, item := d.path(r.URL.EscapedPath())
	method := strings.ToLower(r.Method)
	if method == "head" {
		method = "get"
	}
	operation := at(item, method)
	switch {
	case r.Method == http.MethodOptions && item != nil && status == http.StatusNoContent:
		return d.options(), nil
	case item == nil || operation == nil:
		// The document does not describe these.
		if !slices.Contains([]int{400, 404, 405, 413, 500}, status) {
			return node{}, fmt.Errorf("there is no such operation")
		}
		return d.resolve(at(d.root, "components", "responses", strconv.Itoa(status)), "/components/responses/"+strconv.Itoa(status))
	}
	documented := at(operation, "responses", strconv.Itoa(status))
	if documented == nil {
		return node{}, fmt.Errorf("the status is not documented for %s %s", r.Method, path)
	}
	return d.resolve(documented, "/paths/"+Escape(path)+"/"+method+"/responses/"+strconv.Itoa(status))
}

// options returns the response to OPTIONS. It is the same for every path, so the
// document describes it only in its introduction.
func (d *document) options() node {
	headers := map[string]any{}
	for _, name := range []string{"X-Request-Id", "Cache-Control", "X-Content-Type-Options", "Vary", "Allow"} {
		headers[name] = map[string]any{"$ref": "#/components/headers/" + name}
	}
	return node{map[string]any{"headers": headers}, ""}
}

// path finds the path item for an address.
func (d *document) path(address string) (template string, item any) {
	segments := strings.Split(address, "/")
	paths, _ := d.root["paths"].(map[string]any)
	for template, item := range paths {
		if slices.EqualFunc(strings.Split(template, "/"), segments, func(want, got string) bool {
			return want == got || strings.HasPrefix(want, "{") && got != ""
		}) {
			return template, item
		}
	}
	return "", nil
}

// checkHeaders returns an error if a required header is missing, or if there is a
// header that is neither documented nor Content-Type nor added by net/http.
func (d *document) checkHeaders(response node, header http.Header) error {
	documented, _ := response.node["headers"].(map[string]any)
	known := []string{"Content-Type", "Content-Length", "Date"}
	for name, described := range documented {
		known = append(known, http.CanonicalHeaderKey(name))
		h, err := d.resolve(described, response.pointer+"/headers/"+Escape(name))
		if err != nil {
			return err
		}
		values := header.Values(name)
		if len(values) == 0 {
			if h.node["required"] == true {
				return fmt.Errorf("the header %s is missing", name)
			}
			continue
		}
		var value any = strings.Join(values, ", ")
		if number, err := strconv.ParseInt(values[0], 10, 64); err == nil && at(h.node, "schema", "type") == "integer" {
			value = number
		}
		if err := d.validate(h.pointer+"/schema", value); err != nil {
			return fmt.Errorf("the header %s: %w", name, err)
		}
	}
	for name := range header {
		if !slices.Contains(known, name) {
			return fmt.Errorf("the header %s is not documented", name)
		}
	}
	return nil
}

// validate checks a value against the schema at a pointer.
func (d *document) validate(pointer string, value any) error {
	schema, err := d.schema(pointer)
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// schema compiles the schema at a pointer, once.
func (d *document) schema(pointer string) (*jsonschema.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if schema, ok := d.schemas[pointer]; ok {
		return schema, nil
	}
	schema, err := d.compiler.Compile(location + "#" + strings.ReplaceAll(pointer, "%", "%25"))
	if err != nil {
		return nil, fmt.Errorf("compile %s: %w", pointer, err)
	}
	d.schemas[pointer] = schema
	return schema, nil
}
