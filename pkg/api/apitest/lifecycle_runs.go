package apitest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// executor returns c with the scopes of an executor of runs.
func (c client) executor(scopes ...string) client {
	c.t.Helper()
	c.token = c.server.Token(c.t, c.workspace, append(scopes, "runs:execute")...)
	return c
}

// trigger creates a sync, triggers a run of it and returns the run's path.
func (c client) trigger() string {
	c.t.Helper()
	location, _ := c.create()
	return c.want(201, "POST", location+"/sync_runs", "").header.Get("Location")
}

// fenceOf returns the fence in an answer with a run, as it was written.
func (r result) fenceOf(t *testing.T) string {
	t.Helper()
	var run struct {
		Attributes struct {
			Fence json.Number `json:"fence"`
		} `json:"attributes"`
	}
	if err := json.Unmarshal([]byte(r.body), &run); err != nil || run.Attributes.Fence == "" {
		t.Fatalf("no fence: %v: %s", err, r.body)
	}
	return string(run.Attributes.Fence)
}

const claimBody = `{"sync_run":{"executor":"worker-1","lease_seconds":60}}`

// runToItsEnd follows a run from its trigger to its report, and the sync with it.
func runToItsEnd(t *testing.T, c client) {
	location, _ := c.create()
	c = c.executor("syncs:read", "syncs:write")
	triggered := c.want(201, "POST", location+"/sync_runs", `{"sync_run":{"sync_run_type":"general"}}`)
	run := triggered.header.Get("Location")
	if got := c.want(200, "GET", run, ""); got.body != triggered.body {
		t.Errorf("got %s, want %s", got.body, triggered.body)
	}
	if again := c.want(200, "POST", location+"/sync_runs", ""); again.header.Get("Location") != run {
		t.Errorf("a second trigger made %s", again.header.Get("Location"))
	}
	claim := c.want(200, "POST", run+"/claim", claimBody)
	fence := claim.fenceOf(t)
	if !strings.Contains(claim.body, `"sync":{"id":`) || !strings.Contains(claim.body, `"configuration":{"n":1.0}`) {
		t.Errorf("the claim does not show the sync: %s", claim.body)
	}
	if again := c.want(200, "POST", run+"/claim", claimBody); again.fenceOf(t) != fence {
		t.Errorf("the second claim has another fence: %s", again.body)
	}
	c.wantCodes(c.want(409, "POST", run+"/claim", `{"sync_run":{"executor":"worker-2"}}`), "run_claimed")
	waiting := c.want(201, "POST", location+"/sync_runs", "").header.Get("Location")
	if got := c.want(200, "GET", waiting, "").attributes(t)["status"]; got != "pending" {
		t.Errorf("a run behind another is %v", got)
	}
	beat := c.want(200, "POST", run+"/heartbeat", `{"fence":`+fence+`,"counters":{"total_rows":10,"failed_rows":null}}`).attributes(t)
	if beat["total_rows"] != 10.0 || beat["failed_rows"] != nil {
		t.Errorf("got %v", beat)
	}
	open := c.want(200, "GET", "/api/v1/sync_runs", "")
	if strings.Count(open.body, `"type":"sync_runs"`) != 2 {
		t.Errorf("open are %s", open.body)
	}
	report := `{"sync_run":{"fence":` + fence + `,"status":"success","counters":{"total_rows":10,"successful_rows":9,"failed_rows":1},` +
		`"log_url":"https://logs.example.com/1","failed_records":[{"primary_key":"7","action":"update","error":"refused"}]}}`
	finished := c.want(200, "POST", run+"/finish", report)
	if got := c.want(200, "POST", run+"/finish", report); got.body != finished.body {
		t.Errorf("reported again: %s, want %s", got.body, finished.body)
	}
	c.wantCodes(c.want(409, "POST", run+"/finish", strings.Replace(report, "success", "failed", 1)), "run_ended")
	if got := c.want(200, "GET", run+"/sync_records", ""); !strings.Contains(got.body, `{"primary_key":"7","action":"update","error":"refused"}`) {
		t.Errorf("the failed rows are %s", got.body)
	}
	if got := c.want(200, "GET", location, "").attributes(t)["status"]; got != "healthy" {
		t.Errorf("the sync is %v", got)
	}
	if got := c.want(200, "GET", waiting, "").attributes(t)["status"]; got != "queued" {
		t.Errorf("the run that waited is %v", got)
	}
	next := c.want(200, "POST", waiting+"/claim", claimBody).fenceOf(t)
	c.want(200, "POST", waiting+"/finish", `{"fence":`+next+`,"status":"failed","error":"no route","error_code":"network"}`)
	if got := c.want(200, "GET", location, "").attributes(t)["status"]; got != "failed" {
		t.Errorf("the sync is %v", got)
	}
}

