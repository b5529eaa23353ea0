package main_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"syncplane/pkg/testkit/dynamotest"
)

// get sends a request without a body and returns the response and its body.
func (s *server) get(t *testing.T, method, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// TestGreeting checks that the server prints which tokens it accepts and when the one
// that it prints expires, and that a 401 for another key names its own.
func TestGreeting(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir, "TTL=5m", "WORKSPACE=acme")
	match := regexp.MustCompile(`(?m)^It accepts tokens that are signed with the key ([0-9a-f]{16}) in (.*)\.$`).FindStringSubmatch(s.greeting)
	if match == nil || match[2] != dataDir {
		t.Fatalf("got %s", s.greeting)
	}
	expires := regexp.MustCompile(`for the workspace acme that expires at (\S+):`).FindStringSubmatch(s.greeting)
	if expires == nil {
		t.Fatalf("got %s", s.greeting)
	}
	if at, err := time.Parse(time.RFC3339, expires[1]); err != nil || (time.Until(at)-5*time.Minute).Abs() > time.Minute {
		t.Errorf("got %v, %v", at, err)
	}
	foreign := token(t, t.TempDir())
	status, answer := s.create(t, foreign)
	if want := "the token must be signed with the key " + match[1] + " in " + dataDir + "; syncplane token makes one with the same DATA_DIR"; status != http.StatusUnauthorized || !strings.Contains(answer, want) {
		t.Errorf("got %d %s", status, answer)
	}
	if response, body := s.get(t, http.MethodGet, "/api/v1/events", "Authorization", "Bearer "+foreign); response.StatusCode != http.StatusUnauthorized || !strings.Contains(body, dataDir) {
		t.Errorf("got %d %s", response.StatusCode, body)
	}
	if strings.Contains(answer, foreign) || strings.Contains(answer, "PRIVATE") {
		t.Errorf("the answer holds a secret: %s", answer)
	}
	for _, other := range []string{"x", "a.b.c", token(t, dataDir, "TTL=-1m"), "syn_x"} {
		if status, answer := s.create(t, other); status != http.StatusUnauthorized || strings.Contains(answer, dataDir) {
			t.Errorf("%.10s: got %d %s", other, status, answer)
		}
	}
	s.stop(t, os.Interrupt)
}

// TestGreetingSettings checks that the commands that call the API reach a server on
// another port, with another data directory, with the settings that it prints.
func TestGreetingSettings(t *testing.T) {
	t.Parallel()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, filepath.Join(t.TempDir(), "a 'b' $c"))
	settings := regexp.MustCompile(`(?m)^To call it with syncplane syncs, runs or apply: (export .*)$`).FindStringSubmatch(s.greeting)
	if settings == nil {
		t.Fatalf("got %s", s.greeting)
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", settings[1]+"; "+binary+" syncs list --json").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "[]" {
		t.Errorf("got %v, %s", err, out)
	}
	s.stop(t, os.Interrupt)
}

// TestRoot checks that the address that the server prints leads to the page.
func TestRoot(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		response, _ := s.get(t, method, "/")
		if response.StatusCode != http.StatusFound || response.Header.Get("Location") != "/docs" {
			t.Errorf("%s: got %d, %v", method, response.StatusCode, response.Header)
		}
	}
	if response, _ := s.get(t, http.MethodGet, "/index.html"); response.StatusCode != http.StatusNotFound {
		t.Errorf("got %d", response.StatusCode)
	}
	s.stop(t, os.Interrupt)
	if !strings.Contains(s.log.String(), `"requested_path":"/index.html"`) {
		t.Errorf("got %s", s.log)
	}
}

// TestHost listens on all addresses, warns about it, and does not publish the data
// directory.
func TestHost(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir, "HOST=0.0.0.0")
	if !strings.HasPrefix(s.address, "http://127.0.0.1:") {
		t.Errorf("got %s", s.address)
	}
	if status, answer := s.create(t, token(t, dataDir)); status != http.StatusOK {
		t.Errorf("got %d %s", status, answer)
	}
	if status, answer := s.create(t, token(t, t.TempDir())); status != http.StatusUnauthorized || !strings.Contains(answer, "signed with the key") || strings.Contains(answer, dataDir) {
		t.Errorf("got %d %s", status, answer)
	}
	s.stop(t, os.Interrupt)
	if want := "warning: the server listens on 0.0.0.0, which other machines may reach"; !strings.HasPrefix(s.log.String(), want) {
		t.Errorf("got %s", s.log)
	}
	s = serve(t, dataDir, "HOST=localhost")
	s.stop(t, os.Interrupt)
	if s.log.Len() > 0 {
		t.Errorf("got %s", s.log)
	}
	checkFails(t, 1, `HOST must be an address of this machine, got "192.0.2.1"`, []string{"PORT=0", "DATA_DIR=" + dataDir, "HOST=192.0.2.1"}, "serve")
}

