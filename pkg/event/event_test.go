package event_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

const origin = "https://api.example.com"

func check(t *testing.T, e event.Event) eventtest.Event {
	t.Helper()
	return eventtest.Check(t, e.Append(nil, origin))
}

func TestOfChange(t *testing.T) {
	t.Parallel()
	before := storagetest.NewSync(t)
	after := before
	after.Version, after.UpdatedAt = 2, before.UpdatedAt.Add(time.Hour)
	after.StreamName, after.Status = "companies", syncs.Disabled

	created := check(t, event.OfChange(nil, &before))
	want := eventtest.Event{
		ID: before.ID + "/1", Type: "sync.created.v1", Source: origin + "/api/v1/syncs", Subject: before.ID, Workspace: before.Workspace,
		Time: before.CreatedAt.Format("2006-01-02T15:04:05.000Z"), Schema: origin + "/api/v1/schemas/sync.created.v1.json", Data: created.Data,
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Error(diff)
	}
	attributes, _ := created.Data["attributes"].(map[string]any)
	if attributes["stream_name"] != "contacts" || attributes["next_run_at"] == nil || attributes["configuration"] == nil || created.Data["workspace_id"] != before.Workspace {
		t.Errorf("got %v", created.Data)
	}

	updated := check(t, event.OfChange(&before, &after))
	if updated.Type != "sync.updated.v1" || updated.ID != before.ID+"/2" {
		t.Errorf("got %+v", updated)
	}
	if diff := cmp.Diff([]any{"stream_name", "status"}, updated.Data["changed"]); diff != "" {
		t.Error(diff)
	}
	if attributes, _ := updated.Data["attributes"].(map[string]any); attributes["next_run_at"] != nil {
		t.Errorf("a paused sync runs at %v", attributes["next_run_at"])
	}
	same := check(t, event.OfChange(&before, &before))
	if diff := cmp.Diff([]any{}, same.Data["changed"]); diff != "" {
		t.Error(diff)
	}

	deleted := check(t, event.OfChange(&after, nil))
	if deleted.Type != "sync.deleted.v1" || deleted.ID != before.ID+"/2/deleted" {
		t.Errorf("got %+v", deleted)
	}
	if diff := cmp.Diff(event.OfChange(&before, &after), event.OfChange(&before, &after)); diff != "" {
		t.Errorf("the event of the same change differs: %s", diff)
	}
}

// TestLargeConfiguration checks both sides of the limit.
func TestLargeConfiguration(t *testing.T) {
	t.Parallel()
	s := storagetest.NewSync(t)
	for size, omitted := range map[int]bool{event.MaxConfiguration: false, event.MaxConfiguration + 1: true} {
		s.Configuration = `{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}`
		seen := check(t, event.OfChange(nil, &s))
		attributes, _ := seen.Data["attributes"].(map[string]any)
		if (attributes["configuration"] == nil) != omitted || (seen.Data["configuration_omitted"] == true) != omitted {
			t.Errorf("%d bytes: %v", size, seen.Data["configuration_omitted"])
		}
	}
}

// longCron returns a valid expression of this length, as early versions accepted.
func longCron(length int) string {
	const rest = " 6 * * *"
	return "0" + strings.Repeat(",0", (length-len(rest)-1)/2) + rest
}

// TestMaxData checks that data of every sync keeps the limit, by omitting the
// configuration first.
func TestMaxData(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		configuration, cron     int // bytes
		noConfiguration, noCron bool
	}{
		"short":                        {20, 20, false, false},
		"both are long, within limits": {60 << 10, 100 << 10, false, false},
		"both are too long":            {60 << 10, 200 << 10, true, false},
		"only the expression is":       {20, 250 << 10, true, true},
		"the longest possible":         {140 << 10, 256 << 10, true, true},
	} {
		s := storagetest.NewSync(t)
		s.Configuration = `{"a":"` + strings.Repeat("x", test.configuration-len(`{"a":""}`)) + `"}`
		s.CronExpression = longCron(test.cron)
		after := s
		after.Version, after.Status = 2, syncs.Disabled
		for _, e := range []event.Event{event.OfChange(nil, &s), event.OfChange(&s, &after), event.OfChange(&after, nil)} {
			if len(e.Data) > event.MaxData {
				t.Errorf("%s: %s has %d bytes", name, e.Kind, len(e.Data))
			}
			seen := check(t, e)
			attributes, _ := seen.Data["attributes"].(map[string]any)
			got := []bool{attributes["configuration"] == nil, seen.Data["configuration_omitted"] == true, attributes["cron_expression"] == nil, seen.Data["cron_expression_omitted"] == true}
			want := []bool{test.noConfiguration, test.noConfiguration, test.noCron, test.noCron}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s: %s", name, e.Kind, diff)
			}
		}
	}

	// Both sides of the limit.
	s := storagetest.NewSync(t)
	s.CronExpression = longCron(100 << 10)
	s.Configuration = `{"a":"` + strings.Repeat("x", 100) + `"}`
	s.CronExpression += strings.Repeat(" ", event.MaxData-len(event.OfChange(nil, &s).Data))
	e := event.OfChange(nil, &s)
	if check(t, e).Data["configuration_omitted"] != nil || len(e.Data) != event.MaxData {
		t.Errorf("data of %d bytes has omissions", len(e.Data))
	}
	s.CronExpression += " "
	e = event.OfChange(nil, &s)
	if seen := check(t, e); seen.Data["configuration_omitted"] != true || seen.Data["cron_expression_omitted"] != nil {
		t.Errorf("data of %d bytes has wrong omissions: %.200s", len(e.Data), e.Data)
	}
}

