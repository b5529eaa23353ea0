package reconciler_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/awsfake"
)

// table holds syncs by ID, and the IDs of unreadable rows.
type table struct {
	mu         sync.Mutex
	rows       map[string]syncs.Sync
	unreadable []string
	fails      error // of each read
}

func (tb *table) put(s syncs.Sync) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.rows[s.ID] = s
}

func (tb *table) remove(s syncs.Sync) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	delete(tb.rows, s.ID)
}

func (tb *table) Read(_ context.Context, workspace, id string) (syncs.Sync, error) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	s, ok := tb.rows[id]
	switch {
	case tb.fails != nil:
		return syncs.Sync{}, tb.fails
	case slices.Contains(tb.unreadable, id):
		return syncs.Sync{}, fmt.Errorf("a row: %w", syncs.ErrUnreadable)
	case !ok || s.Workspace != workspace:
		return syncs.Sync{}, syncs.ErrNotFound
	}
	return s, nil
}

func (tb *table) All(context.Context) iter.Seq2[syncs.Sync, error] {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	all := slices.Collect(maps.Values(tb.rows))
	return func(yield func(syncs.Sync, error) bool) {
		for _, s := range all {
			if !yield(s, nil) {
				return
			}
		}
		if len(tb.unreadable) > 0 {
			yield(syncs.Sync{}, fmt.Errorf("a row: %w", syncs.ErrUnreadable))
		}
	}
}

const group = "group"

// harness is a reconciler over a table and a Scheduler in memory.
type harness struct {
	*reconciler.Reconciler
	table  *table
	server *awsfake.Server
}

func newHarness() *harness {
	config := eventfunc.Common{
		Config: app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "syncs"},
		APIURL: "https://api.example.com",
	}
	schedules := eventfunc.ReconcilerConfig{
		SchedulerEndpoint: "http://scheduler.invalid", ScheduleGroup: group,
		EventBusARN: "bus", ScheduleRoleARN: "role", ScheduleFailuresARN: "queue",
	}
	h := &harness{
		Reconciler: eventfunc.Reconciler(config, schedules, app.Credentials(config.Config)),
		table:      &table{rows: map[string]syncs.Sync{}}, server: &awsfake.Server{},
	}
	options := h.Client.Options()
	options.HTTPClient, options.Retryer, options.Credentials = h.server, aws.NopRetryer{}, aws.AnonymousCredentials{}
	h.Client, h.Syncs = scheduler.New(options), h.table
	h.Now = func() time.Time { return time.Now().UTC() }
	return h
}

// add stores a sync with this cron expression, or with an interval of 30 minutes
// for "".
func (h *harness) add(t *testing.T, cron string) syncs.Sync {
	t.Helper()
	s := storagetest.NewSync(t)
	s.Workspace, s.CronExpression = "acme", cron
	if cron == "" {
		s.SyncInterval = 30
	}
	h.table.put(s)
	return s
}

func (h *harness) reconcile(t *testing.T, s syncs.Sync) {
	t.Helper()
	if _, err := h.Reconcile(t.Context(), s.Workspace, s.ID); err != nil {
		t.Fatal(err)
	}
}

// states returns the group's schedules as "name: state expression". The IDs of
// these syncs are replaced by the letters a, b and so on.
func (h *harness) states(t *testing.T, of ...syncs.Sync) []string {
	t.Helper()
	var all []string
	for _, name := range h.server.Schedules(group) {
		there, err := h.Client.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: &name, GroupName: aws.String(group)})
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range of {
			name = strings.Replace(name, s.ID, string(rune('a'+i)), 1)
		}
		all = append(all, fmt.Sprintf("%s: %s %s", name, there.State, *there.ScheduleExpression))
	}
	slices.Sort(all)
	return all
}

