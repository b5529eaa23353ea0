package watch_test

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/cloud/watch"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/awsfake"
	"syncplane/pkg/testkit/bolttest"
)

// harness is a watcher of the runs of one sync, with a clock of the test's own.
type harness struct {
	*watch.Watcher
	aws   awsfake.Server
	sync  syncs.Sync
	store *bolt.Store
	now   time.Time
	key   runs.Key // of the run that is due at the start
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	store := bolttest.Open(t)
	h := &harness{store: store, sync: storagetest.NewSync(t), now: time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)}
	h.sync.Status = syncs.Pending
	if err := store.Create(t.Context(), h.sync); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return h.now }
	config := eventfunc.Common{Config: app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local"}}
	h.Watcher = &watch.Watcher{
		Queue: eventfunc.WatchQueue(config, eventfunc.WatchConfig{WatchQueueURL: "https://sqs.example.com/watch", SQSEndpoint: h.aws.Start(t)}),
		Runs:  &runs.Service{Store: bolt.Runs{Store: store, Now: now}, Syncs: store, Now: now, Retention: runs.DefaultRetention()},
		Log:   app.Logger(io.Discard, ""),
	}
	h.key = runs.Key{Workspace: h.sync.Workspace, SyncID: h.sync.ID, Time: h.now}
	if run, _, err := h.Runs.Due(t.Context(), h.key, false); err != nil || run.Status != runs.Queued {
		t.Fatalf("got %v, %v", run.Status, err)
	}
	return h
}

// claim claims the run for a lease.
func (h *harness) claim(t *testing.T, lease time.Duration) runs.Run {
	t.Helper()
	who := auth.Caller{Workspace: h.sync.Workspace, Scopes: []string{string(auth.ExecuteRuns)}}
	run, _, err := h.Runs.Claim(t.Context(), who, h.key, runs.ClaimRequest{Executor: new("worker"), LeaseSeconds: new(int64(lease / time.Second))})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func (h *harness) message() string {
	return fmt.Sprintf(`{"workspace":%q,"sync":%q,"time":"2026-11-24T06:00:00Z"}`, h.sync.Workspace, h.sync.ID)
}

// handle delivers messages, and returns the index of those that failed.
func (h *harness) handle(t *testing.T, bodies ...string) []string {
	t.Helper()
	var batch events.SQSEvent
	for i, body := range bodies {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: fmt.Sprint(i), Body: body})
	}
	var failed []string
	for _, f := range h.Handle(t.Context(), batch).BatchItemFailures {
		failed = append(failed, f.ItemIdentifier)
	}
	return failed
}

// TestHandle checks what becomes of a run whose message is received, and whether
// and when it is looked at again.
func TestHandle(t *testing.T) {
	t.Parallel()
	const again = 900
	for name, test := range map[string]struct {
		prepare func(t *testing.T, h *harness)
		after   time.Duration // the message is received
		status  runs.Status
		code    string
		delays  []int
	}{
		"queued":                      {nil, 15 * time.Minute, runs.Queued, "", []int{again}},
		"queued, almost over":         {nil, time.Hour - 90*time.Second, runs.Queued, "", []int{90}},
		"queued, a fraction is left":  {nil, time.Hour - 1500*time.Millisecond, runs.Queued, "", []int{2}},
		"queued, a millisecond is":    {nil, time.Hour - time.Millisecond, runs.Queued, "", []int{1}},
		"not claimed":                 {nil, time.Hour, runs.Failed, runs.CodeNotClaimed, nil},
		"in progress":                 {func(t *testing.T, h *harness) { t.Helper(); h.claim(t, 20*time.Minute) }, time.Minute, runs.InProgress, "", []int{again}},
		"the lease is over":           {func(t *testing.T, h *harness) { t.Helper(); h.claim(t, 5*time.Minute) }, 5 * time.Minute, runs.Queued, "", nil},
		"the lease is over for hours": {func(t *testing.T, h *harness) { t.Helper(); h.claim(t, 5*time.Minute) }, 2 * time.Hour, runs.Failed, runs.CodeNotClaimed, nil},
		"the last lease is over": {func(t *testing.T, h *harness) {
			t.Helper()
			for range runs.MaxAttempts {
				h.claim(t, 5*time.Minute)
				h.now = h.now.Add(5 * time.Minute)
			}
		}, 0, runs.Failed, runs.CodeLeaseExpired, nil},
		"the lease is over and the sync paused": {func(t *testing.T, h *harness) {
			t.Helper()
			h.claim(t, 5*time.Minute)
			h.sync.Version, h.sync.Status = h.sync.Version+1, syncs.Disabled
			if err := h.store.Replace(t.Context(), h.sync); err != nil {
				t.Fatal(err)
			}
		}, 5 * time.Minute, runs.Canceled, "", nil},
		"ended": {func(t *testing.T, h *harness) {
			t.Helper()
			who := auth.Caller{Workspace: h.sync.Workspace, Scopes: []string{string(auth.ExecuteRuns)}}
			if _, err := h.Runs.Finish(t.Context(), who, h.key, runs.Report{Fence: new(h.claim(t, time.Minute).Fence()), Status: new("success")}); err != nil {
				t.Fatal(err)
			}
		}, time.Hour, runs.Success, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			if test.prepare != nil {
				test.prepare(t, h)
			}
			h.now = h.now.Add(test.after)
			if failed := h.handle(t, h.message()); failed != nil {
				t.Errorf("failed %v", failed)
			}
			stored, err := h.Runs.Store.Run(t.Context(), h.key)
			if err != nil || stored.Status != test.status || stored.ErrorCode != test.code {
				t.Errorf("got %s %s, %v", stored.Status, stored.ErrorCode, err)
			}
			var delays []int
			for _, m := range h.aws.Messages() {
				delays = append(delays, m.DelaySeconds)
				if m.MessageBody != h.message() || m.QueueURL != "https://sqs.example.com/watch" {
					t.Errorf("got %+v", m)
				}
			}
			if diff := cmp.Diff(test.delays, delays); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHandleFails checks that a batch names the messages that failed, and no others.
func TestHandleFails(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	unknown, err := json.Marshal(map[string]string{"workspace": "acme", "sync": h.sync.ID, "time": "2026-11-24T07:00:00Z"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1", "4"}, h.handle(t, h.message(), "{", string(unknown), h.message(), `{"time":5}`)); diff != "" {
		t.Error(diff)
	}
	h.aws.Refuse = func(awsfake.Call) *awsfake.Error { return &awsfake.Error{Code: "AccessDenied"} }
	if diff := cmp.Diff([]string{"0"}, h.handle(t, h.message(), string(unknown))); diff != "" {
		t.Error(diff)
	}
}
