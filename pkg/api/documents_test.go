package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api"
)

var update = flag.Bool("update", false, "write openapi.json")

// TestDocumentWithoutJSONAPI compares openapi.json with what openapi.jsonapi.json
// describes without the JSON:API media type.
func TestDocumentWithoutJSONAPI(t *testing.T) {
	t.Parallel()
	want := withoutJSONAPI(t, api.OpenAPIWithJSONAPI)
	if *update {
		if err := os.WriteFile("openapi.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(api.OpenAPI)); diff != "" {
		t.Errorf("openapi.json differs from openapi.jsonapi.json without JSON:API; run `make generate`: %s", diff)
	}
	if bytes.Contains(api.OpenAPI, []byte(`"application/vnd.api+json":`)) {
		t.Error("openapi.json has a JSON:API media type")
	}
}

// member is a member of an object, and object all of them in their order.
type (
	member struct {
		name  string
		value any // an object, a list ([]any) or the text of another value
	}
	object []member
)

// withoutJSONAPI returns an OpenAPI document without the JSON:API media type, the
// responses that have no other media type, and the components that nothing refers to
// any more.
func withoutJSONAPI(t *testing.T, document []byte) []byte {
	t.Helper()
	root, _ := ordered(t, document).(object)
	before := references(document)
	root, _ = withoutMedia(root).(object)
	components, _ := root.get("components").(object)
	for removed := true; removed; {
		removed = false
		now := references(text(t, root))
		for i, kind := range components {
			named, _ := kind.value.(object)
			kept := slices.DeleteFunc(slices.Clone(named), func(m member) bool {
				pointer := "#/components/" + kind.name + "/" + m.name
				return before[pointer] && !now[pointer]
			})
			removed = removed || len(kept) < len(named)
			components[i].value = kept
		}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text(t, root), "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// withoutMedia returns n without the JSON:API media type and the responses that have
// no other.
func withoutMedia(n any) any {
	const media = "application/vnd.api+json"
	switch n := n.(type) {
	case object:
		var kept object
		for _, m := range n {
			inner, _ := m.value.(object)
			content, _ := inner.get("content").(object)
			if m.name == media || len(content) == 1 && content[0].name == media {
				continue
			}
			kept = append(kept, member{m.name, withoutMedia(m.value)})
		}
		return kept
	case []any:
		for i, element := range n {
			n[i] = withoutMedia(element)
		}
	}
	return n
}

// references returns the targets of all references in a document.
func references(document []byte) map[string]bool {
	found := map[string]bool{}
	for {
		_, rest, ok := bytes.Cut(document, []byte(`"$ref":`))
		if !ok {
			return found
		}
		target, rest, _ := bytes.Cut(bytes.TrimLeft(rest, ` "`), []byte(`"`))
		found[string(target)] = true
		document = rest
	}
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// ordered parses JSON and keeps the order of members and the text of values.
func ordered(t *testing.T, text []byte) any {
	t.Helper()
	return nextOrdered(t, jsontext.NewDecoder(bytes.NewReader(text)))
}

func nextOrdered(t *testing.T, decoder *jsontext.Decoder) any {
	t.Helper()
	token := func() jsontext.Token {
		token, err := decoder.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	switch decoder.PeekKind() { //nolint:exhaustive // all others are values without members
	case '{':
		o := object{}
		for token(); decoder.PeekKind() != '}'; {
			name := token().String()
			o = append(o, member{name, nextOrdered(t, decoder)})
		}
		token()
		return o
	case '[':
		list := []any{}
		for token(); decoder.PeekKind() != ']'; {
			list = append(list, nextOrdered(t, decoder))
		}
		token()
		return list
	}
	value, err := decoder.ReadValue()
	if err != nil {
		t.Fatal(err)
	}
	return json.RawMessage(value.Clone())
}

// text returns what ordered parses.
func text(t *testing.T, n any) []byte {
	t.Helper()
	var b []byte
	switch n := n.(type) {
	case object:
		b = append(b, '{')
		for i, m := range n {
			if i > 0 {
				b = append(b, ',')
			}
			name, err := json.Marshal(m.name)
			if err != nil {
				t.Fatal(err)
			}
			b = append(append(append(b, name...), ':'), text(t, m.value)...)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		for i, element := range n {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, text(t, element)...)
		}
		return append(b, ']')
	case json.RawMessage:
		return append(b, n...)
	}
	t.Fatalf("a %T", n)
	return nil
}