// runConditionally reads a run with If-None-Match.
func runConditionally(t *testing.T, c client) {
	run := c.trigger()
	first := c.want(200, "GET", run, "").header.Get("Etag")
	c.want(304, "GET", run, "", "If-None-Match", first)
	c.executor().want(200, "POST", run+"/claim", claimBody)
	second := c.want(200, "GET", run, "", "If-None-Match", first).header.Get("Etag")
	if second == first {
		t.Errorf("a claimed run has the tag %s still", second)
	}
	for _, method := range []string{"GET", "HEAD"} {
		for _, tags := range []string{second, "*", first + ", " + second, strings.TrimSuffix(second, `"`) + `-jsonapi"`} {
			c.want(200, method, run, "", "If-Match", tags)
		}
		for _, tags := range []string{first, "W/" + second, `"02"`, `""`} {
			c.want(412, method, run, "", "If-Match", tags)
		}
		c.want(412, method, run, "", "If-Match", first, "If-None-Match", second) // If-Match is evaluated first
		c.want(304, method, run, "", "If-Match", second, "If-None-Match", second)
	}
	c.wantCodes(c.want(412, "GET", run, "", "If-Match", first), "version_mismatch")
	c.wantCodes(c.want(400, "GET", run, "", "If-Match", "2"), "invalid_header If-Match")
}

// runWarns checks that a member that is ignored is named, also if the request is refused.
func runWarns(t *testing.T, c client) {
	location, _ := c.create()
	run := c.want(201, "POST", location+"/sync_runs", `{"typ":"test"}`)
	worker, target := c.executor(), run.header.Get("Location")
	fence := worker.want(200, "POST", target+"/claim", claimBody).fenceOf(t)
	for _, test := range []struct {
		got     result
		warning string
	}{
		{run, "/typ"},
		{c.want(422, "POST", location+"/sync_runs", `{"sync_run_type":"dry","typ":1}`), "/typ"},
		{c.want(422, "POST", target+"/cancel", `{"force":"yes","forced":true}`), "/forced"},
		{worker.want(422, "POST", target+"/claim", `{"sync_run":{"executer":"worker-1"}}`), "/sync_run/executer"},
		{worker.want(409, "POST", target+"/claim", `{"executor":"worker-2","lease":60}`), "/lease"},
		{worker.want(422, "POST", target+"/heartbeat", `{"fence":`+fence+`,"sync_run":{}}`), "/fence"},
		{worker.want(409, "POST", target+"/heartbeat", `{"fence":1,"counters":{"rows":1}}`), "/counters/rows"},
		{worker.want(422, "POST", target+"/finish", `{"fence":`+fence+`,"state":"success"}`), "/state"},
	} {
		if got, want := test.got.header.Get("Warning"), `299 - "unknown field `+test.warning+`"`; got != want {
			t.Errorf("got the warning %q, want %q", got, want)
		}
	}
}

