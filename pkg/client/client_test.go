package client_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/client"
	"syncplane/pkg/local/server"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/testkit/bolttest"
)

// newClient returns a client of a server with an empty store.
func newClient(t *testing.T) *client.ClientWithResponses {
	t.Helper()
	store := bolttest.Open(t)
	caller := func(context.Context, string) (auth.Caller, error) {
		return auth.Caller{Workspace: "acme", Scopes: []string{string(auth.ReadSyncs), string(auth.WriteSyncs), string(auth.ExecuteRuns)}}, nil
	}
	executions := &runs.Service{Store: bolt.Runs{Store: store, Now: time.Now}, Syncs: store, Now: time.Now, Retention: runs.DefaultRetention()}
	function := httpfunc.Handler(httpfunc.Deps{Store: store, Runs: executions, Caller: caller, Log: app.Logger(io.Discard, "")})
	running := httptest.NewServer(server.Routes(server.Gateway{Function: function, Now: time.Now}, nil, nil))
	t.Cleanup(running.Close)
	c, err := client.NewClientWithResponses(running.URL, client.WithHTTPClient(running.Client()))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newSync returns a sync with an ID of more than 32 bits and a configuration with a number
// that float64 does not hold.
func newSync() client.NewSync {
	return client.NewSync{
		SourceID: 1 << 40, DestinationID: 2, ModelID: 3, ScheduleType: client.ScheduleTypeAutomated, Configuration: []byte(`{"n":9007199254740993}`),
		StreamName: "contacts", SyncMode: client.SyncModeFullRefresh, SyncInterval: 30, SyncIntervalUnit: client.SyncIntervalUnitMinutes,
	}
}

// TestClient uses every operation on syncs and the operations on runs.
func TestClient(t *testing.T) {
	t.Parallel()
	c, ctx := newClient(t), t.Context()
	var ids []client.SyncID
	for range 3 {
		created, err := c.CreateSyncWithResponse(ctx, nil, client.CreateSync{Sync: newSync()})
		if err != nil || created.JSON200 == nil {
			t.Fatalf("create: %v: %s", err, created.Body)
		}
		if got := created.JSON200.Attributes; got.SourceID != 1<<40 || string(got.Configuration) != `{"n":9007199254740993}` {
			t.Errorf("create: got %+v", got)
		}
		ids = append(ids, created.JSON200.ID)
	}

	var listed []client.SyncID
	size, pages := 2, 0
	for params := (client.ListSyncsParams{PageSize: &size}); ; pages++ {
		page, err := c.ListSyncsWithResponse(ctx, &params)
		if err != nil || page.JSON200 == nil {
			t.Fatalf("list: %v: %s", err, page.Body)
		}
		for _, sync := range page.JSON200.Data {
			listed = append(listed, sync.ID)
		}
		if params.PageAfter = page.JSON200.Meta.Page.After; params.PageAfter == nil {
			break
		}
	}
	slices.Reverse(listed)
	if diff := cmp.Diff(ids, listed); diff != "" || pages != 1 {
		t.Errorf("list: %d pages before the last: %s", pages, diff)
	}

	id := ids[0]
	read, err := c.ReadSyncWithResponse(ctx, id, nil)
	if err != nil || read.JSON200 == nil {
		t.Fatalf("read: %v: %s", err, read.Body)
	}
	name, version := "companies", read.HTTPResponse.Header.Get("Etag")
	change := client.ChangeSync{Sync: client.SyncChange{StreamName: &name}}
	changed, err := c.ChangeSyncWithResponse(ctx, id, &client.ChangeSyncParams{IfMatch: &version}, change)
	if err != nil || changed.JSON200 == nil || changed.JSON200.Attributes.StreamName != name {
		t.Fatalf("change: %v: %s", err, changed.Body)
	}
	name = "people"
	refused, err := c.ChangeSyncWithResponse(ctx, id, &client.ChangeSyncParams{IfMatch: &version}, change)
	if err != nil || refused.StatusCode() != http.StatusPreconditionFailed || refused.JSONDefault == nil || refused.JSONDefault.Errors[0].Code != client.APIErrorCodeVersionMismatch {
		t.Fatalf("change of another version: %v: %s", err, refused.Body)
	}
	for _, enable := range []bool{false, true} {
		want := map[bool]client.SyncStatus{false: client.SyncStatusDisabled, true: client.SyncStatusPending}[enable]
		got, err := c.EnableSyncWithResponse(ctx, id, nil, client.Enable{Enable: enable})
		if err != nil || got.JSON200 == nil || got.JSON200.Attributes.Status != want {
			t.Errorf("enable %v: %v: %s", enable, err, got.Body)
		}
	}

	execute(t, c, id)

	deleted, err := c.DeleteSyncWithResponse(ctx, id, nil)
	if err != nil || deleted.StatusCode() != http.StatusNoContent {
		t.Errorf("delete: %v: %s", err, deleted.Body)
	}
	gone, err := c.ReadSyncWithResponse(ctx, id, nil)
	if err != nil || gone.JSONDefault == nil || gone.JSONDefault.Errors[0].Code != client.APIErrorCodeNotFound {
		t.Errorf("read after delete: %v: %s", err, gone.Body)
	}
}

// execute triggers, claims and finishes a run.
func execute(t *testing.T, c *client.ClientWithResponses, id client.SyncID) {
	t.Helper()
	ctx := t.Context()
	triggered, err := c.TriggerRunWithResponse(ctx, id, nil, client.TriggerSyncRun{})
	if err != nil || triggered.JSON201 == nil {
		t.Fatalf("trigger: %v: %s", err, triggered.Body)
	}
	at := triggered.JSON201.Attributes.ScheduledTime
	open, err := c.ListOpenRunsWithResponse(ctx, nil)
	if err != nil || open.JSON200 == nil || len(open.JSON200.Data) != 1 || open.JSON200.Data[0].ID != triggered.JSON201.ID {
		t.Fatalf("list the open runs: %v: %s", err, open.Body)
	}
	claimed, err := c.ClaimRunWithResponse(ctx, id, at, nil, client.ClaimSyncRun{SyncRun: client.SyncRunClaim{Executor: "worker-1"}})
	if err != nil || claimed.JSON200 == nil || claimed.JSON200.Sync.ID != id || claimed.JSON200.Attributes.Fence == nil {
		t.Fatalf("claim: %v: %s", err, claimed.Body)
	}
	fence, rows := *claimed.JSON200.Attributes.Fence, int64(1<<40)
	beaten, err := c.HeartbeatRunWithResponse(ctx, id, at, nil, client.HeartbeatSyncRun{SyncRun: client.SyncRunHeartbeat{Fence: fence}})
	if err != nil || beaten.JSON200 == nil {
		t.Errorf("heartbeat: %v: %s", err, beaten.Body)
	}
	finished, err := c.FinishRunWithResponse(ctx, id, at, nil, client.FinishSyncRun{SyncRun: client.SyncRunReport{
		Fence: fence, Status: client.SyncRunOutcomeSuccess, Counters: &client.SyncRunCounters{TotalRows: &rows},
	}})
	if err != nil || finished.JSON200 == nil || *finished.JSON200.Attributes.TotalRows != rows || finished.JSON200.Attributes.Status != client.SyncRunStatusSuccess {
		t.Errorf("finish: %v: %s", err, finished.Body)
	}
	refused, err := c.CancelRunWithResponse(ctx, id, at, client.CancelSyncRun{})
	if err != nil || refused.JSONDefault == nil || refused.JSONDefault.Errors[0].Code != client.APIErrorCodeRunEnded {
		t.Errorf("cancel after the end: %v: %s", err, refused.Body)
	}
}
