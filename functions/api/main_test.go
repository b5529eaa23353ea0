package main_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/api/apitest"
	"syncplane/pkg/app"
	"syncplane/pkg/auth"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/local/server"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/lambdatest"
)

var update = flag.Bool("update", false, "sign the events again and rewrite the responses in testdata")

const root = "../.."

func TestMain(m *testing.M) { os.Exit(lambdatest.Run(m)) }

// start runs the function with a new table.
func start(t *testing.T, output *bytes.Buffer) *lambdaruntime.Function {
	t.Helper()
	return startOn(t, dynamotest.NewTable(t), output, nil)
}

// startOn runs the function with a table, and with the environment of env.local.json
// and more.
func startOn(t *testing.T, config app.Config, output io.Writer, more map[string]string) *lambdaruntime.Function {
	t.Helper()
	env := localEnv(t)["ApiFunction"]
	env["AWS_ENDPOINT_URL_DYNAMODB"], env["TABLE_NAME"], env["AWS_REGION"] = config.DynamoDBEndpoint, config.TableName, config.Region
	maps.Copy(env, more)
	var lines []string
	for name, value := range env {
		lines = append(lines, name+"="+value)
	}
	return lambdatest.Start(t, lines, output)
}

// localEnv returns the environments that env.local.json gives the functions under
// `sam local`.
func localEnv(t *testing.T) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "env.local.json"))
	if err != nil {
		t.Fatal(err)
	}
	var env map[string]map[string]string
	if err := json.Unmarshal(text, &env); err != nil {
		t.Fatal(err)
	}
	return env
}

// TestEvents invokes the built function with every API Gateway event in events/ and
// compares the responses with testdata.
func TestEvents(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "events", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no events: %v", err)
	}
	// The tests of the other functions use these.
	files = slices.DeleteFunc(files, func(file string) bool {
		return slices.Contains([]string{
			"stream.json", "watch.json", "queue.json", "create-requested.json", "run-requested.json", "run-reported.json",
		}, filepath.Base(file))
	})
	if *update {
		sign(t, files)
	}
	var log bytes.Buffer
	function := start(t, &log)
	known := map[string]bool{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		known[name+".golden.json"] = true
		t.Run(name, func(t *testing.T) {
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := function.Invoke(t.Context(), payload)
			if err != nil {
				t.Fatal(err)
			}
			check(t, payload, answer)
			compare(t, filepath.Join("testdata", name+".golden.json"), answer)
		})
	}
	answers, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range answers {
		if !known[entry.Name()] {
			t.Errorf("testdata/%s belongs to no event", entry.Name())
		}
	}
}