// runCancels cancels runs that have started and that have not.
func runCancels(t *testing.T, c client) {
	run := c.trigger()
	if got := c.want(200, "POST", run+"/cancel", "").attributes(t)["status"]; got != "canceled" {
		t.Errorf("got %v", got)
	}
	c.want(200, "POST", run+"/cancel", "") // it is so already
	c.wantCodes(c.executor().want(409, "POST", run+"/claim", claimBody), "run_ended")

	run = c.trigger()
	fence := c.executor().want(200, "POST", run+"/claim", claimBody).fenceOf(t)
	if got := c.want(202, "POST", run+"/cancel", `{"sync_run":{"force":false}}`).attributes(t); got["status"] != "in_progress" || got["cancel_requested_at"] == nil {
		t.Errorf("got %v", got)
	}
	if got := c.executor().want(200, "POST", run+"/heartbeat", `{"fence":`+fence+`}`).attributes(t); got["cancel_requested_at"] == nil {
		t.Errorf("the executor sees %v", got)
	}
	if got := c.want(200, "POST", run+"/cancel", `{"force":true}`).attributes(t)["status"]; got != "canceled" {
		t.Errorf("got %v", got)
	}
	late := c.executor().do("POST", run+"/finish", `{"fence":`+fence+`,"status":"success"}`)
	if late.status != 409 {
		t.Errorf("a report after all got %d %s", late.status, late.body)
	}
	if got := c.want(200, "GET", run, "").attributes(t); got["status"] != "canceled" || got["late_report"] == nil {
		t.Errorf("got %v", got)
	}
}

// runRefuses sends requests that are wrong.
func runRefuses(t *testing.T, c client) {
	location, _ := c.create()
	run := c.want(201, "POST", location+"/sync_runs", "").header.Get("Location")
	worker := c.executor()
	fence := worker.want(200, "POST", run+"/claim", claimBody).fenceOf(t)
	for _, test := range []struct {
		client             client
		status             int
		method, path, body string
		codes              []string
	}{
		{c, 403, "POST", run + "/claim", claimBody, []string{"insufficient_scope"}},
		{worker, 403, "POST", location + "/sync_runs", "", []string{"insufficient_scope"}},
		{worker, 403, "GET", run, "", []string{"insufficient_scope"}},
		{worker, 403, "GET", "/api/v1/sync_runs", "", []string{"insufficient_scope"}},
		{worker, 403, "POST", run + "/cancel", "", []string{"insufficient_scope"}},
		{c, 404, "GET", location + "/sync_runs/2001-01-01T00:00:00Z", "", []string{"not_found"}},
		{c, 404, "GET", location + "/sync_runs/yesterday", "", []string{"not_found"}},
		{c, 404, "GET", location + "/sync_runs/2026-11-24T07:00:00+01:00", "", []string{"not_found"}},
		{c, 404, "GET", path + "/019ab0c4-0000-7000-8000-000000000000/sync_runs", "", []string{"not_found"}},
		{c, 404, "POST", path + "/019ab0c4-0000-7000-8000-000000000000/sync_runs", "", []string{"not_found"}},
		{c, 422, "POST", location + "/sync_runs", `{"sync_run":{"sync_run_type":"dry"}}`, []string{"not_in_enum /sync_run/sync_run_type"}},
		{c, 422, "POST", location + "/sync_runs", `{"sync_run_type":1}`, []string{"wrong_type /sync_run_type"}},
		{c, 422, "POST", location + "/sync_runs", `{"sync_run":[]}`, []string{"wrong_type /sync_run"}},
		{c, 400, "POST", location + "/sync_runs", `{`, []string{"invalid_json"}},
		{c, 400, "POST", location + "/sync_runs", `[]`, []string{"not_an_object"}},
		{c, 422, "POST", run + "/cancel", `{"force":"yes"}`, []string{"wrong_type /force"}},
		{worker, 422, "POST", run + "/claim", `{}`, []string{"required /executor"}},
		{worker, 422, "POST", run + "/claim", `{"sync_run":{"executor":" ","lease_seconds":29}}`, []string{"blank /sync_run/executor", "out_of_range /sync_run/lease_seconds"}},
		{worker, 422, "POST", run + "/claim", `{"executor":"\u2800\u200b\ufeff"}`, []string{"blank /executor"}}, // characters without a glyph
		{worker, 400, "POST", run + "/claim", `{"executor":"a","executor":"b"}`, []string{"duplicate_member /executor"}},
		{worker, 422, "POST", run + "/heartbeat", `{"sync_run":{"counters":{"total_rows":-1,"failed_rows":"2"}}}`, []string{
			"required /sync_run/fence", "out_of_range /sync_run/counters/total_rows", "wrong_type /sync_run/counters/failed_rows",
		}},
		{worker, 409, "POST", run + "/heartbeat", `{"fence":1}`, []string{"fenced"}},
		{worker, 422, "POST", run + "/finish", `{"fence":` + fence + `,"status":"success","counters":{"successful_rows":0,"failed_rows":3}}`, []string{"all_rows_failed /status"}},
		{worker, 422, "POST", run + "/finish", `{"fence":` + fence + `,"status":"failed","log_url":"javascript:alert(1)","failed_records":[{"error":"x"}]}`, []string{
			"invalid_url /log_url", "required /failed_records/0/primary_key",
		}},
		{worker, 422, "POST", run + "/finish", `{"fence":` + fence + `,"status":"failed","log_url":"http://:80/","failed_records":[{"primary_key":"\u3164"}]}`, []string{
			"invalid_url /log_url", "blank /failed_records/0/primary_key",
		}},
		{worker, 422, "POST", run + "/finish", `{"fence":` + fence + `,"status":"failed","failed_records":5}`, []string{"wrong_type /failed_records"}},
		{worker, 422, "POST", run + "/finish", `{"fence":` + fence + `,"status":"failed","failed_records":[{"primary_key":"1"},"2",{"primary_key":""}]}`, []string{
			"wrong_type /failed_records/1", "required /failed_records/2/primary_key",
		}},
		{worker, 409, "POST", run + "/finish", `{"fence":1,"status":"success"}`, []string{"fenced"}},
	} {
		got := test.client.want(test.status, test.method, test.path, test.body)
		if diff := cmp.Diff(test.codes, got.codes(t)); diff != "" {
			t.Errorf("%s %s %s: %s", test.method, test.path, test.body, diff)
		}
		if after := got.header.Get("Retry-After"); after != "" { // no repetition of these succeeds
			t.Errorf("%s %s %s: got Retry-After %s", test.method, test.path, test.body, after)
		}
	}
}

