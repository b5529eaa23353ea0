package dynamo_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"syncplane/pkg/app"
	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/storage/storagetest/runstest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/chaosproxy"
	"syncplane/pkg/testkit/dynamotest"
)

func backend(store, truth *dynamo.Store) runstest.Backend {
	clock := runstest.NewClock()
	return runstest.Backend{
		Runs: dynamo.Runs{Store: store, Now: clock.Now}, Syncs: store,
		Truth: dynamo.Runs{Store: truth, Now: clock.Now}, Clock: clock,
	}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	runstest.Run(t, unfaulted)
}

// unfaulted returns a backend with a new table, without faults.
func unfaulted(t *testing.T) runstest.Backend {
	t.Helper()
	store := open(t, config(t))
	return backend(store, store)
}

// TestUnreadableRuns writes items that no version of ours does.
func TestUnreadableRuns(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	var log bytes.Buffer
	store.Log = slog.New(slog.NewJSONHandler(&log, nil))
	spoil := func(t *testing.T, partition, sort string) {
		t.Helper()
		if _, err := store.Client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: &store.Table, UpdateExpression: aws.String("SET version = :text"),
			Key:                       map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: partition}, "sk": &types.AttributeValueMemberS{Value: sort}},
			ExpressionAttributeValues: map[string]types.AttributeValue{":text": &types.AttributeValueMemberS{Value: "x"}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	runstest.Unreadable(t, backend(store, store), runstest.Spoiler{
		Run: func(t *testing.T, key runs.Key) {
			t.Helper()
			spoil(t, key.Workspace+"#"+key.SyncID, "RUN#"+key.Time.Format(time.RFC3339))
		},
		Slot: func(t *testing.T, workspace, syncID string) { t.Helper(); spoil(t, workspace, "OPEN#"+syncID) },
	})
	if !strings.Contains(log.String(), `"msg":"unreadable run"`) {
		t.Errorf("the log is %s", &log)
	}
}

func TestMustHold1OneRunPerTimeOneOpenOneWaiting(t *testing.T) {
	t.Parallel()
	runstest.MustHold1(t, unfaulted(t))
}

func TestMustHold2OneReportFromTheLiveFence(t *testing.T) {
	t.Parallel()
	runstest.MustHold2(t, unfaulted(t))
}

func TestMustHold3EveryRunEnds(t *testing.T) {
	t.Parallel()
	runstest.MustHold3(t, unfaulted(t))
}

func TestMustHold4ReportsAreKeptAndFinalIsFinal(t *testing.T) {
	t.Parallel()
	runstest.MustHold4(t, unfaulted(t))
}

// `make soak` sets these.
var (
	soak = flag.Duration("soak", 0, "how long TestRunModel runs; 0 is a few sequences of operations")
	seed = flag.Uint64("seed", 1, "the seed of the faults, and of the first round of TestRunModel with -soak")
)

// TestRunModel runs the model over a DynamoDB that throttles, resets
// connections and loses answers.
func TestRunModel(t *testing.T) {
	if *soak > 0 {
		runstest.Soak{Duration: *soak, Seed: *seed, Checks: 20, Open: behindFaults}.Run(t)
		return
	}
	runstest.Limit(t, 5) // over a network a check takes half a second
	var figures runstest.Figures
	rapid.Check(t, runstest.Check(behindFaults(t, *seed), &figures))
	t.Logf("%+v", figures)
}

// behindFaults returns a backend with a new table behind a proxy that injects faults.
func behindFaults(t *testing.T, seed uint64) func(*rapid.T) runstest.Backend {
	t.Helper()
	c := config(t)
	truth := open(t, c)
	t.Cleanup(func() { // DynamoDB Local keeps all tables in memory
		in := &dynamodb.DeleteTableInput{TableName: &truth.Table}
		if _, err := truth.Client.DeleteTable(context.Background(), in); err != nil {
			t.Error(err)
		}
	})
	proxy := chaosproxy.Start(t, c.DynamoDBEndpoint, seed, 0.1)
	c.DynamoDBEndpoint = proxy.URL
	store := app.DynamoDB(c)
	return func(*rapid.T) runstest.Backend { return backend(store, truth) }
}