func TestOfRun(t *testing.T) {
	t.Parallel()
	s := storagetest.NewSync(t)
	at := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	seen := check(t, event.OfRun(&s, at, false))
	want := map[string]any{
		"sync_id": s.ID, "workspace_id": s.Workspace, "scheduled_time": "2026-11-24T06:00:00Z", "run_id": s.ID + "/2026-11-24T06:00:00Z",
	}
	if diff := cmp.Diff(want, seen.Data); diff != "" || seen.ID != want["run_id"] {
		t.Errorf("%s: %s", seen.ID, diff)
	}
	if late := check(t, event.OfRun(&s, at, true)); late.Data["late"] != true || late.ID != seen.ID {
		t.Errorf("got %+v", late)
	}

	// The template, filled in, is the same event.
	filled := strings.ReplaceAll(string(event.RunTemplate(origin, &s, "<time>")), "<time>", "2026-11-24T06:00:00Z")
	scheduled := eventtest.Check(t, []byte(filled))
	scheduled.Time, seen.Time = "", "" // with and without milliseconds
	if diff := cmp.Diff(seen, scheduled); diff != "" {
		t.Error(diff)
	}
}

// TestExamples checks that each schema has examples, which are valid.
func TestExamples(t *testing.T) {
	t.Parallel()
	for _, name := range event.Schemas() {
		text, _ := event.Schema(name)
		var schema struct {
			Examples []json.RawMessage `json:"examples"`
		}
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		if len(schema.Examples) == 0 {
			t.Errorf("%s has no example", name)
		}
		for _, example := range schema.Examples {
			if err := eventtest.Validate(name, example); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestOfTransition checks the event of each change of a run against its schema.
func TestOfTransition(t *testing.T) {
	t.Parallel()
	s := storagetest.NewSync(t)
	at := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	for transition, want := range map[string]struct {
		status runs.Status
		kind   string
	}{
		"queued": {runs.Queued, "sync.run.queued"}, "queued-2": {runs.Queued, "sync.run.queued"}, "started": {runs.InProgress, "sync.run.started"},
		"started-3": {runs.InProgress, "sync.run.started"}, "succeeded": {runs.Success, "sync.run.succeeded"}, "failed": {runs.Failed, "sync.run.failed"},
		"canceled": {runs.Canceled, "sync.run.canceled"}, "skipped": {runs.Skipped, "sync.run.skipped"}, "cancel_requested": {runs.InProgress, "sync.run.cancel_requested"},
	} {
		run := runs.Run{
			Key: runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: at}, Version: 3, Status: want.status, Trigger: runs.BySchedule, Type: runs.General,
			CreatedAt: at, UpdatedAt: at, Transition: transition, Attempt: 1, Executor: "worker", Error: "e", ErrorCode: "c", LogURL: "https://a.example.com",
			LateReport: &runs.LateReport{Fence: 5, Status: runs.Failed, ReceivedAt: at, Error: "late"},
		}
		for _, size := range []int{10, event.MaxConfiguration + 1} {
			s.Configuration = `{"a":"` + strings.Repeat("x", size) + `"}`
			e, ok := event.OfTransition(run, &s)
			if !ok || string(e.Kind) != want.kind || e.ID != s.ID+"/2026-11-24T06:00:00Z/"+transition {
				t.Errorf("%s: got %v %s %s", transition, ok, e.Kind, e.ID)
			}
			seen := eventtest.Check(t, e.Append(nil, "https://api.example.com"))
			if _, has := seen.Data["sync"]; has != (want.status == runs.Queued) {
				t.Errorf("%s: got %v", transition, seen.Data)
			}
			if omitted := seen.Data["configuration_omitted"]; (omitted == true) != (want.status == runs.Queued && size > event.MaxConfiguration) {
				t.Errorf("%s: configuration_omitted is %v", transition, omitted)
			}
		}
	}
	if _, ok := event.OfTransition(runs.Run{Status: runs.InProgress}, nil); ok {
		t.Error("a heartbeat is an event")
	}
}
