package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/iamtest"
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/stacktest"
)

func storeAt(store *dynamo.Store, now func() time.Time) runs.Store {
	return dynamo.Runs{Store: store, Now: now}
}

// invokeWatch gives messages of the watch queue to the function, and returns what it
// did not finish.
func invokeWatch(t *testing.T, function *lambdaruntime.Function, bodies []string) []string {
	t.Helper()
	var records []map[string]string
	for i, body := range bodies {
		records = append(records, map[string]string{"messageId": fmt.Sprint("message-", i), "body": body, "eventSource": "aws:sqs"})
	}
	payload, err := json.Marshal(map[string]any{"Records": records})
	check(t, err)
	answer, err := function.Invoke(t.Context(), payload)
	check(t, err)
	return lambdatest.Failed(t, answer)
}

// TestRuns follows the run of an executor that is lost, and of a sync that is paused:
// written to the table, read off its stream, given to the real bootstrap, watched.
func TestRuns(t *testing.T) {
	tb := newTable(t)
	recorder := iamtest.Start(t, tb.config.DynamoDBEndpoint)
	recorded := tb.config
	recorded.DynamoDBEndpoint = recorder.URL
	stack := stacktest.New(t, recorded)
	function := lambdatest.Start(t, stack.Env(), io.Discard)
	ctx := t.Context()
	s := newSync(t, func(s *syncs.Sync) { s.CronExpression, s.Status = "0 6 * * *", syncs.Pending })
	check(t, tb.store.Create(ctx, s))
	// relay gives what is new to the function, and returns the events of runs.
	relay := func() (types []string, published []eventtest.Event) {
		t.Helper()
		if failed := invoke(t, function, tb.records(t)); len(failed) > 0 {
			t.Fatalf("failed %v", failed)
		}
		for _, e := range stack.Published(t) {
			if _, isRun := e.Data["attributes"].(map[string]any)["scheduled_time"]; isRun {
				types, published = append(types, e.Type), append(published, e)
			}
		}
		return types, published
	}
	want := func(types []string, all ...string) {
		t.Helper()
		if diff := cmp.Diff(all, types); diff != "" {
			t.Error(diff)
		}
	}
	watched := func(n int) {
		t.Helper()
		messages := stack.Watched(t)
		if len(messages) != n {
			t.Errorf("got %d messages", len(messages))
		}
		// Delivered twice, and after a message that cannot be read.
		if diff := cmp.Diff([]string{"message-0"}, invokeWatch(t, function, slices.Concat([]string{"{"}, messages, messages))); diff != "" {
			t.Error(diff)
		}
	}

	// Three executors claim the run and are lost, since ten minutes ago.
	start := time.Now().UTC().Truncate(time.Second).Add(-10 * time.Minute)
	key := runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: start}
	_, _, err := tb.service(start).Due(ctx, key, false)
	check(t, err)
	types, published := relay()
	want(types, "sync.run.queued.v1")
	if e := published[0]; e.ID != s.ID+"/"+start.Format(time.RFC3339)+"/queued" || e.Subject != s.ID || e.Data["sync"].(map[string]any)["id"] != s.ID { //nolint:forcetypeassert // its schema was checked
		t.Errorf("got %+v", e)
	}
	for attempt := range 3 {
		at := start.Add(time.Duration(2*attempt) * time.Minute)
		_, _, err := tb.service(at).Claim(ctx, caller(), key, runs.ClaimRequest{Executor: new(fmt.Sprint("worker-", attempt)), LeaseSeconds: new(int64(30))})
		check(t, err)
		types, _ = relay()
		want(types, "sync.run.started.v1")
		watched(1)
		types, published = relay()
		if attempt < 2 {
			want(types, "sync.run.queued.v1")
			if id := s.ID + "/" + start.Format(time.RFC3339) + fmt.Sprint("/queued-", attempt+2); published[0].ID != id {
				t.Errorf("got %s, want %s", published[0].ID, id)
			}
		}
	}
	want(types, "sync.run.failed.v1")
	run, err := tb.service(time.Now()).Store.Run(ctx, key)
	if err != nil || run.Status != runs.Failed || run.ErrorCode != runs.CodeLeaseExpired {
		t.Errorf("got %s %s, %v", run.Status, run.ErrorCode, err)
	}
	if s, err = tb.store.Read(ctx, s.Workspace, s.ID); err != nil || s.Status != syncs.Failed {
		t.Errorf("got %s, %v", s.Status, err)
	}
	watched(0) // only the first queued run had a deadline that is ahead

	// A pause cancels what has not started, and a delete requests the executor to stop.
	_, err = tb.service(time.Now()).Trigger(ctx, caller(), runs.TriggerRequest{SyncID: s.ID, Type: runs.General, Trigger: runs.ByAPI})
	check(t, err)
	s.Version, s.Status = s.Version+1, syncs.Disabled
	check(t, tb.store.Replace(ctx, s))
	types, _ = relay()
	want(types, "sync.run.queued.v1")
	types, _ = relay()
	want(types, "sync.run.canceled.v1")
	s.Version, s.Status = s.Version+1, syncs.Pending
	check(t, tb.store.Replace(ctx, s))
	out, err := tb.service(time.Now()).Trigger(ctx, caller(), runs.TriggerRequest{SyncID: s.ID, Type: runs.General, Trigger: runs.ByAPI})
	check(t, err)
	_, _, err = tb.service(time.Now()).Claim(ctx, caller(), out.Run.Key, runs.ClaimRequest{Executor: new("worker")})
	check(t, err)
	check(t, tb.store.Delete(ctx, s))
	types, _ = relay()
	want(types, "sync.run.queued.v1", "sync.run.started.v1")
	types, _ = relay()
	want(types, "sync.run.cancel_requested.v1")
	recorder.Check(t, "RelayFunctionRole")
}
