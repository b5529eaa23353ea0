// Package iamtest compares the calls to DynamoDB that a function makes in a test with
// the actions that its role in template.yaml allows.
package iamtest

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/testkit/templatetest"
)

// Recorder forwards calls to DynamoDB and records the actions that they need.
type Recorder struct {
	URL string // use it in place of the endpoint of DynamoDB

	mu      sync.Mutex
	actions map[string]bool
}

// Start returns a Recorder for the DynamoDB at endpoint that runs until the test ends.
func Start(tb testing.TB, endpoint string) *Recorder {
	tb.Helper()
	behind, err := url.Parse(endpoint)
	if err != nil {
		tb.Fatal(err)
	}
	r := &Recorder{actions: map[string]bool{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(behind)
		p.Out.Host = p.In.Host // it is part of the signature
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			tb.Error(err)
		}
		_, operation, _ := strings.Cut(request.Header.Get("X-Amz-Target"), ".")
		r.record(operation, body)
		request.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, request)
	}))
	tb.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// record notes the actions of a call. A transaction needs those of its writes and
// none of its own (DynamoDB Developer Guide, "Using IAM with DynamoDB transactions").
func (r *Recorder) record(operation string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if operation != "TransactWriteItems" {
		r.actions["dynamodb:"+operation] = true
		return
	}
	var in struct {
		TransactItems []map[string]json.RawMessage `json:"TransactItems"` //nolint:tagliatelle // DynamoDB's name
	}
	_ = json.Unmarshal(body, &in) // DynamoDB refuses what is invalid
	names := map[string]string{"Put": "PutItem", "Delete": "DeleteItem", "Update": "UpdateItem", "ConditionCheck": "ConditionCheckItem"}
	for _, item := range in.TransactItems {
		for kind := range item {
			r.actions["dynamodb:"+names[kind]] = true
		}
	}
}

// called reports whether an action was called.
func (r *Recorder) called(action string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.actions[action]
}

// Check compares the actions so far with those that a role or a managed policy of
// template.yaml allows on the table, and on its stream if it was read: no more and no
// less.
func (r *Recorder) Check(tb testing.TB, role string) {
	tb.Helper()
	allowed := []string{}
	for _, statement := range templatetest.Read(tb).Statements(role) {
		resource, _ := statement["Resource"].(map[string]any)
		if choice, ok := resource["Fn::If"].([]any); ok {
			resource, _ = choice[1].(map[string]any) // the table that the stack creates
		}
		if resource["Fn::GetAtt"] == "Table.Arn" || resource["Fn::GetAtt"] == "Table.StreamArn" && r.called("dynamodb:GetRecords") {
			allowed = append(allowed, templatetest.Texts(statement["Action"])...)
		}
	}
	slices.Sort(allowed)
	r.mu.Lock()
	defer r.mu.Unlock()
	if diff := cmp.Diff(allowed, slices.Sorted(maps.Keys(r.actions))); diff != "" {
		tb.Errorf("the actions that %s allows and those that were called: %s", role, diff)
	}
}
