package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/auth"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/testkit/dynamotest"
)

// The load of the measurements of runs.
const (
	lives    = 300 // whole lives of runs through the function
	history  = 43_200
	lifeTime = 8 * time.Second // of the clients of the local server
	lifeSync = 256             // syncs that the clients of the local server run
)

// runFigures is what was measured of runs.
type runFigures struct {
	operations []*operation // through the function
	lists      []listing    // of the runs of a sync; syncs is the number of runs
	perSecond  float64      // whole lives at the local server
	creates    float64      // a second at the same server, for comparison
	steps      []step
}

// step is a step in the life of a run, with what it uses of DynamoDB.
type step struct {
	name  string
	usage dynamotest.Usage
}

// measureRuns measures the life of runs through the function, over DynamoDB and at the
// local server, prints the figures, and returns an error if a bound is missed.
func measureRuns(ctx context.Context, l *lab, dir string) error {
	fmt.Fprintln(os.Stderr, "the life of runs")
	var r runFigures
	var err error
	if r.operations, r.lists, err = l.measureLives(ctx); err != nil {
		return err
	}
	if r.perSecond, r.creates, err = measureLocalLives(ctx, filepath.Join(dir, "runs")); err != nil {
		return err
	}
	if r.steps, err = countUsage(ctx, l.store); err != nil {
		return err
	}
	return reportRuns(r)
}

// address is where a run is, with its fence.
type address struct {
	path  string
	fence int64
}

// begin triggers a run of a sync.
func begin(call caller, sync string) (address, error) {
	body, err := call("POST", sync+"/sync_runs", "")
	var run struct {
		Attributes struct {
			ScheduledTime string `json:"scheduled_time"`
		} `json:"attributes"`
	}
	if err == nil {
		err = json.Unmarshal(body, &run)
	}
	return address{path: sync + "/sync_runs/" + run.Attributes.ScheduledTime}, err
}

// claim claims a run.
func (a *address) claim(call caller) error {
	body, err := call("POST", a.path+"/claim", `{"executor":"bench"}`)
	var run struct {
		Attributes struct {
			Fence int64 `json:"fence"`
		} `json:"attributes"`
	}
	if err == nil {
		err = json.Unmarshal(body, &run)
	}
	a.fence = run.Attributes.Fence
	return err
}

func (a *address) heartbeat(call caller) error {
	_, err := call("POST", a.path+"/heartbeat", fmt.Sprintf(`{"fence":%d,"counters":{"total_rows":7}}`, a.fence))
	return err
}

func (a *address) finish(call caller) error {
	_, err := call("POST", a.path+"/finish", fmt.Sprintf(`{"fence":%d,"status":"success","counters":{"total_rows":9}}`, a.fence))
	return err
}

// newSync creates a sync and returns its path.
func newSync(call caller) (string, error) {
	body, err := call("POST", "/api/v1/syncs", createBody)
	var sync struct {
		ID string `json:"id"`
	}
	if err == nil {
		err = json.Unmarshal(body, &sync)
	}
	return "/api/v1/syncs/" + sync.ID, err
}

// measureLives measures the steps of runs and, for comparison, creates, and the list of
// the runs of a sync with few and with many of them.
func (l *lab) measureLives(ctx context.Context) ([]*operation, []listing, error) {
	f, err := l.start(ctx, l.candidates[1])
	if err != nil {
		return nil, nil, err
	}
	defer f.Close() //nolint:errcheck // it was used to its end
	call := func(method, path, body string, header ...string) ([]byte, error) {
		return invoke(ctx, f, l.token, request{method, path, body, header})
	}
	create, trigger, claim := &operation{name: "create"}, &operation{name: "trigger"}, &operation{name: "claim"}
	heartbeat, finish := &operation{name: "heartbeat"}, &operation{name: "finish"}
	var sync string
	for range lives {
		if sync, err = newSync(call); err != nil {
			return nil, nil, err
		}
		create.took = append(create.took, f.Duration())
		run, err := begin(call, sync)
		if err != nil {
			return nil, nil, err
		}
		trigger.took = append(trigger.took, f.Duration())
		for _, step := range []struct {
			op *operation
			do func(call caller) error
		}{{claim, run.claim}, {heartbeat, run.heartbeat}, {finish, run.finish}} {
			if err := step.do(call); err != nil {
				return nil, nil, err
			}
			step.op.took = append(step.op.took, f.Duration())
		}
	}
	lists, err := l.measureHistory(ctx, f, call)
	return []*operation{create, trigger, claim, heartbeat, finish}, lists, err
}

