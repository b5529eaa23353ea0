package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/stacktest"
)

func TestMain(m *testing.M) { os.Exit(lambdatest.Run(m)) }

// TestReconcile checks that the built function repairs every kind of drift between
// the table and the schedules.
func TestReconcile(t *testing.T) {
	config := dynamotest.NewTable(t)
	store := app.DynamoDB(config)
	stack := stacktest.New(t, config)
	schedules := eventfunc.Reconciler(stack.Config.Common, stack.Config.ReconcilerConfig, app.Credentials(stack.Config.Config))
	create := func(cron string) syncs.Sync {
		t.Helper()
		s := storagetest.NewSync(t)
		s.Workspace, s.CronExpression = "acme", cron
		if err := store.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if _, err := schedules.Reconcile(t.Context(), s.Workspace, s.ID); err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, missing, changed, half, removed := create(""), create("0 6 * * *"), create(""), create("0 0 13 * FRI"), create("* * * * *")
	want := stack.All(t)
	delete(want, "sync-"+removed.ID)

	// The drift: a missing schedule, a changed one, a pair that lacks its first,
	// the schedule of a removed sync, and one of an unknown ID.
	remove := func(name string) {
		t.Helper()
		if _, err := stack.Schedules.DeleteSchedule(t.Context(), &scheduler.DeleteScheduleInput{Name: &name, GroupName: &stack.Config.ScheduleGroup}); err != nil {
			t.Fatal(err)
		}
	}
	remove("sync-" + missing.ID)
	remove("sync-" + half.ID)
	name := "sync-" + changed.ID
	current, err := stack.Schedules.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: &name, GroupName: &stack.Config.ScheduleGroup})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Schedules.UpdateSchedule(t.Context(), &scheduler.UpdateScheduleInput{
		Name: &name, GroupName: &stack.Config.ScheduleGroup, ScheduleExpression: aws.String("rate(7 minutes)"),
		FlexibleTimeWindow: current.FlexibleTimeWindow, Target: current.Target,
	}); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), removed); err != nil {
		t.Fatal(err)
	}
	current.Target.Input = aws.String("by hand")
	if _, err := stack.Schedules.CreateSchedule(t.Context(), &scheduler.CreateScheduleInput{
		Name: aws.String("sync-" + uuid.NewString()), GroupName: &stack.Config.ScheduleGroup, ScheduleExpression: aws.String("rate(7 minutes)"),
		FlexibleTimeWindow: current.FlexibleTimeWindow, Target: current.Target,
	}); err != nil {
		t.Fatal(err)
	}

	drift, err := schedules.FindDrift(t.Context(), store, func(string) {})
	found := reconciler.Report{Syncs: 4, Repaired: 3, Removed: 2}
	if diff := cmp.Diff(found, drift); diff != "" || err != nil {
		t.Errorf("FindDrift: %v %s", err, diff)
	}
	var log bytes.Buffer
	function := lambdatest.Start(t, stack.Env(), &log)
	found.Ended = true
	for _, want := range []reconciler.Report{found, {Syncs: 4, Ended: true}} { // the second invocation finds nothing
		answer, err := function.Invoke(t.Context(), []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		var got reconciler.Report
		if err := json.Unmarshal(answer, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	answer, err := function.Invoke(t.Context(), []byte(`{"resume": true}`))
	if want := `{"syncs":0,"repaired":0,"removed":0,"expired":0}`; string(answer) != want || err != nil {
		t.Errorf("with no round to continue with: got %s, %v", answer, err)
	}
	if err := function.Close(); err != nil { // the log is complete
		t.Fatal(err)
	}
	checkRounds(t, log.Bytes(), []bool{true, true, false})
	got := stack.All(t)
	for name, s := range got {
		w := want[name]
		if s.Expression != w.Expression || s.State != w.State || s.Start.IsZero() != w.Start.IsZero() || s.Event.ID != w.Event.ID {
			t.Errorf("%s: got %+v, want %+v", name, s, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %d schedules, want %d", len(got), len(want))
	}
}

// checkRounds checks that the log has what the metric of rounds in template.yaml counts,
// for each invocation whether a round has ended.
func checkRounds(t *testing.T, log []byte, want []bool) {
	t.Helper()
	var got []bool
	for line := range bytes.Lines(log) {
		var entry struct {
			Message string `json:"message"`
			Ended   bool   `json:"ended"`
		}
		if json.Unmarshal(line, &entry) == nil && entry.Message == "reconcile" {
			got = append(got, entry.Ended)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%s", diff, log)
	}
	template, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if pattern := `FilterPattern: '{ ($.message = "reconcile") && ($.ended IS TRUE) }'`; !bytes.Contains(template, []byte(pattern)) {
		t.Errorf("template.yaml has no %s", pattern)
	}
}
