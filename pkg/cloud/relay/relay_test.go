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

// cloud is EventBridge and Scheduler, which refuse what has to do with these
// syncs.
type cloud struct {
	refuseEvents, refuseSchedules string // the end of an ID; "" is none
	awsfake.Server
}

// start serves c until the test ends, and returns its address.
func (c *cloud) start(t *testing.T) string {
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
	var seen eventtest.Seen
	_ = json.Unmarshal([]byte(e.Detail), &seen) // no event has no subject
	return seen.Subject
}

// lastLetters returns the last letters of these names, sorted.
func lastLetters(names []string) string {
	letters := []string{}
	for _, name := range names {
		letters = append(letters, name[len(name)-1:])
	}
	slices.Sort(letters)
	return strings.Join(letters, "")
}

// table holds every sync that it is asked for. What ends with unreadable cannot be
// read, and what ends with unscheduled has a schedule that cannot be.
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

// records are creates of syncs whose IDs end with these letters.
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

// TestHandle holds which record a batch is taken up again from, and what was
// done of it.
func TestHandle(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		letters   string
		edit      func(all []events.DynamoDBEventRecord)
		cloud     *cloud
		failed    []string
		published string
		scheduled string
		table     table
	}{
		"all is well":              {"abcde", nil, &cloud{}, nil, "abcde", "abcde", table{}},
		"nothing":                  {"", nil, &cloud{}, nil, "", "", table{}},
		"a sync twice":             {"abab", nil, &cloud{}, nil, "abab", "ab", table{}},
		"no event of one":          {"abcde", nil, &cloud{refuseEvents: "c"}, []string{"number 2"}, "abde", "ab", table{}},
		"no schedule of one":       {"abcde", nil, &cloud{refuseSchedules: "c"}, []string{"number 2"}, "abcde", "abde", table{}},
		"no schedule of the first": {"abcde", nil, &cloud{refuseSchedules: "a"}, []string{"number 0"}, "abcde", "bcde", table{}},
		"no event, nor a schedule": {"abcde", nil, &cloud{refuseEvents: "d", refuseSchedules: "b"}, []string{"number 1"}, "abce", "ac", table{}},
		"one that cannot be read": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[3].Change.NewImage["version"] = events.NewStringAttribute("x")
		}, &cloud{}, nil, "abce", "abcde", table{}},
		"one that was something else": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[2].Change.OldImage = map[string]events.DynamoDBAttributeValue{"pk": all[2].Change.Keys["pk"], "sk": all[2].Change.Keys["sk"]}
		}, &cloud{}, nil, "abde", "abcde", table{}},
		"one that is something else by now":        {"abcde", nil, &cloud{}, nil, "abcde", "acde", table{unreadable: "b"}},
		"one of which the schedule cannot be read": {"abcde", nil, &cloud{}, nil, "abcde", "abcd", table{unscheduled: "e"}},
		"none that can be read, and no event of one": {"ab", func(all []events.DynamoDBEventRecord) {
			delete(all[0].Change.NewImage, "version")
		}, &cloud{refuseEvents: "b"}, []string{"number 1"}, "", "a", table{}},
		"one without an image": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[1].Change.NewImage = nil
		}, &cloud{}, []string{"number 1"}, "a", "a", table{}},
		"very long cron expressions": {"abcde", func(all []events.DynamoDBEventRecord) {
			for _, i := range []int{1, 2, 4} {
				all[i].Change.NewImage["cron_expression"] = events.NewStringAttribute("0" + strings.Repeat(",0", 131_000) + " 6 * * *")
			}
		}, &cloud{}, nil, "abcde", "abcde", table{}},
		"other items": {"abc", func(all []events.DynamoDBEventRecord) {
			all[1].Change.Keys["sk"] = events.NewStringAttribute("ONCE#k")
		}, &cloud{}, nil, "ac", "ac", table{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := test.cloud.start(t)
			config := eventfunc.Config{
				Config:   app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "syncs"},
				EventBus: "bus", APIURL: "https://api.example.com", EventBridgeEndpoint: address, SchedulerEndpoint: address, ScheduleGroup: "group",
			}
			schedules := eventfunc.Timetable(config, eventfunc.Credentials(config))
			schedules.Syncs, schedules.Now = test.table, time.Now
			r := &relay.Relay{Bus: eventfunc.EventBus(config), Timetable: schedules, Log: app.Logger(io.Discard, "")}
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
			for _, e := range test.cloud.Entries() {
				published = append(published, subject(e))
			}
			want := []string{strings.Join(test.failed, " "), sorted(test.published), test.scheduled}
			got := []string{strings.Join(failed, " "), lastLetters(published), lastLetters(test.cloud.Schedules("group"))}
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
