package main_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"syncplane/pkg/app"
	"syncplane/pkg/testkit/dynamotest"
)

// TestInitOverTLS checks that the init phase over TLS sends DynamoDB no request, and that
// priming leaves no trace: the first request creates the only sync, logs the first line,
// and counts as the cold start. If an event waits for the function, it is read during the
// handshake.
func TestInitOverTLS(t *testing.T) {
	for _, initialization := range []string{"on-demand", "provisioned-concurrency"} {
		t.Run(initialization, func(t *testing.T) { initOverTLS(t, initialization) })
	}
}

func initOverTLS(t *testing.T, initialization string) {
	t.Helper()
	config := dynamotest.NewTable(t)
	store := app.DynamoDB(config)
	address, err := url.Parse(config.DynamoDBEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	polled := make(chan struct{}) // closed when the function asks for an event; if one waits, the handshake lasts until then
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(address) }}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		proxy.ServeHTTP(w, r)
	}))
	secure.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if initialization == "on-demand" {
			<-polled
		}
		return nil, nil //nolint:nilnil // it stands for the configuration of the server
	}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	config.DynamoDBEndpoint = secure.URL

	var log bytes.Buffer
	function := startOn(t, config, &log, map[string]string{"SSL_CERT_FILE": roots, "AWS_LAMBDA_INITIALIZATION_TYPE": initialization})
	close(polled)
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests in the init phase, want none", n)
	}
	payload, err := os.ReadFile(filepath.Join(root, "events", "create-sync.json"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := function.Invoke(t.Context(), payload)
	if err != nil || !strings.Contains(string(response), `"statusCode":200`) {
		t.Fatalf("got %s, %v", response, err)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests for a create, want 1", n)
	}
	for workspace, want := range map[string]int{"demo": 1, "primer": 0} {
		if list, _, err := store.List(t.Context(), workspace, "", 10); err != nil || len(list) != want {
			t.Errorf("workspace %s: got %d syncs, %v, want %d", workspace, len(list), err, want)
		}
	}
	if err := function.Close(); err != nil { // so that the log is complete
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(log.String()), "\n"); len(lines) != 1 || !strings.Contains(lines[0], `"cold_start":true`) {
		t.Errorf("got the log\n%s\nwant one line, of the cold start", &log)
	}
}
