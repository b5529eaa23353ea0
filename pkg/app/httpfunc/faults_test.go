package httpfunc_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/chaosproxy"
	"syncplane/pkg/testkit/dynamotest"
)

// `make soak` sets these.
var (
	soak = flag.Duration("soak", 0, "how long TestFaults runs; 0 is one round")
	seed = flag.Uint64("seed", 1, "the seed of the faults in the first round of TestFaults")
)

// The size of a round.
const (
	clients     = 48
	keys        = 200 // each used by two concurrent requests
	unkeyed     = 50
	share       = 0.25 // of the calls to DynamoDB that have a fault
	maxAttempts = 60   // of a request
)

// TestFaults checks, over a DynamoDB with random faults, that a key creates one sync,
// that no acknowledged change is lost, and that no response contains internal details.
func TestFaults(t *testing.T) {
	t.Parallel()
	endpoint := dynamotest.Endpoint(t)
	start := time.Now()
	for s := *seed; s == *seed || time.Since(start) < *soak; s++ {
		t.Run("seed "+strconv.FormatUint(s, 10), func(t *testing.T) { //nolint:paralleltest // rounds run one after the other
			proxy := chaosproxy.Start(t, endpoint, s, share)
			config := app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "faults-" + uuid.NewString()}
			config.DynamoDBEndpoint = endpoint
			truth := app.DynamoDB(config)
			if err := truth.EnsureTable(t.Context()); err != nil {
				t.Fatal(err)
			}
			config.DynamoDBEndpoint = proxy.URL
			r := &round{handler: httpfunc.Handler(httpfunc.Deps{
				Store: app.DynamoDB(config), Caller: caller, Log: app.Logger(io.Discard, ""),
			})}
			r.run(t)
			r.check(t, truth)
			if proxy.Fewest() == 0 {
				t.Error("no call had one of the kinds of faults")
			}
		})
	}
}

// caller accepts every request.
func caller(context.Context, string) (auth.Caller, error) {
	return auth.Caller{Workspace: "acme", Scopes: []string{"syncs:read", "syncs:write"}}, nil
}

// outcome is the state of a sync according to its clients.
type outcome struct {
	id      string
	deleted bool
	stream  string
}

// round runs clients concurrently and records their outcomes.
type round struct {
	handler *apigateway.Handler

	mu     sync.Mutex
	bodies map[string][]string // of the responses to creates, by key
	known  map[string]outcome  // by ID
	single []string            // IDs of creates without a key
}

func (r *round) run(t *testing.T) {
	t.Helper()
	r.bodies, r.known = map[string][]string{}, map[string]outcome{}
	jobs := make(chan func())
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			for job := range jobs {
				job()
			}
		})
	}
	for i := range keys {
		jobs <- func() { r.keyedChange(t, i) }
		jobs <- func() { r.keyed(t, i) }
		if i%(keys/unkeyed) == 0 {
			jobs <- func() { r.unkeyed(t, i) }
		}
	}
	close(jobs)
	group.Wait()
}

// keyed creates with the i-th key until that is acknowledged, and returns the key and
// the ID.
func (r *round) keyed(t *testing.T, i int) (key, id string) {
	key = fmt.Sprintf("key-%d", i)
	response := r.until(t, []int{200}, "POST", "/api/v1/syncs", body(key), "idempotency-key", key)
	r.record(func() { r.bodies[key] = append(r.bodies[key], response.Body) })
	return key, idOf(t, response.Body)
}

// keyedChange creates as keyed does, and then changes or deletes some of the syncs.
func (r *round) keyedChange(t *testing.T, i int) {
	key, id := r.keyed(t, i)
	end := outcome{id: id, stream: key}
	switch i % 4 {
	case 1:
		end.stream = key + " changed"
		r.until(t, []int{200}, "PATCH", "/api/v1/syncs/"+id, fmt.Sprintf(`{"sync":{"stream_name":%q}}`, end.stream))
	case 2:
		end.deleted = true
		r.until(t, []int{204, 404}, "DELETE", "/api/v1/syncs/"+id, "")
	}
	r.record(func() { r.known[id] = end })
}