// TestCORS calls the API as a browser does for a page of another origin.
func TestCORS(t *testing.T) {
	t.Parallel()
	const page = "http://localhost:3000"
	s := serve(t, t.TempDir(), "CORS_ORIGINS="+page+", http://127.0.0.1:5173")
	preflight := []string{"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,content-type,if-match"}
	for origin, want := range map[string]string{page: page, "http://127.0.0.1:5173": "http://127.0.0.1:5173", "http://localhost:3001": "", "https://localhost:3000": "", "null": ""} {
		response, _ := s.get(t, http.MethodOptions, "/api/v1/syncs", append(preflight, "Origin", origin)...)
		if got := response.Header.Get("Access-Control-Allow-Origin"); got != want || response.StatusCode != http.StatusNoContent {
			t.Errorf("%s: got %d, %v", origin, response.StatusCode, response.Header)
		}
		if got := response.Header.Get("Access-Control-Allow-Headers"); (want != "") != strings.Contains(got, "authorization") {
			t.Errorf("%s: got %q", origin, got)
		}
		response, _ = s.get(t, http.MethodGet, "/api/v1/syncs", "Origin", origin) // 401, which the page may read
		if got := response.Header.Get("Access-Control-Allow-Origin"); got != want || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %v", origin, response.Header)
		}
		if got := response.Header.Get("Access-Control-Expose-Headers"); (want != "") != strings.Contains(strings.ToLower(got), "etag") {
			t.Errorf("%s: got %q", origin, got)
		}
	}
	s.stop(t, os.Interrupt)
	for origins, want := range map[string]string{"": "", "*": "*"} {
		s = serve(t, t.TempDir(), "CORS_ORIGINS="+origins)
		response, _ := s.get(t, http.MethodGet, "/api/v1/openapi.json", "Origin", page)
		if got := response.Header.Get("Access-Control-Allow-Origin"); got != want {
			t.Errorf("%q: got %q", origins, got)
		}
		s.stop(t, os.Interrupt)
	}
}

// TestCreatesNoTableUnasked starts a server over a DynamoDB whose address is that of
// AWS: it creates no table unless CREATE_TABLE is set, and uses one that exists.
func TestCreatesNoTableUnasked(t *testing.T) {
	t.Parallel()
	local, err := url.Parse(dynamotest.Endpoint(t))
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(local) }})
	t.Cleanup(proxy.Close)
	table := "unasked-" + rand.Text() // not that of an earlier run over the same DynamoDB
	env := []string{
		"STORE=dynamodb", "TABLE_NAME=" + table, "AWS_REGION=eu-central-1", "PORT=0", "DATA_DIR=" + t.TempDir(),
		"AWS_ENDPOINT_URL_DYNAMODB=http://dynamodb.eu-central-1.amazonaws.com", "HTTP_PROXY=" + proxy.URL,
	}
	for range 2 {
		checkFails(t, 1, "the DynamoDB table "+table+" does not exist in eu-central-1; deploy the stack and set TABLE_NAME to its table, "+
			"set CREATE_TABLE=true to create one in this AWS account, or set AWS_ENDPOINT_URL_DYNAMODB to the address of an emulator", env, "serve")
	}
	for _, variable := range []string{"CREATE_TABLE=true", "CREATE_TABLE="} {
		s := start(t, command(t, append(env, variable), "serve"))
		s.stop(t, os.Interrupt)
	}
}

// TestMakeReportsCompiling checks that make prints that it compiles before the first
// build, and nothing on later ones.
func TestMakeReportsCompiling(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"Makefile": string(text), "go": "#!/bin/sh\necho go \"$1\" >&2\nmkdir -p bin\n>bin/syncplane\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"compiling bin/syncplane; the first time this takes a minute or two\ngo build\n", "go build\n"} {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "make", "-s", "bin/syncplane")
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "MAKEFLAGS=", "MAKELEVEL=")
		if err := cmd.Run(); err != nil || stdout.Len() > 0 || stderr.String() != want {
			t.Errorf("got %v, %q, %q, want %q", err, &stdout, &stderr, want)
		}
	}
}
