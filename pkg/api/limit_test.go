package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/quota"
)

// TestLimit holds what a workspace is told of its limit, and that a refused
// create makes nothing.
func TestLimit(t *testing.T) {
	t.Parallel()
	g := newRig(t)
	g.CreateLimit = &quota.Limit{Policy: quota.Policy{Quota: 2, Window: time.Minute}, Store: g.store, Now: g.Now}
	for _, want := range []struct {
		status      int
		left, retry string
	}{
		{200, `"create";r=1;t=30`, ""},
		{409, `"create";r=0;t=60`, "1"}, // the rig has but one ID to give
		{429, `"create";r=0;t=60`, "30"},
	} {
		response := g.do(t, good(goodBody))
		got := []string{response.Header.Get("RateLimit-Policy"), response.Header.Get("RateLimit"), response.Header.Get("Retry-After")}
		if diff := cmp.Diff([]string{`"create";q=2;w=60`, want.left, want.retry}, got); diff != "" || response.StatusCode != want.status {
			t.Errorf("got %d, want %d: %s", response.StatusCode, want.status, diff)
		}
	}
	other := good(goodBody)
	other.Header.Set("Authorization", "Bearer other syncs:write")
	if response := g.do(t, other); response.StatusCode != http.StatusOK {
		t.Errorf("another workspace got %d", response.StatusCode)
	}
}
