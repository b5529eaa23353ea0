package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
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