// TestRunsCostWriteUnits checks the requests and units of each step in the life of a
// run; docs/benchmarks.md computes the cost of a million runs from them.
func TestRunsCostWriteUnits(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	meter := dynamotest.Measure(store)
	b := backend(meter.Store, store)
	who := auth.Caller{Workspace: "acme", Scopes: []string{string(auth.WriteSyncs), string(auth.ExecuteRuns)}}
	service := &runs.Service{Store: b.Runs, Syncs: b.Syncs, Now: b.Clock.Now, Retention: runs.DefaultRetention()}
	sync := storagetest.NewSync(t)
	sync.Workspace, sync.Status = "acme", syncs.Pending
	if err := meter.Store.Create(t.Context(), sync); err != nil {
		t.Fatal(err)
	}
	check := func(step string, want dynamotest.Usage, err error) {
		t.Helper()
		if got := meter.Take(); got != want || err != nil {
			t.Errorf("%s: got %+v, %v, want %+v", step, got, err, want)
		}
	}
	check("create a sync", dynamotest.Usage{Requests: 1, WriteUnits: 1}, nil)
	for round, first := range []bool{true, false} {
		key := runs.Key{Workspace: "acme", SyncID: sync.ID, Time: b.Clock.Now().Truncate(time.Minute)}
		_, created, err := service.Due(t.Context(), key, false)
		if !created {
			t.Fatal("no run was created")
		}
		due := dynamotest.Usage{Requests: 5, ReadUnits: 4, WriteUnits: 4}
		if first {
			due.ReadUnits-- // there is no newest run
		}
		check("due", due, err)
		run, _, err := service.Claim(t.Context(), who, key, runs.ClaimRequest{Executor: new("worker")})
		check("claim", dynamotest.Usage{Requests: 4, ReadUnits: 3, WriteUnits: 1}, err)
		fence := run.Fence()
		_, err = service.Heartbeat(t.Context(), who, key, runs.HeartbeatRequest{Fence: &fence, Counters: runs.Counters{TotalRows: new(int64(round))}})
		check("heartbeat", dynamotest.Usage{Requests: 1, WriteUnits: 1}, err)
		_, err = service.Finish(t.Context(), who, key, runs.Report{Fence: &fence, Status: new("success")})
		finish := dynamotest.Usage{Requests: 5, ReadUnits: 4, WriteUnits: 4}
		if first { // the status of the sync changes
			finish.WriteUnits += 2
		}
		check("finish", finish, err)
		b.Clock.Advance(time.Hour)
	}
}

// refuser answers the first calls in the place of DynamoDB, which does not get them.
type refuser struct {
	dynamodb.HTTPClient
	times  int32
	answer func(call int32, r *http.Request, response *http.Response) (*http.Response, error)
}

func (c *refuser) Do(r *http.Request) (*http.Response, error) {
	if c.times--; c.times < 0 {
		return c.HTTPClient.Do(r)
	}
	return c.answer(0, r, &http.Response{Body: http.NoBody})
}

// TestRunCancellations checks for which reasons a canceled transaction of a run is
// repeated, and what a caller gets.
func TestRunCancellations(t *testing.T) {
	t.Parallel()
	shared := open(t, config(t))
	for _, test := range []struct {
		reasons []string
		again   bool
		kind    fault.Kind
		stale   bool
		retry   time.Duration
	}{
		{[]string{"ThrottlingError", "None"}, true, fault.Unavailable, false, 2 * time.Second},
		{[]string{"None", "ThrottlingError"}, true, fault.Unavailable, false, 2 * time.Second},
		{[]string{"None", "ProvisionedThroughputExceeded"}, true, fault.Unavailable, false, 2 * time.Second},
		{[]string{"RequestLimitExceeded", "None"}, true, fault.Unavailable, false, 2 * time.Second},
		{[]string{"None", "ConditionalCheckFailed"}, false, fault.Conflict, true, 0},
		{[]string{"TransactionConflict", "None"}, false, fault.Conflict, true, 0},
		{[]string{"ThrottlingError", "TransactionConflict"}, false, fault.Conflict, true, 0},
		{[]string{"ThrottlingError", "ConditionalCheckFailed"}, false, fault.Conflict, true, 0},
		{[]string{"ThrottlingError", "ValidationError"}, false, fault.Internal, false, 0},
		{[]string{"None", "None"}, false, fault.Internal, false, 0},
	} {
		t.Run(strings.Join(test.reasons, " "), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond) // time for some tries
			defer cancel()
			commit := func(ctx context.Context, w *wire, times int32) error {
				st := through(shared, w)
				w.HTTPClient = &refuser{HTTPClient: w.HTTPClient, times: times, answer: answer(0, 400, cancelled(test.reasons...))}
				s := storagetest.NewSync(t)
				at := time.Now().UTC().Truncate(time.Second)
				r := runs.Run{
					Key: runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: at}, Version: 1, Status: runs.Queued,
					DeadlineAt: at.Add(time.Hour), CreatedAt: at, UpdatedAt: at, ExpiresAt: at.Add(24 * time.Hour),
				}
				return dynamo.Runs{Store: st, Now: time.Now}.Commit(ctx, runs.Change{
					Runs: []runs.Run{r},
					Slot: &runs.SlotChange{After: &runs.Slot{Workspace: s.Workspace, SyncID: s.ID, Version: 1, Open: at}},
				})
			}
			w := &wire{}
			err := commit(ctx, w, math.MaxInt32)
			fails(t, err, test.kind, test.retry)
			if errors.Is(err, runs.ErrStale) != test.stale {
				t.Errorf("got %v", err)
			}
			if again := w.calls.Load() > 1; again != test.again {
				t.Errorf("%d calls were made", w.calls.Load())
			}
			if test.again {
				if err := commit(t.Context(), &wire{}, 2); err != nil {
					t.Errorf("refused twice: %v", err)
				}
			}
		})
	}
}
