package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/boot"
	"syncplane/pkg/eventboot"
	"syncplane/pkg/relay"
	"syncplane/pkg/syncs"
)

// cloud is EventBridge and Scheduler on the wire. It refuses whatever has to do
// with the syncs that it is told of.
type cloud struct {
	refuseEvents, refuseSchedules string // the end of an ID; "" is none

	mu        sync.Mutex
	published []string // the ends of the IDs
	scheduled []string
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	refuse := func(status int, kind string) {
		w.Header().Set("X-Amzn-Errortype", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"__type":"`+kind+`","message":"no","Message":"no"}`)
	}
	if r.Header.Get("X-Amz-Target") == "AWSEvents.PutEvents" {
		var in struct {
			Entries []struct {
				Detail string `json:"Detail"` //nolint:tagliatelle // EventBridge's name
			} `json:"Entries"` //nolint:tagliatelle // as above
		}
		_ = json.Unmarshal(body, &in)
		size := 0
		for _, e := range in.Entries {
			size += len(e.Detail)
		}
		if size > 256<<10 {
			refuse(http.StatusBadRequest, "ValidationException") // all of them
			return
		}
		var results []string
		for _, e := range in.Entries {
			var seen struct {
				Subject string `json:"subject"`
			}
			_ = json.Unmarshal([]byte(e.Detail), &seen)
			if c.refuseEvents != "" && strings.HasSuffix(seen.Subject, c.refuseEvents) {
				results = append(results, `{"ErrorCode":"InternalFailure","ErrorMessage":"no"}`)
				continue
			}
			c.published = append(c.published, seen.Subject[len(seen.Subject)-1:])
			results = append(results, `{"EventId":"e"}`)
		}
		_, _ = io.WriteString(w, `{"FailedEntryCount":0,"Entries":[`+strings.Join(results, ",")+`]}`)
		return
	}
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case c.refuseSchedules != "" && strings.HasSuffix(name, c.refuseSchedules):
		refuse(http.StatusBadRequest, "ValidationException")
	case r.Method == http.MethodGet:
		refuse(http.StatusNotFound, "ResourceNotFoundException")
	default:
		c.scheduled = append(c.scheduled, name[len(name)-1:])
		_, _ = io.WriteString(w, `{"ScheduleArn":"arn"}`)
	}
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
	text, err := os.ReadFile("../../events/stream.json")
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
			server := httptest.NewServer(test.cloud)
			t.Cleanup(server.Close)
			config := eventboot.Config{
				Config:   boot.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", DynamoDBEndpoint: server.URL, TableName: "syncs"},
				EventBus: "bus", APIURL: "https://api.example.com", EventBridgeEndpoint: server.URL, SchedulerEndpoint: server.URL, ScheduleGroup: "group",
			}
			schedules := eventboot.Timetable(config, eventboot.Credentials(config))
			schedules.Syncs, schedules.Now = test.table, time.Now
			r := &relay.Relay{Bus: eventboot.EventBus(config), Timetable: schedules, Log: boot.Logger(io.Discard, "")}
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
			slices.Sort(test.cloud.scheduled)
			slices.Sort(test.cloud.published)
			want := []string{strings.Join(test.failed, " "), sorted(test.published), test.scheduled}
			got := []string{strings.Join(failed, " "), strings.Join(test.cloud.published, ""), strings.Join(test.cloud.scheduled, "")}
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