// measureHistory measures the list of the runs of two syncs, one with few and one with
// many, taking turns.
func (l *lab) measureHistory(ctx context.Context, f *lambdaruntime.Function, call caller) ([]listing, error) {
	lists, took, syncs := []listing{{syncs: 20}, {syncs: history}}, [2][]time.Duration{}, [2]string{}
	for i := range lists {
		fmt.Fprintf(os.Stderr, "a sync with %d runs\n", lists[i].syncs)
		var err error
		if syncs[i], err = newSync(call); err != nil {
			return nil, err
		}
		if err := fillRuns(ctx, l.store, filepath.Base(syncs[i]), lists[i].syncs); err != nil {
			return nil, err
		}
		meter := dynamotest.Measure(l.store)
		all := dynamo.Runs{Store: meter.Store, Now: time.Now}
		if _, _, err := all.Runs(ctx, "bench", filepath.Base(syncs[i]), time.Time{}, runs.DefaultPage+1); err != nil {
			return nil, err
		}
		lists[i].units = meter.Take().ReadUnits
	}
	for range lives {
		for i, sync := range syncs {
			if _, err := call("GET", sync+"/sync_runs", ""); err != nil {
				return nil, err
			}
			took[i] = append(took[i], f.Duration())
		}
	}
	for i := range lists {
		lists[i].took = median(took[i])
	}
	return lists, nil
}

// fillRuns writes ended runs of a sync, one a minute until now.
func fillRuns(ctx context.Context, store *dynamo.Store, syncID string, count int) error {
	now := time.Now().UTC().Truncate(time.Minute)
	first := runs.Run{
		Key: runs.Key{Workspace: "bench", SyncID: syncID, Time: now}, Version: 1, Status: runs.Success, Trigger: runs.BySchedule, Type: runs.General,
		Attempt: 1, Executor: "bench", CreatedAt: now, UpdatedAt: now, StartedAt: now, FinishedAt: now, Reported: true, ExpiresAt: now.Add(24 * time.Hour),
	}
	all := dynamo.Runs{Store: store, Now: time.Now}
	if err := all.Commit(ctx, runs.Change{Runs: []runs.Run{first}}); err != nil {
		return err
	}
	out, err := store.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &store.Table, Key: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: "bench#" + syncID}, "sk": &types.AttributeValueMemberS{Value: "RUN#" + now.Format(time.RFC3339)},
	}})
	if err != nil {
		return err
	}
	const batch = 25 // DynamoDB's limit
	for done := 1; done < count; {
		var writes []types.WriteRequest
		for ; len(writes) < batch && done < count; done++ {
			at := now.Add(-time.Duration(done) * time.Minute)
			item := maps.Clone(out.Item)
			item["sk"] = &types.AttributeValueMemberS{Value: "RUN#" + at.Format(time.RFC3339)}
			item["scheduled_time"] = &types.AttributeValueMemberN{Value: strconv.FormatInt(at.Unix(), 10)}
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
		}
		if _, err := store.Client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{store.Table: writes}}); err != nil {
			return err
		}
	}
	return nil
}

// measureLocalLives has concurrent clients trigger, claim, extend and finish runs at the
// local server, and returns how many lives it completes in a second, and how many
// creates.
func measureLocalLives(ctx context.Context, dataDir string) (perSecond, creates float64, err error) {
	server, err := startLocal(ctx, dataDir, "syncs:write runs:execute")
	if err != nil {
		return 0, 0, err
	}
	call := func(method, path, body string, _ ...string) ([]byte, error) {
		return server.call(ctx, method, path, body)
	}
	syncs := make(chan string, lifeSync)
	for range lifeSync {
		sync, err := newSync(call)
		if err != nil {
			return 0, 0, errors.Join(err, server.stop())
		}
		syncs <- sync
	}
	var mu sync.Mutex
	var failure error
	done := 0
	var all sync.WaitGroup
	start := time.Now()
	for range clients {
		all.Go(func() {
			var err error
			lived := 0
			for err == nil && time.Since(start) < lifeTime {
				sync := <-syncs
				var run address
				if run, err = begin(call, sync); err != nil {
					break
				}
				err = errors.Join(run.claim(call), run.heartbeat(call), run.finish(call))
				syncs <- sync
				lived++
			}
			mu.Lock()
			defer mu.Unlock()
			done, failure = done+lived, errors.Join(failure, err)
		})
	}
	all.Wait()
	perSecond = float64(done) / time.Since(start).Seconds()
	creates, err = server.creates(ctx)
	return perSecond, creates, errors.Join(failure, err, server.stop())
}