// TestReconcile checks the schedules of a sync after the sync or its schedules were
// changed or removed.
func TestReconcile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cron string
		edit func(*testing.T, *harness, syncs.Sync) // after the schedules of cron were created
		want []string
		idle bool // Reconcile finds nothing to do
	}{
		"nothing changed":       {"0 6 * * 1-5", nil, []string{"sync-a: ENABLED cron(0 6 ? * 2-6 *)"}, true},
		"an interval stays":     {"", nil, []string{"sync-a: ENABLED rate(30 minutes)"}, true},
		"two expressions stay":  {"0 0 13 * FRI", nil, []string{"sync-a-2: ENABLED cron(0 0 ? * 6 *)", "sync-a: ENABLED cron(0 0 13 * ? *)"}, true},
		"only the name changed": {"0 6 * * *", change(func(s *syncs.Sync) { s.StreamName = "other" }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, true},
		"another schedule":      {"0 6 * * *", change(func(s *syncs.Sync) { s.CronExpression = "5 4 * * *" }), []string{"sync-a: ENABLED cron(5 4 * * ? *)"}, false},
		"one schedule more":     {"0 0 13 * *", change(func(s *syncs.Sync) { s.CronExpression = "0 0 13 * FRI" }), []string{"sync-a-2: ENABLED cron(0 0 ? * 6 *)", "sync-a: ENABLED cron(0 0 13 * ? *)"}, false},
		"one schedule less":     {"0 0 13 * FRI", change(func(s *syncs.Sync) { s.CronExpression = "0 0 13 * *" }), []string{"sync-a: ENABLED cron(0 0 13 * ? *)"}, false},
		"an interval instead":   {"0 6 * * *", change(func(s *syncs.Sync) { s.CronExpression, s.SyncInterval = "", 45 }), []string{"sync-a: ENABLED rate(45 minutes)"}, false},
		"a pause":               {"0 6 * * *", change(func(s *syncs.Sync) { s.Status = syncs.Disabled }), []string{"sync-a: DISABLED cron(0 6 * * ? *)"}, false},
		"the sync is removed":   {"0 0 13 * FRI", func(_ *testing.T, h *harness, s syncs.Sync) { h.table.remove(s) }, nil, false},
		"in another workspace":  {"0 6 * * *", change(func(s *syncs.Sync) { s.Workspace = "other" }), nil, false},
		"the schedule was lost": {"0 6 * * *", func(_ *testing.T, h *harness, _ syncs.Sync) { h.server.Clear() }, []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"another target":        {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.Arn = aws.String("elsewhere") }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"another role":          {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.RoleArn = aws.String("other") }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"another input":         {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.Input = aws.String("by hand") }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"another detail type":   {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.EventBridgeParameters.DetailType = aws.String("x") }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"no parameters":         {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.EventBridgeParameters = nil }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"no queue of failures":  {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.DeadLetterConfig = nil }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"another queue":         {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.DeadLetterConfig.Arn = aws.String("other") }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"no retries":            {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.Target.RetryPolicy.MaximumRetryAttempts = aws.Int32(0) }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"another age": {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) {
			in.Target.RetryPolicy.MaximumEventAgeInSeconds = aws.Int32(60)
		}), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"another time zone": {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.ScheduleExpressionTimezone = aws.String("Europe/Berlin") }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"a window": {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) {
			in.FlexibleTimeWindow.Mode = types.FlexibleTimeWindowModeFlexible
		}), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"an end":                 {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.EndDate = aws.Time(time.Now().Add(time.Hour)) }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"a start of cron":        {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.StartDate = aws.Time(time.Now().Add(time.Hour)) }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"stopped by hand":        {"0 6 * * *", drift(func(in *scheduler.UpdateScheduleInput) { in.State = types.ScheduleStateDisabled }), []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"a rate out of step":     {"", drift(func(in *scheduler.UpdateScheduleInput) { in.StartDate = aws.Time(in.StartDate.Add(7 * time.Minute)) }), []string{"sync-a: ENABLED rate(30 minutes)"}, false},
		"a rate without a start": {"", drift(func(in *scheduler.UpdateScheduleInput) { in.StartDate = nil }), []string{"sync-a: ENABLED rate(30 minutes)"}, false},
		"a rate of a later run":  {"", drift(func(in *scheduler.UpdateScheduleInput) { in.StartDate = aws.Time(in.StartDate.Add(90 * time.Minute)) }), []string{"sync-a: ENABLED rate(30 minutes)"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness()
			s := h.add(t, test.cron)
			repaired, err := h.Reconcile(t.Context(), s.Workspace, s.ID)
			if err != nil || !repaired {
				t.Fatalf("the first time: got %v, %v", repaired, err)
			}
			if test.edit != nil {
				test.edit(t, h, s)
			}
			repaired, err = h.Reconcile(t.Context(), s.Workspace, s.ID)
			if err != nil || repaired == test.idle {
				t.Errorf("got %v, %v", repaired, err)
			}
			if diff := cmp.Diff(test.want, h.states(t, s)); diff != "" {
				t.Error(diff)
			}
			if repaired, err = h.Reconcile(t.Context(), s.Workspace, s.ID); err != nil || repaired {
				t.Errorf("the third time: got %v, %v", repaired, err)
			}
		})
	}
}