// runForeign checks that a run is not visible to another workspace, and is to an
// executor of all workspaces.
func runForeign(t *testing.T, c client) {
	run := c.trigger()
	other := c.server.client(t)
	other.want(404, "GET", run, "")
	other.want(404, "POST", run+"/cancel", "")
	stranger := other.executor("syncs:read")
	stranger.want(404, "POST", run+"/claim", claimBody)
	stranger.wantCodes(stranger.want(403, "POST", run+"/claim", claimBody, "Syncplane-Workspace", c.workspace), "insufficient_scope")
	if open := stranger.want(200, "GET", "/api/v1/sync_runs", ""); strings.Contains(open.body, "sync_runs\",\"attributes") {
		t.Errorf("another workspace sees %s", open.body)
	}
	all := other
	all.token = c.server.Token(t, other.workspace, "runs:execute:all")
	all.want(404, "POST", run+"/claim", claimBody, "Syncplane-Workspace", other.workspace)
	for _, name := range []string{"a#b", "a b", "é", strings.Repeat("w", 129), c.workspace + "#"} {
		for _, action := range []string{"/claim", "/heartbeat", "/finish"} {
			all.wantCodes(all.want(400, "POST", run+action, claimBody, "Syncplane-Workspace", name), "invalid_header Syncplane-Workspace")
			stranger.wantCodes(stranger.want(403, "POST", run+action, claimBody, "Syncplane-Workspace", name), "insufficient_scope")
		}
	}
	fence := all.want(200, "POST", run+"/claim", claimBody, "Syncplane-Workspace", c.workspace).fenceOf(t)
	all.want(200, "POST", run+"/heartbeat", `{"fence":`+fence+`}`, "Syncplane-Workspace", c.workspace)
	all.want(200, "POST", run+"/finish", `{"fence":`+fence+`,"status":"success"}`, "Syncplane-Workspace", c.workspace)
	all.want(403, "GET", "/api/v1/sync_runs", "")
}

// runPaused checks that a paused sync starts no run.
func runPaused(t *testing.T, c client) {
	location, _ := c.create()
	c.want(200, "PATCH", location+"/enable", `{"enable":false}`)
	c.wantCodes(c.want(409, "POST", location+"/sync_runs", ""), "sync_disabled")
	c.want(200, "PATCH", location+"/enable", `{"enable":true}`)
	run := c.want(201, "POST", location+"/sync_runs", "").header.Get("Location")
	c.want(200, "PATCH", location+"/enable", `{"enable":false}`)
	c.wantCodes(c.executor().want(409, "POST", run+"/claim", claimBody), "sync_disabled")
}