// sign puts tokens of the sample key into the events. The tokens expire after a
// century.
func sign(t *testing.T, files []string) {
	t.Helper()
	key := server.SampleKey()
	keys, err := server.KeySet(key)
	if err != nil {
		t.Fatal(err)
	}
	env := localEnv(t)
	env["ApiFunction"]["TOKEN_JWKS"] = string(keys)
	write(t, filepath.Join(root, "env.local.json"), env)

	issued := time.Date(2026, time.November, 23, 0, 0, 0, 0, time.UTC)
	for _, file := range files {
		scope := string(auth.WriteSyncs)
		if strings.Contains(file, "without-scope") {
			scope = "profile"
		}
		token, err := key.Token(server.Claims{Workspace: "demo", Scopes: []string{scope}, Issued: issued, Expires: issued.AddDate(100, 0, 0)})
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`"Bearer [^"]*"`).ReplaceAll(text, []byte(`"Bearer `+token+`"`))
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func write(t *testing.T, file string, value any) {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// check checks a response against the OpenAPI document.
func check(t *testing.T, payload, answer []byte) {
	t.Helper()
	var event events.APIGatewayV2HTTPRequest
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(payload, &event); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer, &response); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(event.RawPath, "/"+event.RequestContext.Stage)
	r := httptest.NewRequestWithContext(t.Context(), event.RequestContext.HTTP.Method, path, nil)
	header := http.Header{}
	for name, value := range response.Headers {
		header.Set(name, value)
	}
	apitest.Check(t, r, response.StatusCode, header, []byte(response.Body))
}

// compare compares a response with the file golden, except IDs and times.
func compare(t *testing.T, golden string, answer []byte) {
	t.Helper()
	for pattern, name := range map[string]string{
		`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`: "<uuid>",
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`:                        "<time>",
	} {
		answer = regexp.MustCompile(pattern).ReplaceAll(answer, []byte(name))
	}
	var got map[string]any
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatal(err)
	}
	if *update {
		write(t, golden, got)
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v; go test ./functions/api -update writes it", err)
	}
	var want map[string]any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestGlobalEndpoint checks that the function uses AWS_ENDPOINT_URL, from its first
// connection on, while the variable of the service is empty, as it is in template.yaml.
func TestGlobalEndpoint(t *testing.T) {
	config := dynamotest.NewTable(t)
	var log bytes.Buffer
	function := startOn(t, config, &log, map[string]string{"AWS_ENDPOINT_URL": config.DynamoDBEndpoint, "AWS_ENDPOINT_URL_DYNAMODB": ""})
	payload, err := os.ReadFile(filepath.Join(root, "events", "create-sync.json"))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := function.Invoke(t.Context(), payload)
	if err != nil || !strings.HasPrefix(string(answer), `{"statusCode":200,`) {
		t.Errorf("got %s, %v", answer, err)
	}
	if err := function.Close(); err != nil { // so that the log is complete
		t.Fatal(err)
	}
	if strings.Contains(log.String(), "not warm") {
		t.Errorf("the first connection failed: %s", &log)
	}
}

// TestMalformedEvents invokes the built function with malformed events, and then with a
// request to check that it still runs.
func TestMalformedEvents(t *testing.T) {
	var log bytes.Buffer
	function := start(t, &log)
	for _, payload := range []string{
		`{}`, `null`, `[]`, `""`, `5`, `{"headers":{"a":1}}`, `{"Records":[{"eventSource":"aws:sqs"}]}`,
		`{"httpMethod":"POST","path":"/api/v1/syncs","version":"1.0"}`,
		`{"body":"*","isBase64Encoded":true,"rawPath":"/api/v1/syncs","requestContext":{"http":{"method":"POST"}}}`,
		`{"rawPath":"/api/v1/syncs","requestContext":{"http":{"method":"PO ST"}}}`,
		strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000),
	} {
		answer, err := function.Invoke(t.Context(), []byte(payload))
		if err != nil {
			t.Fatalf("%.80s: %v", payload, err)
		}
		var response events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal(answer, &response); err != nil || response.StatusCode != http.StatusBadRequest || response.Headers["X-Request-Id"] == "" {
			t.Errorf("%.80s: got %.300s", payload, answer)
		}
	}
	good, err := os.ReadFile(filepath.Join(root, "events", "create-sync.json"))
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := function.Invoke(t.Context(), good); err != nil || !bytes.Contains(answer, []byte(`"statusCode":200`)) {
		t.Errorf("got %s, %v", answer, err)
	}
}

// TestUnknownPaths sends unusual paths, decoded as an HTTP API delivers them.
func TestUnknownPaths(t *testing.T) {
	function := start(t, &bytes.Buffer{})
	good, err := os.ReadFile(filepath.Join(root, "events", "create-sync.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"/api/v1/syncs/a%zz", "/api/v1/syncs/%", "/%zz", "/%",
		"/api/v1/syncs/\x00", "/api/v1/syncs/a\r\nb", "/api/v1/syncs/\x7f", "/api/v1/syncs/\u0080", "/api/v1/syncs/\ufffd",
		"/api/v1/syncs/a b", "/api/v1/syncs/a?b", "/api/v1/syncs/a#b", "/api/v1/syncs/a/b", "/api/v1/syncs/..", "/api/v1/syncs/世界",
		"/api/v1/syncs/019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5%65", "/api/v1/schemas/%zz", "/api/v1/schemas/\x00", "//api/v1/syncs", "*",
	} {
		var event events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(good, &event); err != nil {
			t.Fatal(err)
		}
		event.RouteKey, event.RawPath, event.Body = "$default", path, ""
		event.RequestContext.HTTP.Method, event.RequestContext.HTTP.Path = http.MethodGet, path
		// The token of the sample has no scope to read.
		if strings.HasPrefix(path, "/api/v1/syncs/") {
			event.RequestContext.HTTP.Method = http.MethodDelete
		}
		payload, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := function.Invoke(t.Context(), payload)
		if err != nil {
			t.Fatalf("%q: %v", path, err)
		}
		var response events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal(answer, &response); err != nil || response.StatusCode != http.StatusNotFound || !strings.Contains(response.Body, `"code":"not_found"`) {
			t.Errorf("%q: got %.300s, want 404", path, answer)
		}
	}
}

// TestLog checks that the log has one JSON line for each request, without the token or
// parts of the body.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	function := start(t, &log)
	good, err := os.ReadFile(filepath.Join(root, "events", "create-sync.json"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := function.Invoke(t.Context(), good); err != nil {
			t.Fatal(err)
		}
	}
	if err := function.Close(); err != nil { // so that the log is complete
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines for 2 requests:\n%s", len(lines), &log)
	}
	for i, line := range lines {
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for name, want := range map[string]any{
			"message": "request", "level": "INFO", "status": 200.0, "workspace": "demo", "request_id": "JKJaXmPLvHcESHA=", "cold_start": i == 0,
		} {
			if got[name] != want {
				t.Errorf("line %d: %s is %v, want %v", i, name, got[name], want)
			}
		}
		for _, name := range []string{"timestamp", "duration_ms", "lambda_request_id", "function", "_aws"} {
			if got[name] == nil {
				t.Errorf("line %d has no %s: %s", i, name, line)
			}
		}
	}
	for _, secret := range []string{"eyJ", "Email__c", "contacts"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log contains %q:\n%s", secret, &log)
		}
	}
}
