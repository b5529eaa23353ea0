package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api"
	"syncplane/pkg/event"
)

// TestSchemas checks that every schema of an event is served without a token, and
// named in the document.
func TestSchemas(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	get := func(name string) *http.Response {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, event.SchemaPath+name, nil)
		r.Header.Set(api.RequestIDHeader, requestID)
		return g.do(t, r)
	}
	for _, name := range event.Schemas() {
		want, _ := event.Schema(name)
		if got := get(name); got.StatusCode != http.StatusOK || read(t, got) != string(want) {
			t.Errorf("%s: got %d", name, got.StatusCode)
		}
	}
	for _, name := range []string{"sync.created.v2.json", "schemas", "..%2Fschema.go"} {
		if got := get(name); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %d", name, got.StatusCode)
		}
	}
	var documented struct {
		Paths map[string]struct {
			Parameters []struct {
				Schema struct {
					Enum []string `json:"enum"`
				} `json:"schema"`
			} `json:"parameters"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(api.OpenAPI, &documented); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(event.Schemas(), documented.Paths[event.SchemaPath+"{name}"].Parameters[0].Schema.Enum); diff != "" {
		t.Error(diff)
	}
}

// TestWebhooksAreEvents checks that every type of event is a webhook of the document,
// with the example of its schema. (The document has no schema of its own for events:
// oapi-codegen removes those that only webhooks use, and then cannot compile.)
func TestWebhooksAreEvents(t *testing.T) {
	t.Parallel()
	member := func(name, pointer string) any {
		text, _ := event.Schema(name)
		return lookup(parsed(t, text), pointer)
	}
	webhooks, _ := lookup(parsed(t, api.OpenAPI), "/webhooks").(map[string]any)
	types, _ := member("cloudevent.v1.json", "/properties/type/enum").([]any)
	if len(types) == 0 || len(types) != len(webhooks) {
		t.Errorf("%d types of events are published, %d documented", len(types), len(webhooks))
	}
	for _, name := range types {
		operation := lookup(webhooks[name.(string)], "/post")
		examples, _ := member(name.(string)+".json", "/examples").([]any)
		if diff := cmp.Diff(examples[0], lookup(operation, "/requestBody/content/application~1json/example")); diff != "" {
			t.Errorf("%s: the schema (-) and the document (+) have different examples: %s", name, diff)
		}
		if text, _ := lookup(operation, "/description").(string); !strings.Contains(text, "`"+event.SchemaPath+name.(string)+".json`") {
			t.Errorf("%s: the description does not name the schema: %s", name, text)
		}
	}
}
