package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/cloud/intake"
	domain "syncplane/pkg/event"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/chaosproxy"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/iamtest"
	"syncplane/pkg/testkit/stacktest"
)

// runEvent returns a message of the queue as EventBridge delivers it.
func runEvent(kind domain.Kind, id, detail string) string {
	return fmt.Sprintf(`{"version":"0","id":%q,"detail-type":%q,"source":"x","detail":%s}`, id, kind, detail)
}

// dueEvent returns the sync.due of a run of s, as its schedule publishes it.
func dueEvent(s syncs.Sync, at time.Time) string {
	run := domain.OfRun(&s, at, false)
	return runEvent(domain.Due, run.ID, string(run.Append(nil, stacktest.Origin)))
}

// reportEvent returns the report of an executor that has a fence of run.
func reportEvent(id string, run runs.Run, fence int64, members string) string {
	return runEvent(domain.RunReported, id, fmt.Sprintf(`{"workspace_id":"acme","run_id":"%s/%s","sync_run":{"fence":%d,%s}}`,
		run.SyncID, run.Time.Format(time.RFC3339), fence, members))
}

// newSync stores a sync of the workspace acme that may run.
func newSync(t *testing.T, store *dynamo.Store) syncs.Sync {
	t.Helper()
	s := storagetest.NewSync(t)
	s.Workspace, s.Status = "acme", syncs.Pending
	if err := store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// claim claims the queued run of s.
func claim(t *testing.T, service *runs.Service, s syncs.Sync) runs.Run {
	t.Helper()
	slot, open, err := service.Store.Slot(t.Context(), s.Workspace, s.ID)
	if err != nil || !open {
		t.Fatalf("sync %s has no open run: %v", s.ID, err)
	}
	who := auth.Caller{Workspace: s.Workspace, Scopes: []string{string(auth.ExecuteRuns)}}
	run, _, err := service.Claim(t.Context(), who, runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: slot.Open}, runs.ClaimRequest{Executor: new("worker")})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestRuns checks the runs of a sync that is due, triggered by an event and reported
// by an event, with the built function over DynamoDB Local.
func TestRuns(t *testing.T) {
	var recorder *iamtest.Recorder
	var direct app.Config
	h := newHarness(t, func(config *app.Config) {
		direct, recorder = *config, iamtest.Start(t, config.DynamoDBEndpoint)
		config.DynamoDBEndpoint = recorder.URL
	})
	store := app.DynamoDB(direct)
	service := eventfunc.Runs(store, runs.DefaultRetention().Runs)
	s := newSync(t, store)
	deliver := func(bodies ...string) {
		t.Helper()
		if diff := cmp.Diff([]string{}, h.invoke(t, bodies...)); diff != "" {
			t.Error(diff)
		}
	}
	summary := func(want ...string) {
		t.Helper()
		all, _, err := service.Store.Runs(t.Context(), s.Workspace, s.ID, time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range all {
			got = append(got, fmt.Sprint(r.Status, " ", r.Trigger, " ", r.Type, " ", r.ErrorCode))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	at := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	deliver(dueEvent(s, at), dueEvent(s, at), dueEvent(s, at.Add(30*time.Second)))
	summary("skipped schedule general overlap", "queued schedule general ")
	run := claim(t, service, s)
	request := runEvent(domain.RunRequested, "r1", `{"workspace_id":"acme","sync_id":"`+s.ID+`"}`)
	deliver(request, request)
	summary("pending event general ", "skipped schedule general overlap", "in_progress schedule general ")
	report := reportEvent("r2", run, run.Fence(), `"status":"success","counters":{"successful_rows":5}`)
	deliver(report, report)
	summary("queued event general ", "skipped schedule general overlap", "success schedule general ")
	if s, err := store.Read(t.Context(), "acme", s.ID); err != nil || s.Status != syncs.Healthy {
		t.Errorf("got %s, %v", s.Status, err)
	}
	if got := h.stack.Published(t); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	deliver(reportEvent("r3", run, run.Fence()-1, `"status":"failed"`))
	rejected := h.stack.Published(t)
	if len(rejected) != 1 || rejected[0].Type != "sync.run.rejected.v1" || rejected[0].ID != "r3/rejected" || rejected[0].Data["request_id"] != "r3" {
		t.Errorf("got %v", rejected)
	}
	second := claim(t, service, s)
	deliver(reportEvent("r4", second, second.Fence(), `"status":"failed"`))
	summary("failed event general ", "skipped schedule general overlap", "success schedule general ")
	recorder.Check(t, "IntakeFunctionRole")
}

// TestRunsFail checks that due runs, requests and reports that failed temporarily
// are delivered again.
func TestRunsFail(t *testing.T) {
	h := newHarness(t, func(config *app.Config) { config.DynamoDBEndpoint = "http://127.0.0.1:1" }) // no service listens on port 1
	s := storagetest.NewSync(t)
	run := runs.Run{Key: runs.Key{SyncID: s.ID, Time: time.Unix(1795500000, 0)}}
	if diff := cmp.Diff([]string{"message-0", "message-1", "message-2"}, h.invoke(t, dueEvent(s, time.Now()),
		runEvent(domain.RunRequested, "r", `{"workspace_id":"acme","sync_id":"`+s.ID+`"}`), reportEvent("r", run, 1, `"status":"success"`))); diff != "" {
		t.Error(diff)
	}
}

// TestRunFaults checks, with random faults in the calls of the intake and with
// messages that are delivered again, that each sync has one run, that its report is
// effective and that each late report is rejected.
func TestRunFaults(t *testing.T) {
	const count = 12
	config := dynamotest.NewTable(t)
	stack := stacktest.New(t, config)
	broken := stack.Config
	broken.DynamoDBEndpoint = chaosproxy.Start(t, broken.DynamoDBEndpoint, 5, share).URL
	broken.EventBridgeEndpoint = chaosproxy.Start(t, broken.EventBridgeEndpoint, 6, share).URL
	store := app.DynamoDB(broken.Config)
	in := &intake.Intake{
		Syncs: app.Service(store), Runs: eventfunc.Runs(store, runs.DefaultRetention().Runs),
		Publisher: eventfunc.Publisher(broken.Common, broken.PublisherConfig), Now: time.Now, Log: app.Logger(io.Discard, ""),
	}
	truth := app.DynamoDB(config)
	service := eventfunc.Runs(truth, runs.DefaultRetention().Runs)
	at := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	var all []syncs.Sync
	queue := map[string]string{}
	for i := range count {
		s := newSync(t, truth)
		all = append(all, s)
		queue[s.ID+"/due"] = dueEvent(s, at)
		if i%2 == 0 {
			queue[s.ID+"/request"] = runEvent(domain.RunRequested, s.ID+"/request", `{"workspace_id":"acme","sync_id":"`+s.ID+`"}`)
		}
	}
	drain(t, in, queue)
	rejected := map[string]bool{}
	for _, s := range all {
		run := claim(t, service, s)
		queue[s.ID+"/report"] = reportEvent(s.ID+"/report", run, run.Fence(), `"status":"success"`)
		queue[s.ID+"/late"] = reportEvent(s.ID+"/late", run, run.Fence()-1, `"status":"failed"`)
		rejected[s.ID+"/late/rejected"] = true
	}
	drain(t, in, queue)
	for _, s := range all {
		list, _, err := service.Store.Runs(t.Context(), "acme", s.ID, time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		succeeded := 0
		for _, r := range list {
			if r.Status == runs.Success {
				succeeded++
			} else if r.Status != runs.Skipped {
				t.Errorf("a run of %s is %s", s.ID, r.Status)
			}
		}
		now, err := truth.Read(t.Context(), "acme", s.ID)
		if err != nil || now.Status != syncs.Healthy || succeeded != 1 {
			t.Errorf("sync %s is %s after %d runs, %v", s.ID, now.Status, succeeded, err)
		}
	}
	for _, e := range stack.Published(t) {
		if e.Type != "sync.run.rejected.v1" {
			t.Errorf("got %v", e)
		}
		delete(rejected, e.ID)
	}
	if len(rejected) > 0 {
		t.Errorf("%d rejections are missing: %v", len(rejected), rejected)
	}
}

// drain delivers the messages of a queue until none is left, some of them twice.
func drain(t *testing.T, in *intake.Intake, queue map[string]string) {
	t.Helper()
	random := rand.New(rand.NewPCG(7, 7))
	again := map[string]bool{}
	for try := 0; len(queue) > 0; try++ {
		if try == maxBatches {
			t.Fatalf("%d messages are left after %d batches", len(queue), maxBatches)
		}
		var batch events.SQSEvent
		for id, body := range queue { // in no order
			if len(batch.Records) < 10 {
				batch.Records = append(batch.Records, events.SQSMessage{MessageId: id, Body: body})
			}
		}
		text, err := json.Marshal(batch)
		if err != nil {
			t.Fatal(err)
		}
		response, err := in.Invoke(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		failed := map[string]bool{}
		for _, f := range response.BatchItemFailures {
			failed[f.ItemIdentifier] = true
		}
		for _, m := range batch.Records {
			if failed[m.MessageId] {
				continue
			}
			delete(queue, m.MessageId)
			if random.IntN(4) == 0 && !again[m.MessageId] { // SQS may deliver a message twice
				again[m.MessageId] = true
				queue[m.MessageId] = m.Body
			}
		}
	}
}
