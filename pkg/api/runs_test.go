package api_test

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestTriggerWithoutBody checks that an optional body may also be empty if its length
// is not known in advance, as in chunks: it then needs no Content-Type.
func TestTriggerWithoutBody(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	g.do(t, good(goodBody))
	for _, test := range []struct {
		path, body string
		status     int
	}{
		{"/api/v1/syncs/" + syncID + "/sync_runs", "{}", http.StatusUnsupportedMediaType},
		{"/api/v1/syncs/" + syncID + "/sync_runs", "", http.StatusCreated},
		{"/api/v1/syncs/" + syncID + "/sync_runs/2026-11-23T20:06:00Z/cancel", "", http.StatusOK},
		{"/api/v1/syncs/" + syncID, "", http.StatusUnsupportedMediaType}, // its body is not optional
	} {
		r := good(test.body)
		r.URL.Path, r.ContentLength, r.Body = test.path, -1, io.NopCloser(strings.NewReader(test.body))
		if test.status == http.StatusUnsupportedMediaType && test.body == "" {
			r.Method = http.MethodPatch
		}
		r.Header.Del("Content-Type")
		if got := g.do(t, r); got.StatusCode != test.status {
			t.Errorf("%s %q: got %d, want %d", test.path, test.body, got.StatusCode, test.status)
		}
	}
}

// TestForgedCursor checks that a cursor of the open runs that names no sync is refused,
// although its checksum is right: no store has a key of any length or bytes.
func TestForgedCursor(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	for _, position := range []string{"", "x", "\x00\xff", strings.Repeat("z", 3000), strings.ToUpper(syncID)} {
		sum := sha256.Sum256([]byte("syncplane place 1\x00acme\x00" + position))
		cursor := base64.RawURLEncoding.EncodeToString(append(sum[:8], position...))
		r := good("")
		r.Method, r.URL.Path, r.URL.RawQuery = http.MethodGet, "/api/v1/sync_runs", "page%5Bafter%5D="+cursor
		r.Header.Set("Authorization", "Bearer acme syncs:read")
		if got := g.do(t, r); got.StatusCode != http.StatusBadRequest {
			t.Errorf("%.20q: got %d", position, got.StatusCode)
		}
	}
}
