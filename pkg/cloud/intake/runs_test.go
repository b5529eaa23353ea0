package intake_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/auth"
	"syncplane/pkg/event"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// of returns an event of a detail-type.
func of(kind event.Kind, id, detail string) string {
	return fmt.Sprintf(`{"version":"0","id":%q,"detail-type":%q,"detail":%s}`, id, kind, detail)
}

// newSync stores a sync of the workspace acme that may run.
func (h *harness) newSync(t *testing.T) syncs.Sync {
	t.Helper()
	s := storagetest.NewSync(t)
	s.Workspace, s.Status = "acme", syncs.Pending
	if err := h.store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// pause pauses s.
func (h *harness) pause(t *testing.T, s syncs.Sync) {
	t.Helper()
	s.Version, s.Status = s.Version+1, syncs.Disabled
	if err := h.store.Replace(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

// due returns the event of a run of s that is due now.
func (h *harness) due(s syncs.Sync, late bool) string {
	e := event.OfRun(&s, h.now, late)
	return of(event.Due, "due", string(e.Append(nil, "https://api.example.com")))
}

// claim claims the newest run of s.
func (h *harness) claim(t *testing.T, s syncs.Sync) runs.Run {
	t.Helper()
	newest, _, err := h.intake.Runs.Store.Runs(t.Context(), s.Workspace, s.ID, time.Time{}, 1)
	if err != nil || len(newest) == 0 {
		t.Fatalf("got %v, %v", newest, err)
	}
	who := auth.Caller{Workspace: "acme", Scopes: []string{string(auth.ExecuteRuns)}}
	run, _, err := h.intake.Runs.Claim(t.Context(), who, newest[0].Key, runs.ClaimRequest{Executor: new("worker")})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// summary returns the runs of s, the oldest first: the status, the trigger, the type.
func (h *harness) summary(t *testing.T, s syncs.Sync) string {
	t.Helper()
	all, _, err := h.intake.Runs.Store.Runs(context.WithoutCancel(t.Context()), s.Workspace, s.ID, time.Time{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		out = append([]string{strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Status, r.Trigger, r.Type, r.ErrorCode))}, out...)
	}
	return strings.Join(out, ", ")
}

// reported returns the detail of a report on run.
func reported(run runs.Run, members string) string {
	return fmt.Sprintf(`{"workspace_id":"acme","run_id":"%s/%s","sync_run":{"fence":%d,%s}}`, run.SyncID, run.Time.Format(time.RFC3339), run.Fence(), members)
}

// TestRunEvents checks what becomes of the runs of a sync, and how a request is
// rejected. {id} in a message is the ID of the sync.
func TestRunEvents(t *testing.T) {
	t.Parallel()
	const queued = "queued schedule general"
	pointer := func(path string) map[string]string { return map[string]string{"pointer": path} }
	requested := func(detail string) string { return of(event.RunRequested, "r", detail) }
	report := func(detail string) string { return of(event.RunReported, "r", detail) }
	for name, test := range map[string]struct {
		bodies  []string
		prepare func(t *testing.T, h *harness, s syncs.Sync) []string // further messages
		runs    string
		want    []rejection // of the last message
	}{
		"due":          {nil, func(_ *testing.T, h *harness, s syncs.Sync) []string { return []string{h.due(s, false)} }, queued, nil},
		"due and late": {nil, func(_ *testing.T, h *harness, s syncs.Sync) []string { return []string{h.due(s, true)} }, queued, nil},
		"due, repeated": {nil, func(_ *testing.T, h *harness, s syncs.Sync) []string {
			return []string{h.due(s, false), h.due(s, false)}
		}, queued, nil},
		"due, and again": {nil, func(_ *testing.T, h *harness, s syncs.Sync) []string {
			first := h.due(s, false)
			h.now = h.now.Add(time.Minute)
			return []string{first, h.due(s, false)}
		}, queued + ", skipped schedule general overlap", nil},
		"due, and one of before": {nil, func(_ *testing.T, h *harness, s syncs.Sync) []string {
			first := h.due(s, false)
			h.now = h.now.Add(time.Minute)
			return []string{h.due(s, false), first}
		}, "skipped schedule general superseded, " + queued, nil},
		"due, and paused": {nil, func(t *testing.T, h *harness, s syncs.Sync) []string {
			t.Helper()
			h.pause(t, s)
			return []string{h.due(s, false)}
		}, "", nil},
		"due in no workspace": {[]string{of(event.Due, "e", `{"data":{"run_id":"{id}/2026-11-24T06:00:00Z"}}`)}, nil, "", []rejection{{"400", "invalid_event", nil}}},
		"due at no time":      {[]string{of(event.Due, "e", `{"data":{"workspace_id":"acme","run_id":"{id}/2026-11-24"}}`)}, nil, "", []rejection{{"400", "invalid_event", nil}}},
		"due without data":    {[]string{of(event.Due, "e", `{"workspace_id":"acme"}`)}, nil, "", []rejection{{"400", "invalid_json", nil}}},
		"due twice in one": {
			[]string{of(event.Due, "e", `{"data":{"workspace_id":"acme","run_id":"{id}/2026-11-24T06:00:00Z","run_id":"{id}/2026-11-24T06:00:00Z"}}`)},
			nil, "",
			[]rejection{{"400", "duplicate_member", nil}},
		},

		"a request":           {[]string{requested(`{"workspace_id":"acme","sync_id":"{id}"}`)}, nil, "queued event general", nil},
		"a request of a test": {[]string{requested(`{"workspace_id":"acme","sync_id":"{id}","sync_run":{"sync_run_type":"test"}}`)}, nil, "queued event test", nil},
		"a detail alone":      {[]string{`{"workspace_id":"acme","idempotency_key":"k","sync_id":"{id}"}`}, nil, "queued event general", nil},
		"upper case":          {[]string{strings.ReplaceAll(requested(`{"workspace_id":"acme","sync_id":"{ID}"}`), "{ID}", "{upper}")}, nil, "queued event general", nil},
		"a request without a key": {
			[]string{`{"workspace_id":"acme","sync_id":"{id}"}`},
			nil, "",
			[]rejection{{"422", "required", pointer("/idempotency_key")}},
		},
		"all wrong": {
			[]string{requested(`{"idempotency_key":5,"sync_id":"x"}`)},
			nil, "",
			[]rejection{{"422", "invalid_workspace", pointer("/workspace_id")}, {"422", "invalid_id", pointer("/sync_id")}, {"422", "invalid_key", pointer("/idempotency_key")}},
		},
		"another type": {
			[]string{requested(`{"workspace_id":"acme","sync_id":"{id}","sync_run":{"sync_run_type":"x"}}`)},
			nil, "",
			[]rejection{{"422", "not_in_enum", pointer("/sync_run/sync_run_type")}},
		},
		"sync_run is null": {
			[]string{requested(`{"workspace_id":"acme","sync_id":"{id}","sync_run":null}`)},
			nil, "",
			[]rejection{{"422", "wrong_type", pointer("/sync_run")}},
		},
		"an unknown sync":      {[]string{requested(`{"workspace_id":"acme","sync_id":"019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e"}`)}, nil, "", []rejection{{"404", "not_found", nil}}},
		"another workspace":    {[]string{requested(`{"workspace_id":"globex","sync_id":"{id}"}`)}, nil, "", []rejection{{"404", "not_found", nil}}},
		"a duplicate member":   {[]string{requested(`{"workspace_id":"acme","sync_id":"{id}","sync_id":"{id}"}`)}, nil, "", []rejection{{"400", "duplicate_member", nil}}},
		"more than 256 KiB":    {[]string{requested(`{"workspace_id":"acme","sync_id":"{id}","x":"` + strings.Repeat("x", 256<<10) + `"}`)}, nil, "", []rejection{{"413", "body_too_large", nil}}},
		"a request of a pause": {[]string{requested(`{"workspace_id":"acme","sync_id":"{id}"}`)}, func(t *testing.T, h *harness, s syncs.Sync) []string { t.Helper(); h.pause(t, s); return nil }, "", []rejection{{"409", "sync_disabled", nil}}},
		"a key of another request": {
			[]string{requested(`{"workspace_id":"acme","sync_id":"{id}"}`), requested(`{"workspace_id":"acme","sync_id":"{id}","sync_run":{"sync_run_type":"test"}}`)},
			nil, "queued event general",
			[]rejection{{"422", "idempotency_key_reused", nil}},
		},

		"a report of an unknown run": {[]string{report(`{"workspace_id":"acme","run_id":"{id}/2026-11-24T06:00:00Z","sync_run":{"fence":1,"status":"success"}}`)}, nil, "", []rejection{{"404", "not_found", nil}}},
		"a report of no run":         {[]string{report(`{"workspace_id":"acme","run_id":"{id}"}`)}, nil, "", []rejection{{"422", "invalid_id", pointer("/run_id")}}},
		"an empty report": {
			[]string{report(`{"workspace_id":"acme","run_id":"{id}/2026-11-24T06:00:00Z"}`)},
			nil, "",
			[]rejection{{"422", "required", pointer("/sync_run/fence")}, {"422", "required", pointer("/sync_run/status")}},
		},
		"a report": {nil, func(t *testing.T, h *harness, s syncs.Sync) []string {
			t.Helper()
			h.send(t, "m", h.due(s, false))
			detail := reported(h.claim(t, s), `"status":"failed","error_code":"broken"`)
			return []string{report(detail), detail, report(detail)}
		}, "failed schedule general broken", nil},
		"a report of the opposite": {nil, func(t *testing.T, h *harness, s syncs.Sync) []string {
			t.Helper()
			h.send(t, "m", h.due(s, false))
			run := h.claim(t, s)
			return []string{report(reported(run, `"status":"success"`)), report(reported(run, `"status":"failed"`))}
		}, "success schedule general", []rejection{{"409", "run_ended", nil}}},
		"a late report": {nil, func(t *testing.T, h *harness, s syncs.Sync) []string {
			t.Helper()
			h.send(t, "m", h.due(s, false))
			run := h.claim(t, s)
			h.now = h.now.Add(runs.DefaultLease)
			return []string{report(reported(run, `"status":"success"`))}
		}, queued, []rejection{{"409", "fenced", nil}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			s := h.newSync(t)
			bodies := test.bodies
			if test.prepare != nil {
				bodies = append(test.prepare(t, h, s), bodies...)
			}
			var got []rejection
			for _, body := range bodies {
				got = h.send(t, "m", strings.NewReplacer("{id}", s.ID, "{upper}", strings.ToUpper(s.ID)).Replace(body))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.runs, h.summary(t, s)); diff != "" {
				t.Error(diff)
			}
			var out struct {
				Type string `json:"type"`
			}
			if got != nil && (json.Unmarshal([]byte(h.published[0]), &out) != nil || out.Type != "sync.run.rejected.v1") {
				t.Errorf("published %s", h.published)
			}
		})
	}
}

// TestRunRequestRedrive checks that a request which is delivered again weeks later
// does not trigger a second run.
func TestRunRequestRedrive(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	s := h.newSync(t)
	for _, after := range []time.Duration{0, 14 * 24 * time.Hour, 14 * 24 * time.Hour} {
		h.now = h.now.Add(after)
		if got := h.send(t, "m", of(event.RunRequested, "r", `{"workspace_id":"acme","sync_id":"`+s.ID+`"}`)); got != nil {
			t.Errorf("got %v", got)
		}
	}
	if diff := cmp.Diff("queued event general", h.summary(t, s)); diff != "" { // as it was stored
		t.Error(diff)
	}
}
