package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/stacktest"
)

const good = `{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"a":1.0},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}`

// harness is the built function, with a table and a bus.
type harness struct {
	config   app.Config
	stack    *stacktest.Stack
	function *lambdaruntime.Function
	log      bytes.Buffer
}

func TestMain(m *testing.M) { os.Exit(lambdatest.Run(m)) }

func newHarness(t *testing.T, edit func(config *app.Config)) *harness {
	t.Helper()
	h := &harness{config: dynamotest.NewTable(t)}
	edit(&h.config)
	h.stack = stacktest.New(t, h.config)
	h.function = lambdatest.Start(t, h.stack.Env(), &h.log)
	return h
}

// event returns a message of the queue as EventBridge delivers it.
func event(id, detail string) string {
	return `{"version":"0","id":"` + id + `","detail-type":"sync.create.requested","source":"crm","account":"123456789012","time":"2026-11-24T06:00:00Z","detail":` + detail + `}`
}

// invoke invokes the function with messages, and returns the IDs of those that failed.
func (h *harness) invoke(t *testing.T, bodies ...string) []string {
	t.Helper()
	var records []map[string]string
	for i, body := range bodies {
		records = append(records, map[string]string{"messageId": "message-" + string(rune('0'+i)), "body": body, "eventSource": "aws:sqs"})
	}
	payload, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := h.function.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	return lambdatest.Failed(t, answer)
}

