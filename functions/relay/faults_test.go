package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/chaosproxy"
	"syncplane/pkg/testkit/stacktest"
)

// The size of TestFaults.
const (
	lives    = 25 // syncs
	changes  = 150
	maxBatch = 20
	share    = 0.15 // of the calls that have a fault
	tries    = 100  // of a batch
)

// TestFaults checks, with random faults in the calls of the relay and with batches that
// are delivered again, that in the end the schedules match the table and every event
// was published.
func TestFaults(t *testing.T) {
	tb := newTable(t)
	stack := stacktest.New(t, tb.config)
	broken := stack.Config
	broken.DynamoDBEndpoint = chaosproxy.Start(t, broken.DynamoDBEndpoint, 1, share).URL
	aws := chaosproxy.Start(t, broken.EventBridgeEndpoint, 2, share)
	broken.EventBridgeEndpoint, broken.SchedulerEndpoint = aws.URL, aws.URL
	r := &relay.Relay{
		Publisher:  eventfunc.Publisher(broken.Common, broken.PublisherConfig),
		Reconciler: eventfunc.Reconciler(broken.Common, broken.ReconcilerConfig, app.Credentials(broken.Config)),
		Log:        app.Logger(io.Discard, ""),
	}
	random := rand.New(rand.NewPCG(3, 3))

	// Write random changes.
	var alive []syncs.Sync
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
			want[fmt.Sprintf("%s/%d/deleted", alive[i].ID, alive[i].Version)] = true
			alive = append(alive[:i], alive[i+1:]...)
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
			want[fmt.Sprintf("%s/%d", s.ID, s.Version)] = true
		}
	}

	// Deliver batches as Lambda does: in order, from the first failed record on.
	// Some records are delivered again.
	var records []events.DynamoDBEventRecord
	for _, text := range tb.records(t) {
		var record events.DynamoDBEventRecord
		check(t, json.Unmarshal(text, &record))
		records = append(records, record)
	}
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

	for _, e := range stack.Published(t) {
		delete(want, e.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d events are missing: %v", len(want), want)
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
