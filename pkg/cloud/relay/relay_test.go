package relay_test

import (
	"cmp"
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
	diff "github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/awsfake"
)

// fakeAWS is EventBridge and Scheduler. They refuse the events and the schedules
// of a sync.
type fakeAWS struct {
	refuseEvents, refuseSchedules string // the last letter of the ID of the sync; "" is none
	eventCode, scheduleCode       string // the error, if not InternalFailure and AccessDeniedException
	awsfake.Server
}

// start serves c until the test ends, and returns its address.
func (c *fakeAWS) start(t *testing.T) string {
	t.Helper()
	c.RefuseEntry = func(e awsfake.Entry) string {
		if c.refuseEvents != "" && strings.HasSuffix(subject(e), c.refuseEvents) {
			return cmp.Or(c.eventCode, "InternalFailure")
		}
		return ""
	}
	c.Refuse = func(call awsfake.Call) *awsfake.Error {
		if c.refuseSchedules != "" && strings.HasSuffix(call.Schedule, c.refuseSchedules) {
			return &awsfake.Error{Code: cmp.Or(c.scheduleCode, "AccessDeniedException")}
		}
		return nil
	}
	return c.Start(t)
}

func subject(e awsfake.Entry) string {
	seen, _ := eventtest.Decode([]byte(e.Detail)) // an invalid event has the subject ""
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
	return syncs.Sync{
		Workspace: workspace, ID: id, Version: 1, SyncInterval: 30, Status: syncs.Pending,
		SourceID: 1, DestinationID: 2, ModelID: 3, Configuration: "{}", StreamName: "contacts",
		ScheduleType: "automated", SyncMode: "full_refresh", SyncIntervalUnit: "minutes",
	}, nil
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
		aside     string
		young     bool // the records are less than a minute old
	}{
		"no failure":               {"abcde", nil, &fakeAWS{}, nil, "abcde", "abcde", table{}, "", false},
		"no records":               {"", nil, &fakeAWS{}, nil, "", "", table{}, "", false},
		"a sync twice":             {"abab", nil, &fakeAWS{}, nil, "abab", "ab", table{}, "", false},
		"an event is refused":      {"abcde", nil, &fakeAWS{refuseEvents: "c"}, []string{"number 2"}, "abde", "ab", table{}, "", false},
		"a schedule is refused":    {"abcde", nil, &fakeAWS{refuseSchedules: "c"}, []string{"number 2"}, "abcde", "abde", table{}, "", false},
		"the first schedule is":    {"abcde", nil, &fakeAWS{refuseSchedules: "a"}, []string{"number 0"}, "abcde", "bcde", table{}, "", false},
		"an invalid event":         {"abcde", nil, &fakeAWS{refuseEvents: "c", eventCode: "MalformedDetail"}, nil, "abddee", "abcde", table{}, "c", false},
		"an invalid event, new":    {"abcde", nil, &fakeAWS{refuseEvents: "c", eventCode: "MalformedDetail"}, []string{"number 2"}, "abde", "ab", table{}, "", true},
		"an invalid schedule":      {"abcde", nil, &fakeAWS{refuseSchedules: "c", scheduleCode: "ValidationException"}, nil, "abcde", "abde", table{}, "c", false},
		"an invalid schedule, new": {"abcde", nil, &fakeAWS{refuseSchedules: "c", scheduleCode: "ValidationException"}, []string{"number 2"}, "abcde", "abde", table{}, "", true},
		"too many schedules":       {"abcde", nil, &fakeAWS{refuseSchedules: "b", scheduleCode: "ServiceQuotaExceededException"}, nil, "abcde", "acde", table{}, "b", false},
		"an event and a schedule":  {"abcde", nil, &fakeAWS{refuseEvents: "d", refuseSchedules: "b"}, []string{"number 1"}, "abce", "ac", table{}, "", false},
		"an unreadable record": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[3].Change.NewImage["version"] = events.NewStringAttribute("x")
		}, &fakeAWS{}, nil, "abce", "abcde", table{}, "d", false},
		"an old image that is no sync": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[2].Change.OldImage = map[string]events.DynamoDBAttributeValue{"pk": all[2].Change.Keys["pk"], "sk": all[2].Change.Keys["sk"]}
		}, &fakeAWS{}, nil, "abde", "abcde", table{}, "c", false},
		"a row that is unreadable by now": {"abcde", nil, &fakeAWS{}, nil, "abcde", "acde", table{unreadable: "b"}, "", false},
		"a sync with an invalid schedule": {"abcde", nil, &fakeAWS{}, nil, "abcde", "abcd", table{unscheduled: "e"}, "", false},
		"an unreadable record and a refused event": {"ab", func(all []events.DynamoDBEventRecord) {
			delete(all[0].Change.NewImage, "version")
		}, &fakeAWS{refuseEvents: "b"}, []string{"number 1"}, "", "a", table{}, "a", false},
		"a record without an image": {"abcde", func(all []events.DynamoDBEventRecord) {
			all[1].Change.NewImage = nil
		}, &fakeAWS{}, []string{"number 1"}, "a", "a", table{}, "", false},
		"very long cron expressions": {"abcde", func(all []events.DynamoDBEventRecord) {
			for _, i := range []int{1, 2, 4} {
				all[i].Change.NewImage["cron_expression"] = events.NewStringAttribute("0" + strings.Repeat(",0", 131_000) + " 6 * * *")
			}
		}, &fakeAWS{}, nil, "abcde", "abcde", table{}, "", false},
		"other items": {"abc", func(all []events.DynamoDBEventRecord) {
			all[1].Change.Keys["sk"] = events.NewStringAttribute("ONCE#k")
		}, &fakeAWS{}, nil, "ac", "ac", table{}, "", false},
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
			batch := events.DynamoDBEvent{Records: records(t, test.letters)}
			now := batchTime(batch).Add(time.Minute)
			if test.young {
				now = now.Add(-time.Millisecond)
			}
			queues := eventfunc.WatchQueue(config, eventfunc.WatchConfig{SQSEndpoint: address}).Client
			r := &relay.Relay{
				Publisher: publisher, Reconciler: schedules, Log: app.Logger(io.Discard, ""),
				Runs:     &runs.Service{Syncs: test.table, Now: func() time.Time { return now }},
				Failures: &relay.Failures{Client: queues, URL: "https://sqs.example.com/failures"},
			}
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
			var aside []string
			for _, m := range test.aws.Messages() {
				var f relay.Failure
				if err := json.Unmarshal([]byte(m.MessageBody), &f); err != nil || f.Workspace != "demo" || f.Run != nil || !strings.HasPrefix(f.Sequence, "number ") || f.Error == "" {
					t.Errorf("got %s: %v", m.MessageBody, err)
				}
				aside = append(aside, f.Sync)
			}
			want := []string{strings.Join(test.failed, " "), sorted(test.published), test.scheduled, test.aside}
			got := []string{strings.Join(failed, " "), lastLetters(published), lastLetters(test.aws.Schedules("group")), lastLetters(aside)}
			if diff := diff.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// batchTime returns the time of the records of a batch.
