package main_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/intake"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/stacktest"
)

// TestLife follows a run through the functions of a stack: its schedule publishes
// sync.due, the intake stores the run, the relay publishes it, an executor claims it
// by what the event holds and reports it by an event, and the sync becomes healthy.
func TestLife(t *testing.T) {
	tb := newTable(t)
	stack := stacktest.New(t, tb.config)
	function := lambdatest.Start(t, stack.Env(), io.Discard)
	in := &intake.Intake{
		Syncs: app.Service(tb.store), Runs: eventfunc.Runs(tb.store, runs.DefaultRetention().Runs),
		Publisher: eventfunc.Publisher(stack.Config.Common, stack.Config.PublisherConfig), Now: time.Now, Log: app.Logger(io.Discard, ""),
	}
	// deliver delivers an event by the intake's queue.
	deliver := func(kind event.Kind, detail string) {
		t.Helper()
		body := fmt.Sprintf(`{"version":"0","id":"e","detail-type":%q,"source":"x","detail":%s}`, kind, detail)
		if r := in.Handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{{MessageId: "m", Body: body}}}); len(r.BatchItemFailures) > 0 {
			t.Fatalf("%s failed", kind)
		}
	}
	// published relays what is new in the table, and returns the events.
	published := func(want ...string) []eventtest.Event {
		t.Helper()
		if failed := invoke(t, function, tb.records(t)); len(failed) > 0 {
			t.Fatalf("failed %v", failed)
		}
		all := stack.Published(t)
		var types []string
		for _, e := range all {
			types = append(types, e.Type)
		}
		if diff := cmp.Diff(want, types); diff != "" {
			t.Error(diff)
		}
		return all
	}

	s := newSync(t, func(s *syncs.Sync) { s.CronExpression, s.Status = "* * * * *", syncs.Pending })
	check(t, tb.store.Create(t.Context(), s))
	published("sync.created.v1")
	at := time.Now().UTC().Truncate(time.Minute)
	due := event.OfRun(&s, at, false)
	deliver(event.Due, string(due.Append(nil, stacktest.Origin)))
	queued := published("sync.run.queued.v1")[0]
	if queued.Data["id"] != due.ID {
		t.Errorf("the run is %v, and the one that was due %s", queued.Data["id"], due.ID)
	}
	run, _, err := tb.service(time.Now()).Claim(t.Context(), caller(), runs.Key{Workspace: queued.Workspace, SyncID: queued.Subject, Time: at}, runs.ClaimRequest{Executor: new("worker")})
	check(t, err)
	deliver(event.RunReported, fmt.Sprintf(`{"workspace_id":"acme","run_id":%q,"sync_run":{"fence":%d,"status":"success"}}`, queued.Data["id"], run.Fence()))
	if s, err := tb.store.Read(t.Context(), s.Workspace, s.ID); err != nil || s.Status != syncs.Healthy {
		t.Errorf("the sync is %s, %v", s.Status, err)
	}
	types := map[string]bool{}
	if failed := invoke(t, function, tb.records(t)); len(failed) > 0 {
		t.Fatalf("failed %v", failed)
	}
	for _, e := range stack.Published(t) {
		types[e.Type] = true
	}
	if diff := cmp.Diff(map[string]bool{"sync.run.started.v1": true, "sync.run.succeeded.v1": true, "sync.updated.v1": true}, types); diff != "" {
		t.Error(diff)
	}
}
