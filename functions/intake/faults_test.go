package main_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/intake"
	"syncplane/pkg/testkit/chaosproxy"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/stacktest"
)

// The size of TestFaults.
const (
	requests   = 50
	invalid    = 15   // of the requests
	share      = 0.25 // of the calls that have a fault
	maxBatches = 200
)

// TestFaults checks, with random faults in the calls of the intake and with messages
// that SQS delivers twice, that each request creates one sync or publishes one kind of
// rejection.
func TestFaults(t *testing.T) {
	config := dynamotest.NewTable(t)
	stack := stacktest.New(t, config)
	broken := stack.Config
	broken.DynamoDBEndpoint = chaosproxy.Start(t, broken.DynamoDBEndpoint, 1, share).URL
	broken.EventBridgeEndpoint = chaosproxy.Start(t, broken.EventBridgeEndpoint, 2, share).URL
	in := &intake.Intake{
		Syncs: app.Service(app.DynamoDB(broken.Config)), Publisher: eventfunc.Publisher(broken.Common, broken.PublisherConfig), Now: time.Now, Log: app.Logger(io.Discard, ""),
	}

	queue := map[string]string{}
	want, rejected := map[string]int{}, map[string]bool{}
	for i := range requests {
		id := fmt.Sprintf("event-%d", i)
		sync := strings.Replace(good, "contacts", id, 1)
		if i < invalid {
			sync = strings.Replace(sync, "full_refresh", "incremental", 1)
			rejected[id+"/rejected"] = true
		} else {
			want[id] = 1
		}
		queue[id] = event(id, `{"workspace_id":"acme","sync":`+sync+`}`)
	}
	drain(t, in, queue)
	list, _, err := app.DynamoDB(config).List(t.Context(), "acme", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, s := range list {
		got[s.StreamName]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, e := range stack.Published(t) {
		delete(rejected, e.ID)
	}
	if len(rejected) > 0 {
		t.Errorf("%d rejections were not published: %v", len(rejected), rejected)
	}
}
