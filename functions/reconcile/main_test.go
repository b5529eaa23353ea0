package main_test

import (
	"encoding/json"
	"io"
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
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/stacktest"
	"syncplane/pkg/testkit/tabletest"
)

// TestReconcile has schedules drift from the table in every way, and the
// real bootstrap put them right.
func TestReconcile(t *testing.T) {
	config := tabletest.Table(t)
	store := app.DynamoDB(config)
	stack := stacktest.New(t, config)
	table := eventfunc.Timetable(stack.Config, eventfunc.Credentials(stack.Config))
	create := func(cron string) syncs.Sync {
		t.Helper()
		s := storagetest.NewSync(t)
		s.Workspace, s.CronExpression = "acme", cron
		if err := store.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if _, err := table.Reconcile(t.Context(), s.Workspace, s.ID); err != nil {
			t.Fatal(err)
		}
		return s
	}
	_, lost, changed, half, gone := create(""), create("0 6 * * *"), create(""), create("0 0 13 * FRI"), create("* * * * *")
	want := stack.All(t)
	delete(want, "sync-"+gone.ID)

	// The drift: a schedule that is lost, one that somebody changed, half of
	// one, that of a sync that is gone, and one of no sync at all.
	remove := func(name string) {
		t.Helper()
		if _, err := stack.Schedules.DeleteSchedule(t.Context(), &scheduler.DeleteScheduleInput{Name: &name, GroupName: &stack.Config.ScheduleGroup}); err != nil {
			t.Fatal(err)
		}
	}
	remove("sync-" + lost.ID)
	remove("sync-" + half.ID)
	name := "sync-" + changed.ID
	there, err := stack.Schedules.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: &name, GroupName: &stack.Config.ScheduleGroup})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stack.Schedules.UpdateSchedule(t.Context(), &scheduler.UpdateScheduleInput{
		Name: &name, GroupName: &stack.Config.ScheduleGroup, ScheduleExpression: aws.String("rate(7 minutes)"),
		FlexibleTimeWindow: there.FlexibleTimeWindow, Target: there.Target,
	}); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	there.Target.Input = aws.String("by hand")
	if _, err := stack.Schedules.CreateSchedule(t.Context(), &scheduler.CreateScheduleInput{
		Name: aws.String("sync-" + uuid.NewString()), GroupName: &stack.Config.ScheduleGroup, ScheduleExpression: aws.String("rate(7 minutes)"),
		FlexibleTimeWindow: there.FlexibleTimeWindow, Target: there.Target,
	}); err != nil {
		t.Fatal(err)
	}

	dry, err := table.Repair(t.Context(), store, true, func(string) {})
	found := reconciler.Report{Syncs: 4, Repaired: 3, Removed: 2}
	if diff := cmp.Diff(found, dry); diff != "" || err != nil {
		t.Errorf("a dry run: %v %s", err, diff)
	}
	function := lambdatest.Start(t, stack.Env(), io.Discard)
	for _, want := range []reconciler.Report{found, {Syncs: 4}} { // the second time there is nothing to do
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
