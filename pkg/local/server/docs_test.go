package server_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"syncplane/pkg/local/server"
)

// TestDocsPage checks that the documentation has a strict policy and only assets that
// are served from its own paths.
func TestDocsPage(t *testing.T) {
	t.Parallel()
	routes := server.Routes(server.Gateway{Now: time.Now}, []byte("{}"), nil)
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		routes.ServeHTTP(w, r)
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != http.StatusOK || !strings.HasPrefix(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "http") {
			t.Errorf("%s: got %d with the policy %q", path, w.Code, policy)
		}
		return w
	}
	page := get("/docs").Body.String()
	if other := get("/docs/").Body.String(); other != page {
		t.Errorf("/docs/ is another page: %s", other)
	}
	if !strings.Contains(page, `name="viewport" content="width=device-width, initial-scale=1"`) {
		t.Error("the page has no viewport")
	}
	assets := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(assets) < 5 {
		t.Errorf("got the assets %v", assets)
	}
	for _, asset := range assets {
		if path := asset[1]; path != "/api/v1/openapi.json" {
			if got := get(path).Header().Get("Content-Type"); !regexp.MustCompile("^(text/css|text/javascript|application/javascript|image/png)").MatchString(got) {
				t.Errorf("%s has the type %q", path, got)
			}
		}
	}
	if regexp.MustCompile(`(?s)<script>|<style|\son[a-z]+=|//[a-z]`).MatchString(page) {
		t.Errorf("the page has something inline, or of another host: %s", page)
	}
}