func batchTime(batch events.DynamoDBEvent) time.Time {
	if len(batch.Records) == 0 {
		return time.Time{}
	}
	return batch.Records[0].Change.ApproximateCreationDateTime.Time
}

func sorted(letters string) string {
	all := strings.Split(letters, "")
	slices.Sort(all)
	return strings.Join(all, "")
}

// runRecords returns a write of a run of a sync for each letter; the ID of the sync
// ends with it. A lower-case letter is a queued run, an upper-case one a heartbeat.
func runRecords(letters string) []events.DynamoDBEventRecord {
	var all []events.DynamoDBEventRecord
	for i, letter := range strings.Split(letters, "") {
		id := "019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5" + strings.ToLower(letter)
		text, number := events.NewStringAttribute, events.NewNumberAttribute
		image := map[string]events.DynamoDBAttributeValue{
			"pk": text("demo#" + id), "sk": text("RUN#2026-11-24T06:00:00Z"), "workspace": text("demo"), "sync_id": text(id),
			"scheduled_time": number("1795500000"), "version": number("1"), "triggered_by": text("schedule"), "run_type": text("general"),
			"expires_at": number("1895500000"), "deadline_at": number("1795503600000"), "created_at": number("1795500000000"), "updated_at": number("1795500000000"),
			"status": text("queued"), "transition": text("queued"),
		}
		if letter != strings.ToLower(letter) {
			image["status"], image["attempt"] = text("in_progress"), number("1")
			image["late_report"] = events.NewMapAttribute(map[string]events.DynamoDBAttributeValue{"fence": number("1"), "status": text("success"), "received_at": number("1795500000000")})
			image["has_records"] = events.NewBooleanAttribute(true)
			delete(image, "transition")
		}
		all = append(all, events.DynamoDBEventRecord{Change: events.DynamoDBStreamRecord{
			Keys: map[string]events.DynamoDBAttributeValue{"pk": image["pk"], "sk": image["sk"]}, NewImage: image, SequenceNumber: fmt.Sprint("number ", i),
		}})
	}
	return all
}

