package runs_test

import (
	"context"
	"testing"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
)

// contended is a Store in which other writers always come first.
type contended struct{ runs.Store }

func (contended) Commit(context.Context, runs.Change) error { return runs.ErrStale }

func (contended) Heartbeat(context.Context, runs.Key, runs.Beat) (runs.Run, bool, error) {
	return runs.Run{}, false, runs.ErrStale
}

// triggered returns a service, a caller with every scope and the key of a queued run.
func triggered(t *testing.T) (*runs.Service, auth.Caller, runs.Key) {
	t.Helper()
	store := bolttest.Open(t)
	sync := storagetest.NewSync(t)
	sync.Status = syncs.Pending
	if err := store.Create(t.Context(), sync); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC) }
	service := &runs.Service{Store: bolt.Runs{Store: store, Now: now}, Syncs: store, Now: now, Retention: runs.DefaultRetention()}
	who := auth.Caller{Workspace: sync.Workspace}
	for _, act := range auth.Actions() {
		who.Scopes = append(who.Scopes, string(act))
	}
	answer, err := service.Trigger(t.Context(), who, runs.TriggerRequest{SyncID: sync.ID, Type: runs.General, Trigger: runs.ByAPI})
	if err != nil {
		t.Fatal(err)
	}
	return service, who, answer.Run.Key
}

// TestContention checks that an executor, which drops a run on every conflict, gets none
// for a request that a repetition may do; and that other clients do.
func TestContention(t *testing.T) {
	t.Parallel()
	service, who, key := triggered(t)

	soon, cancel := context.WithTimeout(t.Context(), time.Second) // no time for a second attempt
	defer cancel()
	quiet := service.Store
	check := func(name string, want fault.Kind, do func() error) {
		t.Helper()
		service.Store = contended{quiet}
		defer func() { service.Store = quiet }()
		if err := do(); !fault.Is(err, want) {
			t.Errorf("%s: got %v, want kind %v", name, err, want)
		}
	}
	claim := func() error {
		_, _, err := service.Claim(soon, who, key, runs.ClaimRequest{Executor: new("worker")})
		return err
	}
	check("claim", fault.Unavailable, claim)
	check("cancel", fault.Conflict, func() error { _, _, err := service.Cancel(soon, who, key, false); return err })
	if err := claim(); err != nil {
		t.Fatal(err)
	}
	fence := key.Time.Unix()*1000 + 1
	check("trigger", fault.Conflict, func() error {
		_, err := service.Trigger(soon, who, runs.TriggerRequest{SyncID: key.SyncID, Type: runs.General, Trigger: runs.ByAPI})
		return err
	})
	check("heartbeat", fault.Unavailable, func() error {
		_, err := service.Heartbeat(soon, who, key, runs.HeartbeatRequest{Fence: &fence})
		return err
	})
	check("finish", fault.Unavailable, func() error {
		_, err := service.Finish(soon, who, key, runs.Report{Fence: &fence, Status: new("success")})
		return err
	})
}

// TestAllRowsFailed checks that a run in which rows failed and none succeeded is no
// success, whether the counters are in the report or in an earlier heartbeat.
func TestAllRowsFailed(t *testing.T) {
	t.Parallel()
	service, who, key := triggered(t)
	claimed, _, err := service.Claim(t.Context(), who, key, runs.ClaimRequest{Executor: new("worker")})
	if err != nil {
		t.Fatal(err)
	}
	fence := claimed.Fence()
	if _, err := service.Heartbeat(t.Context(), who, key, runs.HeartbeatRequest{
		Fence: &fence, Counters: runs.Counters{SuccessfulRows: new(int64(0)), FailedRows: new(int64(3))},
	}); err != nil {
		t.Fatal(err)
	}
	finish := func(status runs.Status, counters runs.Counters) error {
		_, err := service.Finish(t.Context(), who, key, runs.Report{Fence: &fence, Status: new(string(status)), Counters: counters})
		return err
	}
	for name, counters := range map[string]runs.Counters{
		"in the heartbeat": {},
		"in part":          {FailedRows: new(int64(1))},
		"in the report":    {SuccessfulRows: new(int64(0)), FailedRows: new(int64(1))},
	} {
		if err := finish(runs.Success, counters); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want kind Invalid", name, err)
		}
	}
	if run, _, err := service.Read(t.Context(), who, key); err != nil || run.Status != runs.InProgress || run.LateReport != nil {
		t.Errorf("after the refusals got %+v, %v", run, err)
	}
	if err := finish(runs.Success, runs.Counters{SuccessfulRows: new(int64(1))}); err != nil {
		t.Error(err)
	}
	if err := finish(runs.Success, runs.Counters{}); err != nil { // a repetition
		t.Error(err)
	}
}

// TestCodeOfExecutor checks that a failure that an executor reports with a code of this
// package counts as its failure: it fails a sync that is pending.
func TestCodeOfExecutor(t *testing.T) {
	t.Parallel()
	service, who, key := triggered(t)
	claimed, _, err := service.Claim(t.Context(), who, key, runs.ClaimRequest{Executor: new("worker")})
	if err != nil {
		t.Fatal(err)
	}
	run, err := service.Finish(t.Context(), who, key, runs.Report{Fence: new(claimed.Fence()), Status: new("failed"), ErrorCode: new(runs.CodeNotClaimed)})
	if err != nil || run.ErrorCode != runs.CodeNotClaimed {
		t.Errorf("got %+v, %v", run, err)
	}
	if sync, err := service.Syncs.Read(t.Context(), key.Workspace, key.SyncID); err != nil || sync.Status != syncs.Failed {
		t.Errorf("the sync is %s, %v", sync.Status, err)
	}
}