// countUsage counts what each step uses of DynamoDB. TestRunsCostWriteUnits asserts the
// figures.
func countUsage(ctx context.Context, store *dynamo.Store) ([]step, error) {
	if err := fill(ctx, store, "usage", 1); err != nil {
		return nil, err
	}
	const syncID = "00000000-0000-7000-8000-000000000000" // of fill
	now := time.Now().UTC().Truncate(time.Minute)
	meter := dynamotest.Measure(store)
	service := &runs.Service{
		Store: dynamo.Runs{Store: meter.Store, Now: time.Now}, Syncs: meter.Store, Now: time.Now, Retention: runs.DefaultRetention(),
	}
	who := auth.Caller{Workspace: "usage", Scopes: []string{string(auth.ExecuteRuns)}}
	var steps []step
	for round := range 2 { // the first run changes the status of the sync
		steps = nil
		key := runs.Key{Workspace: "usage", SyncID: syncID, Time: now.Add(time.Duration(round-2) * time.Minute)}
		taken := func(name string) { steps = append(steps, step{name, meter.Take()}) }
		meter.Take()
		if _, _, err := service.Due(ctx, key, false); err != nil {
			return nil, err
		}
		taken("due")
		run, _, err := service.Claim(ctx, who, key, runs.ClaimRequest{Executor: new("bench")})
		if err != nil {
			return nil, err
		}
		taken("claim")
		fence := run.Fence()
		if _, err := service.Heartbeat(ctx, who, key, runs.HeartbeatRequest{Fence: &fence}); err != nil {
			return nil, err
		}
		taken("heartbeat")
		if _, err := service.Finish(ctx, who, key, runs.Report{Fence: &fence, Status: new(string(runs.Success))}); err != nil {
			return nil, err
		}
		taken("finish")
	}
	return steps, nil
}

// reportRuns prints the figures, and returns an error if a bound is missed.
func reportRuns(r runFigures) error {
	printOperations(r.operations)
	for _, l := range r.lists {
		fmt.Printf("A page of 20 runs of a sync with %d: %.1f read units, %.2f ms.\n", l.syncs, l.units, ms(l.took))
	}
	fmt.Printf("The local server, bbolt with fsync, %d clients: %.0f whole lives of a run a second (trigger, claim, heartbeat, finish); %.0f creates a second.\n\n", clients, r.perSecond, r.creates)
	fmt.Println("| of a million runs | requests | read units | write units |")
	fmt.Println("|---|---|---|---|")
	var sum dynamotest.Usage
	million := func(name string, u dynamotest.Usage) {
		fmt.Printf("| %s | %d million | %.0f million | %.0f million |\n", name, u.Requests, u.ReadUnits, u.WriteUnits)
	}
	for _, s := range r.steps {
		million(s.name, s.usage)
		sum.Requests += s.usage.Requests
		sum.ReadUnits += s.usage.ReadUnits
		sum.WriteUnits += s.usage.WriteUnits
	}
	million("together", sum)
	fmt.Println()
	create, heartbeat := median(r.operations[0].took), median(r.operations[3].took)
	b := &bounds{}
	b.check("heartbeat p50 over create p50", ratio(heartbeat, create), 1.6)
	b.check("list of 43,200 runs over list of 20", ratio(r.lists[1].took, r.lists[0].took), 1.25)
	b.check("read units of the list of 43,200 runs over those of 20", r.lists[1].units/r.lists[0].units, 1.5)
	b.check("creates a second over lives of runs a second", r.creates/r.perSecond, 12)
	b.check("write units of a run with one heartbeat", sum.WriteUnits, 10)
	return b.err()
}
