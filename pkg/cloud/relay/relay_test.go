package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/awsfake"
)

// fakeAWS is EventBridge and Scheduler. They refuse the events and the schedules
// of a sync.
type fakeAWS struct {
	refuseEvents, refuseSchedules string // the last letter of the ID of the sync; "" is none
	awsfake.Server
}

// start serves c until the test ends, and returns its address.
func (c *fakeAWS) start(t *testing.T) string {
	t.Helper()
	c.RefuseEntry = func(e awsfake.Entry) string {
		if c.refuseEvents != "" && strings.HasSuffix(subject(e), c.refuseEvents) {
			return "InternalFailure"
		}
		return ""
	}
	c.Refuse = func(call awsfake.Call) *awsfake.Error {
		if c.refuseSchedules != "" && strings.HasSuffix(call.Schedule, c.refuseSchedules) {
			return &awsfake.Error{Code: "ValidationException"}
		}
		return nil
	}
	return c.Start(t)
}

func subject(e awsfake.Entry) string {
	var seen eventtest.Event
	_ = json.Unmarshal([]byte(e.Detail), &seen) // an invalid event has the subject ""
	return seen.Subject
}

// lastLetters returns the last letter of each name, sorted.
func lastLetters(names []string) string {
	letters := []string{}
	for _, name := range names {
		letters = append(letters, name[len(name)-1:])
	}
	slices.Sort(letters)
	return strings.Join(letters, "")
}

// table holds a sync for every ID. The one whose ID ends with unreadable cannot be
// read; the one whose ID ends with unscheduled has an invalid schedule.
type table struct{ unreadable, unscheduled string }

func (tb table) Read(_ context.Context, workspace, id string) (syncs.Sync, error) {
	switch {
	case tb.unreadable != "" && strings.HasSuffix(id, tb.unreadable):
		return syncs.Sync{}, fmt.Errorf("%w: no", syncs.ErrUnreadable)
	case tb.unscheduled != "" && strings.HasSuffix(id, tb.unscheduled):
		return syncs.Sync{Workspace: workspace, ID: id, Version: 1, CronExpression: "@hourly", Status: syncs.Pending}, nil
	}
	return syncs.Sync{Workspace: workspace, ID: id, Version: 1, SyncInterval: 30, Status: syncs.Pending}, nil
}

// records returns a create of a sync for each letter; the ID of the sync ends with
// it.
func records(t *testing.T, letters string) []events.DynamoDBEventRecord {
	t.Helper()
	text, err := os.ReadFile("../../../events/stream.json")
	if err != nil {
		t.Fatal(err)
	}
	var sample events.DynamoDBEvent
	if err := json.Unmarshal(text, &sample); err != nil {
		t.Fatal(err)
	}
	var all []events.DynamoDBEventRecord
	for i, letter := range letters {
		id := "019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5" + string(letter)
		record := sample.Records[0]
		record.Change.SequenceNumber = fmt.Sprint("number ", i)
		image := maps.Clone(record.Change.NewImage)
		image["id"], image["sk"] = events.NewStringAttribute(id), events.NewStringAttribute("SYNC#"+id)
		record.Change.NewImage = image
		record.Change.Keys = map[string]events.DynamoDBAttributeValue{"pk": image["pk"], "sk": image["sk"]}
		all = append(all, record)
	}
	return all
}

