package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/chaosproxy"
	"syncplane/pkg/testkit/stacktest"
)

// The size of TestFaults.
const (
	lives    = 12 // syncs
	changes  = 60
	maxBatch = 20
	share    = 0.15 // of the calls that have a fault
	tries    = 100  // of a batch
)

// TestFaults has calls of the relay fail at any point and batches delivered again,
// and checks that in the end the schedules match the table, no event is
// missing, those of a sync's runs are in order, and the runs of paused and deleted
// syncs are stopped.
func TestFaults(t *testing.T) {
	tb := newTable(t)
	stack := stacktest.New(t, tb.config)
	broken := stack.Config
	broken.DynamoDBEndpoint = chaosproxy.Start(t, broken.DynamoDBEndpoint, 1, share).URL
	aws := chaosproxy.Start(t, broken.EventBridgeEndpoint, 2, share)
	broken.EventBridgeEndpoint, broken.SchedulerEndpoint, broken.SQSEndpoint = aws.URL, aws.URL, aws.URL
	r := &relay.Relay{
		Publisher:  eventfunc.Publisher(broken.Common, broken.PublisherConfig),
		Reconciler: eventfunc.Reconciler(broken.Common, broken.ReconcilerConfig, app.Credentials(broken.Config)),
		Runs:       eventfunc.Runs(app.DynamoDB(broken.Config), runs.DefaultRetention().Runs),
		Watch:      eventfunc.WatchQueue(broken.Common, broken.WatchConfig),
		Failures:   &relay.Failures{Client: stack.Queues, URL: stack.Config.RelayFailuresURL},
		Log:        app.Logger(io.Discard, ""),
	}
	random := rand.New(rand.NewPCG(3, 3))

	// Write random changes.
	var alive []syncs.Sync
	stopped := map[string]bool{} // syncs that were paused or deleted last
	want := map[string]bool{}
	for range changes {
		switch i := random.IntN(max(1, len(alive))); {
		case len(alive) < lives && random.IntN(3) == 0 || len(alive) == 0:
			s := newSync(t, func(s *syncs.Sync) {
				s.CronExpression = []string{"", "0 6 * * 1-5", "0 0 13 * FRI"}[random.IntN(3)]
			})
			check(t, tb.store.Create(t.Context(), s))
			alive = append(alive, s)
			want[s.ID+"/1"] = true
		case random.IntN(8) == 0:
			check(t, tb.store.Delete(t.Context(), alive[i]))
			stopped[alive[i].ID] = true
			want[fmt.Sprintf("%s/%d/deleted", alive[i].ID, alive[i].Version)] = true
			alive = append(alive[:i], alive[i+1:]...)
		case random.IntN(2) == 0:
			tb.runOnce(t, random, alive[i])
		default:
			s := alive[i]
			s.Version++
			switch random.IntN(4) {
			case 0:
				s.Status = syncs.Disabled
			case 1:
				s.Status = syncs.Pending
			case 2:
				s.CronExpression = []string{"", "*/5 * * * *", "0 0 1 * MON"}[random.IntN(3)]
			default:
				s.StreamName += "x"
			}
			check(t, tb.store.Replace(t.Context(), s))
			alive[i] = s
			stopped[s.ID] = s.Status == syncs.Disabled
			want[fmt.Sprintf("%s/%d", s.ID, s.Version)] = true
		}
	}

	// Deliver batches as Lambda does. The relay changes runs itself, which makes
	// further records.
	var order []string // the events of runs
	for records := tb.parsed(t); len(records) > 0; records = tb.parsed(t) {
		for _, record := range records {
			if run, ok, err := dynamo.RunOf(record); ok {
				check(t, err)
				e, _ := event.OfTransition(run, nil)
				order = append(order, e.ID)
				want[e.ID] = true
			}
		}
		relayAll(t, r, random, records)
	}

	position := map[string]int{} // of the first time that an event was published
	for i, e := range stack.Published(t) {
		delete(want, e.ID)
		if _, ok := position[e.ID]; !ok {
			position[e.ID] = i
		}
	}
	if len(want) > 0 {
		t.Errorf("%d events are missing: %v", len(want), want)
	}
	last := map[string]string{} // the event before, by sync
	for _, id := range order {
		of, _, _ := strings.Cut(id, "/")
		if before := last[of]; before != "" && position[before] > position[id] {
			t.Errorf("%s was published before %s", id, before)
		}
		last[of] = id
	}
	if len(order) < changes/5 {
		t.Errorf("there were only %d events of runs", len(order))
	}
	service := tb.service(time.Now())
	for id, ended := range stopped {
		slot, open, err := service.Store.Slot(t.Context(), "acme", id)
		check(t, err)
		if !ended || !open {
			continue
		}
		run, err := service.Store.Run(t.Context(), runs.Key{Workspace: "acme", SyncID: id, Time: slot.Open})
		check(t, err)
		deleted := !slices.ContainsFunc(alive, func(s syncs.Sync) bool { return s.ID == id })
		if run.Status != runs.InProgress || !slot.Waiting.IsZero() || deleted == run.CancelRequestedAt.IsZero() {
			t.Errorf("a run of a stopped sync: %+v, %+v", slot, run)
		}
	}
	expected, got := map[string]string{}, map[string]string{}
	for _, s := range alive {
		when, err := s.Schedule()
		check(t, err)
		state := "ENABLED "
		if s.Status == syncs.Disabled {
			state = "DISABLED "
		}
		for i, expression := range reconciler.Expressions(when) {
			expected["sync-"+s.ID+[]string{"", "-2"}[i]] = state + expression
		}
	}
	for name, s := range stack.All(t) {
		got[name] = s.State + " " + s.Expression
	}
	if diff := cmp.Diff(expected, got); diff != "" {
		t.Error(diff)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// runOnce triggers a test run of s, claims it or not, and ends it or not.
func (tb *table) runOnce(t *testing.T, random *rand.Rand, s syncs.Sync) {
	t.Helper()
	service := tb.service(time.Now())
	out, err := service.Trigger(t.Context(), caller(), runs.TriggerRequest{SyncID: s.ID, Type: runs.Test, Trigger: runs.ByAPI})
	if fault.Is(err, fault.Conflict) { // the sync is paused
		return
	}
	check(t, err)
	if out.Run.Status != runs.Queued || random.IntN(3) == 0 {
		return
	}
	run, _, err := service.Claim(t.Context(), caller(), out.Run.Key, runs.ClaimRequest{Executor: new("worker")})
	check(t, err)
	if random.IntN(2) == 0 {
		_, err = service.Finish(t.Context(), caller(), run.Key, runs.Report{Fence: new(run.Fence()), Status: new("success")})
		check(t, err)
	}
}

// parsed returns the new records of the stream as the relay reads them.
func (tb *table) parsed(t *testing.T) []events.DynamoDBEventRecord {
	t.Helper()
	var records []events.DynamoDBEventRecord
	for _, text := range tb.records(t) {
		var record events.DynamoDBEventRecord
		check(t, json.Unmarshal(text, &record))
		records = append(records, record)
	}
	return records
}

// relayAll delivers batches as Lambda does: in order, from the first failed record
// on. Some records are delivered again.
func relayAll(t *testing.T, r *relay.Relay, random *rand.Rand, records []events.DynamoDBEventRecord) {
	t.Helper()
	for at := 0; at < len(records); {
		if random.IntN(5) == 0 { // repeat earlier records
			at -= random.IntN(at + 1)
		}
		end := min(len(records), at+1+random.IntN(maxBatch))
		for try := 1; at < end; try++ {
			if try > tries {
				t.Fatalf("record %d was not relayed in %d tries", at, tries)
			}
			response, err := r.Handle(t.Context(), events.DynamoDBEvent{Records: records[at:end]})
			check(t, err)
			if len(response.BatchItemFailures) == 0 {
				at = end
				break
			}
			for records[at].Change.SequenceNumber != response.BatchItemFailures[0].ItemIdentifier {
				at++
			}
		}
	}
}
