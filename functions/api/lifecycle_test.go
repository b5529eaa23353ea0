package main_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"syncplane/pkg/api/apitest"
	"syncplane/pkg/local/server"
)

// TestLifecycle runs the lifecycle suite of apitest against the built function.
func TestLifecycle(t *testing.T) {
	var log bytes.Buffer
	function := start(t, &log)
	key := server.SampleKey()
	apitest.RunLifecycle(t, apitest.Server{
		Do: func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			server.Gateway{Function: function, Now: time.Now}.ServeHTTP(w, r)
			return w.Result(), nil
		},
		Token: func(tb testing.TB, workspace string, scopes ...string) string {
			tb.Helper()
			now := time.Now()
			token, err := key.Token(server.Claims{Workspace: workspace, Scopes: scopes, Issued: now, Expires: now.Add(time.Hour)})
			if err != nil {
				tb.Fatal(err)
			}
			return token
		},
	})
	if err := function.Close(); err != nil { // so that the log is complete
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "eyJ") {
		t.Errorf("the log contains a token:\n%s", &log)
	}
}