// TestHandle checks which record the response names, and which records were
// handled.
func TestHandle(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		letters   string
		edit      func(all []events.DynamoDBEventRecord)
		aws       *fakeAWS
		failed    []string
		published string
		scheduled string
		table     table
	}{
		"no failure":              {"abcde", nil, &fakeAWS{}, nil, "abcde", "abcde", table{}},
		"no records":              {"", nil, &fakeAWS{}, nil, "", "", table{}},
		"a sync twice":            {"abab", nil, &fakeAWS{}, nil, "abab", "ab", table{}},
		"an event is refused":     {"abcde", nil, &fakeAWS{refuseEvents: "c"}, []string{"number 2"}, "abde", "ab", table{}},
		"a schedule is refused":   {"abcde", nil, &fakeAWS{refuseSchedules: "c"}, []string{"number 2"}, "abcde", "abde", table{}},
		"the first schedule is":   {"abcde", nil, &fakeAWS{refuseSchedules: "a"}, []string{"number 0"}, "abcde", "bcde", table{}},
		"an event and a schedule": {"abcde", nil, &fakeAWS{refuseEvents: "d", refuseSchedules: "b"}, []string{"number 1"}, "abce", "ac", table{}},
		"an unreadable record": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[3].Change.NewImage["version"] = events.NewStringAttribute("x")
		}, &fakeAWS{}, nil, "abce", "abcde", table{}},
		"an old image that is no sync": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[2].Change.OldImage = map[string]events.DynamoDBAttributeValue{"pk": all[2].Change.Keys["pk"], "sk": all[2].Change.Keys["sk"]}
		}, &fakeAWS{}, nil, "abde", "abcde", table{}},
		"a row that is unreadable by now": {"abcde", nil, &fakeAWS{}, nil, "abcde", "acde", table{unreadable: "b"}},
		"a sync with an invalid schedule": {"abcde", nil, &fakeAWS{}, nil, "abcde", "abcd", table{unscheduled: "e"}},
		"an unreadable record and a refused event": {"ab", func(all []events.DynamoDBEventRecord) {
			delete(all[0].Change.NewImage, "version")
		}, &fakeAWS{refuseEvents: "b"}, []string{"number 1"}, "", "a", table{}},
		"a record without an image": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[1].Change.NewImage = nil
		}, &fakeAWS{}, []string{"number 1"}, "a", "a", table{}},
		"very long cron expressions": {"abcde", func(all []events.DynamoDBEventRecord) {
			for _, i := range []int{1, 2, 4} {
				all[i].Change.NewImage["cron_expression"] = events.NewStringAttribute("0" + strings.Repeat(",0", 131_000) + " 6 * * *")
			}
		}, &fakeAWS{}, nil, "abcde", "abcde", table{}},
		"other items": {"abc", func(all []events.DynamoDBEventRecord) {
			all[1].Change.Keys["sk"] = events.NewStringAttribute("ONCE#k")
		}, &fakeAWS{}, nil, "ac", "ac", table{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := test.aws.start(t)
			config := eventfunc.Common{
				Config: app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "syncs"},
				APIURL: "https://api.example.com",
			}
			schedules := eventfunc.Reconciler(config, eventfunc.ReconcilerConfig{SchedulerEndpoint: address, ScheduleGroup: "group"}, app.Credentials(config.Config))
			schedules.Syncs, schedules.Now = test.table, time.Now
			publisher := eventfunc.Publisher(config, eventfunc.PublisherConfig{EventBus: "bus", EventBridgeEndpoint: address})
			r := &relay.Relay{Publisher: publisher, Reconciler: schedules, Log: app.Logger(io.Discard, "")}
			batch := events.DynamoDBEvent{Records: records(t, test.letters)}
			if test.edit != nil {
				test.edit(batch.Records)
			}
			response, err := r.Handle(t.Context(), batch)
			if err != nil {
				t.Fatal(err)
			}
			var failed []string
			for _, f := range response.BatchItemFailures {
				failed = append(failed, f.ItemIdentifier)
			}
			var published []string
			for _, e := range test.aws.Entries() {
				published = append(published, subject(e))
			}
			want := []string{strings.Join(test.failed, " "), sorted(test.published), test.scheduled}
			got := []string{strings.Join(failed, " "), lastLetters(published), lastLetters(test.aws.Schedules("group"))}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func sorted(letters string) string {
	all := strings.Split(letters, "")
	slices.Sort(all)
	return strings.Join(all, "")
}