// change returns an edit that stores the sync's next version.
func change(edit func(*syncs.Sync)) func(*testing.T, *harness, syncs.Sync) {
	return func(_ *testing.T, h *harness, s syncs.Sync) {
		edit(&s)
		s.Version++
		h.table.put(s)
	}
}

// drift returns an edit that changes the schedule in Scheduler.
func drift(edit func(*scheduler.UpdateScheduleInput)) func(*testing.T, *harness, syncs.Sync) {
	return func(t *testing.T, h *harness, s syncs.Sync) {
		t.Helper()
		name := "sync-" + s.ID
		there, err := h.Client.GetSchedule(t.Context(), &scheduler.GetScheduleInput{Name: &name, GroupName: aws.String(group)})
		if err != nil {
			t.Fatal(err)
		}
		in := &scheduler.UpdateScheduleInput{
			Name: &name, GroupName: aws.String(group), Description: there.Description, State: there.State, StartDate: there.StartDate,
			ScheduleExpression: there.ScheduleExpression, ScheduleExpressionTimezone: there.ScheduleExpressionTimezone,
			FlexibleTimeWindow: there.FlexibleTimeWindow, Target: there.Target,
		}
		edit(in)
		if _, err := h.Client.UpdateSchedule(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReconcileRaces checks the schedules after another writer acted between two
// calls.
func TestReconcileRaces(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cron      string
		operation string // the call before which other acts, the first time
		other     func(*testing.T, *harness, syncs.Sync)
		want      []string
		repaired  bool
	}{
		"another caller creates it first": {"0 6 * * *", "CreateSchedule", func(t *testing.T, h *harness, s syncs.Sync) {
			t.Helper()
			h.reconcile(t, s)
		}, []string{"sync-a: ENABLED cron(0 6 * * ? *)"}, false},
		"the sync is changed": {"0 6 * * *", "CreateSchedule", change(func(s *syncs.Sync) { s.CronExpression = "5 4 * * *" }), []string{"sync-a: ENABLED cron(5 4 * * ? *)"}, true},
		"the sync is paused":  {"0 6 * * *", "CreateSchedule", change(func(s *syncs.Sync) { s.Status = syncs.Disabled }), []string{"sync-a: DISABLED cron(0 6 * * ? *)"}, true},
		"the sync is removed": {"0 6 * * *", "CreateSchedule", func(_ *testing.T, h *harness, s syncs.Sync) { h.table.remove(s) }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness()
			s := h.add(t, test.cron)
			var once sync.Once
			h.server.Refuse = func(c awsfake.Call) *awsfake.Error {
				if c.Operation == test.operation {
					once.Do(func() {
						h.server.Refuse = nil
						test.other(t, h, s)
					})
				}
				return nil
			}
			repaired, err := h.Reconcile(t.Context(), s.Workspace, s.ID)
			if err != nil || repaired != test.repaired {
				t.Errorf("got %v, %v", repaired, err)
			}
			if diff := cmp.Diff(test.want, h.states(t, s)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReconcileFails checks that a failed call is an error, that nothing is reported
// as repaired, and that the next call repairs the schedules.
func TestReconcileFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		operation string
		code      string
		want      string // in the error
	}{
		"a create":            {"CreateSchedule", "AccessDeniedException", "AccessDeniedException"},
		"an update":           {"UpdateSchedule", "ThrottlingException", "ThrottlingException"},
		"a delete":            {"DeleteSchedule", "InternalServerException", "InternalServerException"},
		"a read":              {"GetSchedule", "AccessDeniedException", "AccessDeniedException"},
		"permanent conflicts": {"CreateSchedule", "ConflictException", "changed it 8 times"},
		"gone at each update": {"UpdateSchedule", "ResourceNotFoundException", "changed it 8 times"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness()
			s := h.add(t, "0 0 13 * FRI")
			if test.operation != "CreateSchedule" {
				h.reconcile(t, s)
				change(func(s *syncs.Sync) { s.CronExpression = "5 4 * * *" })(t, h, s)
			}
			h.server.Refuse = func(c awsfake.Call) *awsfake.Error {
				if c.Operation == test.operation {
					return &awsfake.Error{Code: test.code}
				}
				return nil
			}
			repaired, err := h.Reconcile(t.Context(), s.Workspace, s.ID)
			if repaired || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v", repaired, err)
			}
			h.server.Refuse = nil
			h.reconcile(t, s)
			if repaired, err := h.Reconcile(t.Context(), s.Workspace, s.ID); repaired || err != nil {
				t.Errorf("after the repair: got %v, %v", repaired, err)
			}
		})
	}
	h := newHarness()
	s := h.add(t, "")
	h.table.fails = errors.New("no table")
	if repaired, err := h.Reconcile(t.Context(), s.Workspace, s.ID); repaired || !errors.Is(err, h.table.fails) {
		t.Errorf("got %v, %v", repaired, err)
	}
}

// drifted returns a table whose schedules differ in each way: missing, changed,
// missing the second of two, of a removed sync, of an unknown ID; and one sync
// whose schedule is right. want holds the states after a repair.
func drifted(t *testing.T) (h *harness, want []string) {
	t.Helper()
	h = newHarness()
	right, lost, changed, half, gone := h.add(t, ""), h.add(t, "0 6 * * *"), h.add(t, "1 6 * * *"), h.add(t, "0 0 13 * FRI"), h.add(t, "* * * * *")
	for _, s := range []syncs.Sync{right, changed, half, gone} {
		h.reconcile(t, s)
	}
	want = []string{
		"sync-" + right.ID + ": ENABLED rate(30 minutes)", "sync-" + lost.ID + ": ENABLED cron(0 6 * * ? *)",
		"sync-" + changed.ID + ": ENABLED cron(1 6 * * ? *)",
		"sync-" + half.ID + ": ENABLED cron(0 0 13 * ? *)", "sync-" + half.ID + "-2: ENABLED cron(0 0 ? * 6 *)",
	}
	slices.Sort(want)
	drift(func(in *scheduler.UpdateScheduleInput) { in.ScheduleExpression = aws.String("rate(7 minutes)") })(t, h, changed)
	if _, err := h.Client.DeleteSchedule(t.Context(), &scheduler.DeleteScheduleInput{Name: aws.String("sync-" + half.ID + "-2"), GroupName: aws.String(group)}); err != nil {
		t.Fatal(err)
	}
	h.table.remove(gone)
	if _, err := h.Client.CreateSchedule(t.Context(), &scheduler.CreateScheduleInput{
		Name: aws.String("sync-00000000-0000-7000-8000-000000000000"), GroupName: aws.String(group), ScheduleExpression: aws.String("rate(7 minutes)"),
		FlexibleTimeWindow: &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff},
		Target:             &types.Target{Arn: aws.String("bus"), RoleArn: aws.String("role"), Input: aws.String("by hand")},
	}); err != nil {
		t.Fatal(err)
	}
	return h, want
}

// TestReconcileAll checks that ReconcileAll and FindDrift find every drift, that
// FindDrift changes nothing, and that neither finds anything after the repair.
func TestReconcileAll(t *testing.T) {
	t.Parallel()
	h, want := drifted(t)
	before := h.states(t)
	found := reconciler.Report{Syncs: 4, Repaired: 3, Removed: 2}
	type handle func(context.Context, reconciler.Table, func(string)) (reconciler.Report, error)
	for _, step := range []struct {
		handle handle
		report reconciler.Report
		states []string
	}{{h.FindDrift, found, before}, {h.ReconcileAll, found, want}, {h.ReconcileAll, reconciler.Report{Syncs: 4}, want}, {h.FindDrift, reconciler.Report{Syncs: 4}, want}} {
		reported := 0
		report, err := step.handle(t.Context(), h.table, func(string) { reported++ })
		if diff := cmp.Diff(step.report, report); diff != "" || err != nil || reported != report.Repaired+report.Removed {
			t.Errorf("%v, %d reported: %s", err, reported, diff)
		}
		if diff := cmp.Diff(step.states, h.states(t)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestReconcileAllFails checks that failed calls are not counted as repairs, and
// that a second ReconcileAll repairs the rest.
func TestReconcileAllFails(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"CreateSchedule", "UpdateSchedule", "DeleteSchedule", "GetSchedule", "ListSchedules"} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			h, want := drifted(t)
			h.server.Refuse = func(c awsfake.Call) *awsfake.Error {
				if c.Operation == operation {
					return &awsfake.Error{Status: 500, Code: "InternalServerException"}
				}
				return nil
			}
			var reported []string
			report, err := h.ReconcileAll(t.Context(), h.table, func(id string) { reported = append(reported, id) })
			if err == nil || !strings.Contains(err.Error(), "InternalServerException") {
				t.Errorf("got %v", err)
			}
			h.server.Refuse = nil
			rest, err := h.ReconcileAll(t.Context(), h.table, func(string) {})
			if err != nil || report.Repaired+rest.Repaired != 3 || report.Removed+rest.Removed != 2 || len(reported) != report.Repaired+report.Removed {
				t.Errorf("%v: %+v with %v, and then %+v", err, report, reported, rest)
			}
			if diff := cmp.Diff(want, h.states(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestReconcileAllRefused checks that a sync whose schedule Scheduler refuses does not
// stop the others.
func TestReconcileAllRefused(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"ValidationException", "ServiceQuotaExceededException"} {
		h := newHarness()
		all := []syncs.Sync{h.add(t, "0 1 * * *"), h.add(t, "0 2 * * *"), h.add(t, "0 3 * * *")}
		h.server.Refuse = func(c awsfake.Call) *awsfake.Error {
			if c.Operation == "CreateSchedule" && strings.Contains(c.Schedule, all[1].ID) {
				return &awsfake.Error{Code: code}
			}
			return nil
		}
		report, err := h.ReconcileAll(t.Context(), h.table, func(string) {})
		if err == nil || !strings.Contains(err.Error(), all[1].ID) || !strings.Contains(err.Error(), code) {
			t.Errorf("got %v", err)
		}
		if diff := cmp.Diff(reconciler.Report{Syncs: 3, Repaired: 2}, report); diff != "" {
			t.Errorf("%s: %s", code, diff)
		}
	}
}

// TestReconcileAllUnreadable checks that a sync that is unreadable, or whose schedule
// is, keeps its schedules and does not stop the others.
func TestReconcileAllUnreadable(t *testing.T) {
	t.Parallel()
	h := newHarness()
	invalid, unreadable, gone := h.add(t, "0 6 * * *"), h.add(t, "0 7 * * *"), h.add(t, "0 8 * * *")
	for _, s := range []syncs.Sync{invalid, unreadable, gone} {
		h.reconcile(t, s)
	}
	first, second := h.add(t, "0 1 * * *"), h.add(t, "0 2 * * *")
	change(func(s *syncs.Sync) { s.CronExpression = "@hourly" })(t, h, invalid)
	h.table.remove(unreadable)
	h.table.remove(gone)
	h.table.unreadable = []string{unreadable.ID}
	var reported []string
	report, err := h.ReconcileAll(t.Context(), h.table, func(id string) { reported = append(reported, id) })
	if !errors.Is(err, syncs.ErrUnreadable) || !strings.Contains(err.Error(), invalid.ID) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(reconciler.Report{Syncs: 3, Repaired: 2, Removed: 1}, report); diff != "" {
		t.Error(diff)
	}
	slices.Sort(reported)
	want := []string{first.ID, second.ID, gone.ID}
	slices.Sort(want)
	if diff := cmp.Diff(want, reported); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{
		"sync-a: ENABLED cron(0 1 * * ? *)", "sync-b: ENABLED cron(0 2 * * ? *)",
		"sync-c: ENABLED cron(0 6 * * ? *)", "sync-d: ENABLED cron(0 7 * * ? *)",
	}, h.states(t, first, second, invalid, unreadable)); diff != "" {
		t.Error(diff)
	}
}

// TestReconcileAllPages checks that schedules after the first page are found.
func TestReconcileAllPages(t *testing.T) {
	t.Parallel()
	h := newHarness()
	h.server.PageSize = 10
	for range 25 {
		s := h.add(t, "0 6 * * *")
		h.reconcile(t, s)
		h.table.remove(s)
	}
	report, err := h.ReconcileAll(t.Context(), h.table, func(string) {})
	if diff := cmp.Diff(reconciler.Report{Removed: 25}, report); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if left := h.server.Schedules(group); len(left) > 0 {
		t.Errorf("%d schedules are left", len(left))
	}
}
