package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/local/server"
	"syncplane/pkg/testkit/bolttest"
)

// TestOptions checks that every path of the local server answers OPTIONS in
// one way, with or without a token.
func TestOptions(t *testing.T) {
	t.Parallel()
	store := bolttest.Open(t)
	function := httpfunc.Handler(httpfunc.Deps{Store: store, Caller: caller, Log: app.Logger(io.Discard, "")})
	stream := server.Stream{Store: store, Caller: caller, Fail: function.Fail, Done: t.Context().Done()}
	routes := server.Routes(server.Gateway{Function: function, Now: time.Now}, []byte("{}"), stream)
	for path, allow := range map[string]string{
		"/api/v1/syncs":          "GET, HEAD, OPTIONS, POST",
		"/api/v1/syncs/x":        "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
		"/api/v1/syncs/x/enable": "OPTIONS, PATCH",
		"/api/v1/openapi.json":   "GET, HEAD, OPTIONS",
		"/api/v1/schemas/x":      "GET, HEAD, OPTIONS",
		"/api/v1/events":         "GET, HEAD, OPTIONS",
		"/docs":                  "GET, HEAD, OPTIONS",
		"/docs/":                 "GET, HEAD, OPTIONS",
		"/docs/swagger-ui.css":   "GET, HEAD, OPTIONS",
		"/.well-known/jwks.json": "GET, HEAD, OPTIONS",
		"/api/v1/events?Last-Event-ID=malformed/": "GET, HEAD, OPTIONS",
	} {
		for _, token := range []string{"", "Bearer acme syncs:read"} {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodOptions, path, nil)
			if token != "" {
				r.Header.Set("Authorization", token)
			}
			w := httptest.NewRecorder()
			routes.ServeHTTP(w, r)
			header := w.Header()
			if header.Get("X-Request-Id") == "" {
				t.Errorf("%s: no X-Request-Id", path)
			}
			header.Del("X-Request-Id")
			want := http.Header{"Allow": {allow}, "Cache-Control": {"no-store"}, "Vary": {"Accept"}, "X-Content-Type-Options": {"nosniff"}}
			if diff := cmp.Diff(want, header); diff != "" || w.Code != http.StatusNoContent || w.Body.Len() > 0 {
				t.Errorf("%s: got %d %q: %s", path, w.Code, w.Body, diff)
			}
		}
	}
	for _, method := range []string{"get", "Post", "delete", "options"} { // methods are case-sensitive (RFC 9110, section 9.1)
		r := httptest.NewRequestWithContext(t.Context(), method, "/api/v1/syncs", nil)
		r.Header.Set("Authorization", "Bearer acme syncs:read syncs:write")
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r)
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD, OPTIONS, POST" {
			t.Errorf("%s: got %d %s", method, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	routes.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodOptions, "/nothing", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("OPTIONS of nothing: got %d", w.Code)
	}
}