// TestHandleRuns checks which record of a run the response names, which events are
// published, and which runs are watched.
func TestHandleRuns(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		letters   string
		edit      func(all []events.DynamoDBEventRecord)
		aws       *fakeAWS
		refuse    string // messages of the sync that ends with it
		failed    string
		published string
		watched   string
		table     table
	}{
		"no failure":             {letters: "abc", aws: &fakeAWS{}, published: "abc", watched: "abc"},
		"heartbeats":             {letters: "aBc", aws: &fakeAWS{}, published: "ac", watched: "ac"},
		"an event is refused":    {letters: "abc", aws: &fakeAWS{refuseEvents: "b"}, failed: "number 1", published: "ac", watched: "a"},
		"a message is refused":   {letters: "abc", aws: &fakeAWS{}, refuse: "b", failed: "number 1", published: "abc", watched: "ac"},
		"a sync that is damaged": {letters: "abc", aws: &fakeAWS{}, published: "abc", watched: "abc", table: table{unreadable: "b"}},
		"an unreadable run": {letters: "abc", edit: func(all []events.DynamoDBEventRecord) {
			all[1].Change.NewImage["version"] = events.NewStringAttribute("x")
		}, aws: &fakeAWS{}, published: "ac", watched: "ac"},
		"a run that was removed": {letters: "abc", edit: func(all []events.DynamoDBEventRecord) {
			all[1].Change.NewImage = nil
		}, aws: &fakeAWS{}, published: "ac", watched: "ac"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := test.aws.start(t)
			refuse := test.aws.Refuse
			test.aws.Refuse = func(c awsfake.Call) *awsfake.Error {
				if test.refuse != "" && strings.Contains(c.Message.MessageBody, "4d5"+test.refuse) {
					return &awsfake.Error{Code: "AccessDenied"}
				}
				return refuse(c)
			}
			config := eventfunc.Common{
				Config: app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "syncs"},
				APIURL: "https://api.example.com",
			}
			r := &relay.Relay{
				Publisher: eventfunc.Publisher(config, eventfunc.PublisherConfig{EventBus: "bus", EventBridgeEndpoint: address}),
				Watch:     eventfunc.WatchQueue(config, eventfunc.WatchConfig{WatchQueueURL: "https://sqs.example.com/watch", SQSEndpoint: address}),
				Runs:      &runs.Service{Syncs: test.table, Now: func() time.Time { return time.Unix(1795500000, 0) }},
				Log:       app.Logger(io.Discard, ""),
			}
			r.Failures = &relay.Failures{Client: r.Watch.Client, URL: "https://sqs.example.com/failures"}
			batch := events.DynamoDBEvent{Records: runRecords(test.letters)}
			if test.edit != nil {
				test.edit(batch.Records)
			}
			response, err := r.Handle(t.Context(), batch)
			if err != nil {
				t.Fatal(err)
			}
			failed := ""
			for _, f := range response.BatchItemFailures {
				failed += f.ItemIdentifier
			}
			var published, watched []string
			for _, e := range test.aws.Entries() {
				seen := eventtest.Check(t, []byte(e.Detail))
				published = append(published, seen.Subject)
				if _, given := seen.Data["sync"]; given == (test.table.unreadable != "" && strings.HasSuffix(seen.Subject, test.table.unreadable)) || e.DetailType != "sync.run.queued" {
					t.Errorf("got %s %v", e.DetailType, seen)
				}
			}
			for _, m := range test.aws.Messages() {
				if strings.HasSuffix(m.QueueURL, "failures") {
					continue // TestHandle compares them
				}
				var body struct {
					Sync string `json:"sync"`
				}
				if err := json.Unmarshal([]byte(m.MessageBody), &body); err != nil || m.DelaySeconds != 900 {
					t.Errorf("got %v: %v", m, err)
				}
				watched = append(watched, body.Sync)
			}
			if diff := diff.Diff([]string{test.failed, test.published, test.watched}, []string{failed, lastLetters(published), lastLetters(watched)}); diff != "" {
				t.Error(diff)
			}
		})
	}
}