// runKeys triggers with idempotency keys.
func runKeys(t *testing.T, c client) {
	location, _ := c.create()
	first := c.want(201, "POST", location+"/sync_runs", "", "Idempotency-Key", "k")
	again := c.want(201, "POST", location+"/sync_runs", `{"sync_run":{"sync_run_type":"general"}}`, "Idempotency-Key", "k")
	if again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("got %v %s, want %s", again.header, again.body, first.body)
	}
	c.wantCodes(c.want(422, "POST", location+"/sync_runs", `{"sync_run":{"sync_run_type":"test"}}`, "Idempotency-Key", "k"), "idempotency_key_reused Idempotency-Key")
	other, _ := c.create()
	c.wantCodes(c.want(422, "POST", other+"/sync_runs", "", "Idempotency-Key", "k"), "idempotency_key_reused Idempotency-Key")
}

// runPages lists runs, in pages and by status.
func runPages(t *testing.T, c client) {
	location, _ := c.create()
	worker := c.executor("syncs:write")
	var want []string
	for i := range 5 {
		run := c.want(201, "POST", location+"/sync_runs", "").header.Get("Location")
		fence := worker.want(200, "POST", run+"/claim", claimBody).fenceOf(t)
		worker.want(200, "POST", run+"/finish", fmt.Sprintf(`{"fence":%s,"status":%q}`, fence, []string{"success", "failed"}[i%2]))
		want = append([]string{run}, want...)
	}
	for _, test := range []struct {
		query string
		want  []string
	}{{"?page%5Bsize%5D=2", want}, {"?page%5Bsize%5D=100", want}, {"?filter%5Bstatus%5D=failed&page%5Bsize%5D=1", []string{want[1], want[3]}}} {
		var got []string
		for next := location + "/sync_runs" + test.query; next != ""; {
			page := c.page(next)
			for _, run := range page.Data {
				_, at, _ := strings.Cut(run.ID, "/")
				got = append(got, location+"/sync_runs/"+at)
			}
			next = ""
			if page.Links.Next != nil {
				next = *page.Links.Next
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.query, diff)
		}
	}
	for query, code := range map[string]string{
		"?page%5Bsize%5D=0": "invalid_parameter", "?page%5Bafter%5D=x": "invalid_cursor", "?filter%5Bstatus%5D=done": "invalid_parameter",
		"?sort=time": "unknown_parameter", "?page%5Bsize%5D=1&page%5Bsize%5D=2": "invalid_parameter", "?%zz": "invalid_query",
	} {
		for _, list := range []string{location + "/sync_runs", "/api/v1/sync_runs"} {
			if got := c.want(400, "GET", list+query, ""); !strings.Contains(got.body, code) {
				t.Errorf("%s: got %s, want %s", query, got.body, code)
			}
		}
	}
}

// runJSONAPI requests every resource as JSON:API; the OpenAPI document checks it.
func runJSONAPI(_ *testing.T, c client) {
	form := []string{"Accept", "application/vnd.api+json"}
	location, _ := c.create()
	run := c.want(201, "POST", location+"/sync_runs", "", form...).header.Get("Location")
	worker := c.executor()
	var claim struct {
		Data struct {
			Attributes struct {
				Fence json.Number `json:"fence"`
			} `json:"attributes"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(worker.want(200, "POST", run+"/claim", claimBody, form...).body), &claim); err != nil {
		c.t.Fatal(err)
	}
	fence := string(claim.Data.Attributes.Fence)
	worker.want(200, "POST", run+"/heartbeat", `{"fence":`+fence+`}`, form...)
	c.want(202, "POST", run+"/cancel", "", form...)
	worker.want(200, "POST", run+"/finish", `{"fence":`+fence+`,"status":"canceled"}`, form...)
	for _, target := range []string{run, run + "/sync_records", location + "/sync_runs", "/api/v1/sync_runs"} {
		c.want(200, "GET", target, "", form...)
	}
}
