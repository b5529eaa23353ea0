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
	soak = flag.Duration("soak", 0, "how long TestFaults goes on; 0 is one round")
	seed = flag.Uint64("seed", 1, "what decides the faults of the first round of TestFaults")
)

// How much a round does.
const (
	clients = 48
	keys    = 1000 // each used by two clients at once
	unkeyed = 300
	share   = 0.25 // of the calls to DynamoDB that are let down
	tries   = 60   // until a client gives up, which is a failure of the test
)

// TestFaults holds, over a DynamoDB that fails at any point, that a key makes
// one sync, that nothing acknowledged is lost or undone, and that no answer
// tells of what is behind.
func TestFaults(t *testing.T) {
	t.Parallel()
	endpoint := dynamotest.Endpoint(t)
	began := time.Now()
	for round := *seed; round == *seed || time.Since(began) < *soak; round++ {
		t.Run("seed "+strconv.FormatUint(round, 10), func(t *testing.T) { //nolint:paralleltest // one after the other
			proxy := chaosproxy.Start(t, endpoint, round, share)
			config := app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "faults-" + uuid.NewString()}
			config.DynamoDBEndpoint = endpoint
			truth := app.DynamoDB(config)
			if err := truth.EnsureTable(t.Context()); err != nil {
				t.Fatal(err)
			}
			config.DynamoDBEndpoint = proxy.URL
			r := &clientele{handler: httpfunc.Handler(httpfunc.Deps{
				Store: app.DynamoDB(config), Caller: anybody, Log: app.Logger(io.Discard, ""),
			})}
			r.run(t)
			r.check(t, truth)
			if proxy.Faults() == 0 {
				t.Error("nothing failed, so nothing was tested")
			}
		})
	}
}

func anybody(context.Context, string) (auth.Caller, error) {
	return auth.Caller{Workspace: "acme", Scopes: []string{"syncs:read", "syncs:write"}}, nil
}

// outcome is what clients know of the syncs that they made.
type outcome struct {
	id      string
	deleted bool
	stream  string
}

// clientele is one pass of all clients.
type clientele struct {
	handler *apigateway.Handler

	mu     sync.Mutex
	made   map[string][]string // bodies of acknowledged creates, by key
	known  map[string]outcome  // by ID
	single []string            // IDs of creates without a key
}

func (r *clientele) run(t *testing.T) {
	t.Helper()
	r.made, r.known = map[string][]string{}, map[string]outcome{}
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
		for twin := range 2 {
			jobs <- func() { r.keyed(t, i, twin) }
		}
		if i%(keys/unkeyed) == 0 {
			jobs <- func() { r.bare(t, i) }
		}
	}
	close(jobs)
	group.Wait()
}

// keyed creates with a key until that is acknowledged; one of the twins then
// changes or deletes what it made.
func (r *clientele) keyed(t *testing.T, i, twin int) {
	key := fmt.Sprintf("key-%d", i)
	answer := r.until(t, []int{200}, "POST", "/api/v1/syncs", body(key), "idempotency-key", key)
	id := idOf(t, answer.Body)
	r.note(func() { r.made[key] = append(r.made[key], answer.Body) })
	if twin == 1 {
		return
	}
	end := outcome{id: id, stream: key}
	switch i % 4 {
	case 1:
		end.stream = key + " changed"
		r.until(t, []int{200}, "PATCH", "/api/v1/syncs/"+id, fmt.Sprintf(`{"sync":{"stream_name":%q}}`, end.stream))
	case 2:
		end.deleted = true
		r.until(t, []int{204, 404}, "DELETE", "/api/v1/syncs/"+id, "")
	}
	r.note(func() { r.known[id] = end })
}

// bare creates without a key, once: if that is not acknowledged, it may have
// happened or not.
func (r *clientele) bare(t *testing.T, i int) {
	answer := r.do(t, "POST", "/api/v1/syncs", body(fmt.Sprintf("bare-%d", i)))
	if answer.StatusCode == http.StatusOK {
		id := idOf(t, answer.Body)
		r.note(func() {
			r.single = append(r.single, id)
			r.known[id] = outcome{id: id, stream: fmt.Sprintf("bare-%d", i)}
		})
	}
}

func (r *clientele) note(what func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	what()
}

// until repeats a request until it has one of these answers.
func (r *clientele) until(t *testing.T, want []int, method, path, body string, header ...string) events.APIGatewayV2HTTPResponse {
	t.Helper()
	for range tries {
		if answer := r.do(t, method, path, body, header...); slices.Contains(want, answer.StatusCode) {
			return answer
		}
	}
	t.Errorf("%s %s: not one of %d tries got one of %v", method, path, tries, want)
	return events.APIGatewayV2HTTPResponse{}
}

// do sends one request, and holds what every answer must be.
func (r *clientele) do(t *testing.T, method, path, body string, header ...string) events.APIGatewayV2HTTPResponse {
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // as the function has
	defer cancel()
	text, err := r.handler.Invoke(ctx, payload)
	if err != nil {
		t.Error(err)
	}
	var answer events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Error(err)
	}
	switch answer.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusNotFound:
	case http.StatusConflict, http.StatusServiceUnavailable:
		if answer.Headers["Retry-After"] == "" {
			t.Errorf("%d without Retry-After: %s", answer.StatusCode, text)
		}
	default:
		t.Errorf("%s %s: %s", method, path, text)
	}
	for _, leak := range []string{chaosproxy.Secret, "Exception", "dynamodb", "DynamoDB", "operation error", "127.0.0.1"} {
		if strings.Contains(string(text), leak) {
			t.Errorf("an answer tells of what is behind: %s", text)
		}
	}
	return answer
}

// check compares what clients know with what is in the table.
func (r *clientele) check(t *testing.T, truth syncs.Store) {
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
	if len(r.made) != keys {
		t.Errorf("%d keys were used, want %d", len(r.made), keys)
	}
	for key, bodies := range r.made {
		if len(bodies) != 2 || bodies[0] != bodies[1] {
			t.Errorf("%s: its two clients got %q", key, bodies)
		}
	}
	streams := map[string]int{}
	for id, s := range stored {
		name, _, _ := strings.Cut(s.StreamName, " ")
		streams[name]++
		if streams[name] > 1 {
			t.Errorf("%s made a second sync, %s", name, id)
		}
	}
	for id, want := range r.known {
		got, there := stored[id]
		switch {
		case want.deleted && there:
			t.Errorf("%s is there, and it was deleted", id)
		case !want.deleted && !there:
			t.Errorf("%s (%s) was acknowledged and is not there", id, want.stream)
		case there && got.StreamName != want.stream:
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