// streams returns the stream names of the syncs in a workspace.
func (h *harness) streams(t *testing.T, workspace string) []string {
	t.Helper()
	list, _, err := app.DynamoDB(h.config).List(t.Context(), workspace, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	streams := []string{}
	for _, s := range list {
		if s.Configuration != `{"a":1.0}` {
			t.Errorf("the configuration is %s", s.Configuration)
		}
		streams = append(streams, s.StreamName)
	}
	return streams
}

// TestIntake checks valid, repeated and invalid requests.
func TestIntake(t *testing.T) {
	h := newHarness(t, func(*app.Config) {})
	named := func(workspace, stream, more string) string {
		return `{"workspace_id":"` + workspace + `"` + more + `,"sync":` + strings.Replace(good, "contacts", stream, 1) + `}`
	}
	first := event("11111111-0000-0000-0000-000000000000", named("acme", "first", ""))
	bare := named("acme", "bare", `,"idempotency_key":"k1"`)
	if diff := cmp.Diff([]string{}, h.invoke(t, first, bare, first, event("2", named("other", "else", "")))); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{}, h.invoke(t, first, bare)); diff != "" { // delivered again
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"bare", "first"}, h.streams(t, "acme")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"else"}, h.streams(t, "other")); diff != "" {
		t.Error(diff)
	}
	if got := h.stack.Published(t); len(got) > 0 {
		t.Errorf("got %v", got)
	}

	// An invalid request is rejected once and not delivered again.
	for name, test := range map[string]struct {
		body  string
		codes []string
	}{
		"an invalid sync":       {event("e", strings.Replace(named("acme", "x", ""), `"automated"`, `"hourly"`, 1)), []string{"not_in_enum"}},
		"two invalid fields":    {event("e", strings.NewReplacer(`"source_id":1`, `"source_id":"1"`, `"sync_interval":30`, `"sync_interval":0`).Replace(named("acme", "x", ""))), []string{"wrong_type", "out_of_range"}},
		"a cron never due":      {event("e", strings.Replace(named("acme", "x", ""), `"sync_mode"`, `"cron_expression":"0 0 30 2 *","sync_mode"`, 1)), []string{"invalid_cron"}},
		"a duplicate member":    {event("e", strings.Replace(named("acme", "x", ""), `"source_id":1`, `"source_id":1,"source_id":2`, 1)), []string{"duplicate_member"}},
		"no sync":               {event("e", `{"workspace_id":"acme"}`), []string{"required"}},
		"no workspace":          {event("e", `{"sync":`+good+`}`), []string{"invalid_workspace"}},
		"an invalid workspace":  {event("e", named("acme#x", "x", "")), []string{"invalid_workspace"}},
		"an invalid key":        {event("e", named("acme", "x", `,"idempotency_key":"ü"`)), []string{"invalid_key"}},
		"a reused key":          {event("e", named("acme", "y", `,"idempotency_key":"k1"`)), []string{"idempotency_key_reused"}},
		"another event":         {strings.Replace(first, "sync.create.requested", "sync.created", 1), []string{"unknown_event"}},
		"no JSON":               {"<sync/>", []string{"invalid_json"}},
		"a workspace of 5":      {event("e", `{"workspace_id":5}`), []string{"invalid_workspace"}},
		"an event with no sync": {`{"detail-type":"sync.create.requested","detail":null}`, []string{"invalid_json"}},
	} {
		if diff := cmp.Diff([]string{}, h.invoke(t, test.body)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		rejected := h.stack.Published(t)
		if len(rejected) != 1 || rejected[0].Type != "sync.create.rejected.v1" {
			t.Errorf("%s: got %v", name, rejected)
			continue
		}
		var codes []string
		for _, e := range rejected[0].Data["errors"].([]any) { //nolint:forcetypeassert // its schema was checked
			codes = append(codes, e.(map[string]any)["code"].(string)) //nolint:forcetypeassert // as above
		}
		if diff := cmp.Diff(test.codes, codes); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if diff := cmp.Diff([]string{"bare", "first"}, h.streams(t, "acme")); diff != "" {
		t.Error(diff)
	}
	if err := h.function.Close(); err != nil { // so that the log is complete
		t.Fatal(err)
	}
	if strings.Contains(h.log.String(), "contacts") || strings.Contains(h.log.String(), "source_id") {
		t.Errorf("the log contains a payload:\n%s", &h.log)
	}
}

// TestTemporaryFailure checks that only messages that failed temporarily are delivered
// again.
func TestTemporaryFailure(t *testing.T) {
	h := newHarness(t, func(config *app.Config) { config.DynamoDBEndpoint = "http://127.0.0.1:1" }) // port 1 is closed
	good := event("e", `{"workspace_id":"acme","sync":`+good+`}`)
	if diff := cmp.Diff([]string{"message-0", "message-2"}, h.invoke(t, good, "<sync/>", good)); diff != "" {
		t.Error(diff)
	}
	if rejected := h.stack.Published(t); len(rejected) != 1 {
		t.Errorf("got %v", rejected)
	}
}

// TestEvents invokes the function with the sample events: a single event, and a batch
// of the queue with the same event and an invalid one.
func TestEvents(t *testing.T) {
	h := newHarness(t, func(*app.Config) {})
	for _, name := range []string{"create-requested.json", "queue.json", "create-requested.json"} {
		payload, err := os.ReadFile("../../events/" + name)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := h.function.Invoke(t.Context(), payload)
		if err != nil || len(lambdatest.Failed(t, answer)) > 0 {
			t.Errorf("%s: got %s, %v", name, answer, err)
		}
	}
	list, _, err := app.DynamoDB(h.config).List(t.Context(), "demo", "", 100)
	if err != nil || len(list) != 1 || list[0].StreamName != "contacts" {
		t.Errorf("got %v, %v", list, err)
	}
	if rejected := h.stack.Published(t); len(rejected) != 1 || rejected[0].Type != "sync.create.rejected.v1" {
		t.Errorf("got %v", rejected)
	}
}

// TestRunEvents invokes the function with the sample events for runs: that of a sync
// which is not in the table is rejected, as is the report of a run that does not exist.
func TestRunEvents(t *testing.T) {
	h := newHarness(t, func(*app.Config) {})
	invoke := func(name string, published ...string) {
		t.Helper()
		payload, err := os.ReadFile("../../events/" + name)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := h.function.Invoke(t.Context(), payload)
		if err != nil || len(lambdatest.Failed(t, answer)) > 0 {
			t.Errorf("%s: got %s, %v", name, answer, err)
		}
		var types []string
		for _, e := range h.stack.Published(t) {
			types = append(types, e.Type)
		}
		if diff := cmp.Diff(published, types); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	invoke("run-requested.json", "sync.run.rejected.v1")
	invoke("run-reported.json", "sync.run.rejected.v1")

	s := storagetest.NewSync(t)
	s.Workspace, s.ID, s.Status = "demo", "019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e", syncs.Pending
	store := app.DynamoDB(h.config)
	if err := store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	invoke("run-requested.json")
	if slot, open, err := eventfunc.Runs(store, runs.DefaultRetention().Runs).Store.Slot(t.Context(), s.Workspace, s.ID); err != nil || !open {
		t.Errorf("got %+v, %v, %v, want a run", slot, open, err)
	}
}

// TestTemporaryFailureOfEvent checks that the function fails if a single event fails
// temporarily.
func TestTemporaryFailureOfEvent(t *testing.T) {
	h := newHarness(t, func(config *app.Config) { config.DynamoDBEndpoint = "http://127.0.0.1:1" }) // port 1 is closed
	if answer, err := h.function.Invoke(t.Context(), []byte(event("e", `{"workspace_id":"acme","sync":`+good+`}`))); err == nil {
		t.Errorf("got %s", answer)
	}
}