// unkeyed creates once, without a key. If that is not acknowledged, it may or may not
// have taken effect.
func (r *round) unkeyed(t *testing.T, i int) {
	response := r.do(t, "POST", "/api/v1/syncs", body(fmt.Sprintf("bare-%d", i)))
	if response.StatusCode == http.StatusOK {
		id := idOf(t, response.Body)
		r.record(func() {
			r.single = append(r.single, id)
			r.known[id] = outcome{id: id, stream: fmt.Sprintf("bare-%d", i)}
		})
	}
}

func (r *round) record(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// until repeats a request until the response has one of these statuses.
func (r *round) until(t *testing.T, want []int, method, path, body string, header ...string) events.APIGatewayV2HTTPResponse {
	t.Helper()
	for range maxAttempts {
		if response := r.do(t, method, path, body, header...); slices.Contains(want, response.StatusCode) {
			return response
		}
	}
	t.Errorf("%s %s: none of %d attempts had a status of %v", method, path, maxAttempts, want)
	return events.APIGatewayV2HTTPResponse{}
}

// do sends a request, and checks what holds for every response.
func (r *round) do(t *testing.T, method, path, body string, header ...string) events.APIGatewayV2HTTPResponse {
	t.Helper()
	headers := map[string]string{"content-type": "application/json", "authorization": "Bearer x"}
	for pair := range slices.Chunk(header, 2) {
		headers[pair[0]] = pair[1]
	}
	payload, err := json.Marshal(events.APIGatewayV2HTTPRequest{
		RawPath: path, Headers: headers, Body: body,
		RequestContext: events.APIGatewayV2HTTPRequestContext{HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: method}},
	})
	if err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // the timeout of the function
	defer cancel()
	text, err := r.handler.Invoke(ctx, payload)
	if err != nil {
		t.Error(err)
	}
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(text, &response); err != nil {
		t.Error(err)
	}
	switch response.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusNotFound:
	case http.StatusConflict, http.StatusServiceUnavailable:
		if response.Headers["Retry-After"] == "" {
			t.Errorf("%d without Retry-After: %s", response.StatusCode, text)
		}
	default:
		t.Errorf("%s %s: %s", method, path, text)
	}
	for _, leak := range []string{chaosproxy.Secret, "Exception", "dynamodb", "DynamoDB", "operation error", "127.0.0.1"} {
		if strings.Contains(string(text), leak) {
			t.Errorf("a response contains internal details: %s", text)
		}
	}
	return response
}

// check compares the outcomes with the table.
func (r *round) check(t *testing.T, truth syncs.Store) {
	t.Helper()
	stored := map[string]syncs.Sync{}
	for after, more := "", true; more; {
		var list []syncs.Sync
		var err error
		if list, more, err = truth.List(t.Context(), "acme", after, 1000); err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			stored[s.ID] = s
			after = s.ID
		}
	}
	if len(r.bodies) != keys {
		t.Errorf("%d keys were used, want %d", len(r.bodies), keys)
	}
	for key, bodies := range r.bodies {
		if len(bodies) != 2 || bodies[0] != bodies[1] {
			t.Errorf("%s: the two responses are %q", key, bodies)
		}
	}
	streams := map[string]int{}
	for id, s := range stored {
		name, _, _ := strings.Cut(s.StreamName, " ")
		streams[name]++
		if streams[name] > 1 {
			t.Errorf("%s created a second sync, %s", name, id)
		}
	}
	for id, want := range r.known {
		got, exists := stored[id]
		switch {
		case want.deleted && exists:
			t.Errorf("%s exists after its deletion", id)
		case !want.deleted && !exists:
			t.Errorf("%s (%s) was acknowledged and is missing", id, want.stream)
		case exists && got.StreamName != want.stream:
			t.Errorf("%s has the stream %q, want %q", id, got.StreamName, want.stream)
		}
	}
	t.Logf("%d syncs stored, %d known, %d of them without a key", len(stored), len(r.known), len(r.single))
}

func idOf(t *testing.T, body string) string {
	t.Helper()
	var resource struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(body), &resource); err != nil || resource.ID == "" {
		t.Errorf("%v: no resource: %s", err, body)
	}
	return resource.ID
}

func body(stream string) string {
	return fmt.Sprintf(`{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"a":1.0},`+
		`"stream_name":%q,"sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}}`, stream)
}
