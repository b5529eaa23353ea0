package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/event"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/iamtest"
	"syncplane/pkg/testkit/stacktest"
)

// operated is a stack over a table with a stream, as an operator's command sees it.
type operated struct {
	stack    *stacktest.Stack
	recorder *iamtest.Recorder
	shard    string
	first    string // the first and the last sequence number of the stream
	last     string
}

// result is what a run of the command printed.
type result struct {
	events []string // sorted
	stderr string
	failed bool
}

// run runs the command for the stack.
func (o *operated) run(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t, o.stack.OperatorEnv(), append(args, "--stack", o.stack.Name)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exit := errors.AsType[*exec.ExitError](err); err != nil && !exit {
		t.Fatal(err)
	}
	lines := strings.Fields(strings.ReplaceAll(strings.TrimSpace(stdout.String()), " ", "="))
	slices.Sort(lines)
	return result{lines, stderr.String(), err != nil}
}

// published returns the kinds and IDs of the events that were put on the bus since the
// last call, sorted.
func (o *operated) published(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, e := range o.stack.Published(t) {
		all = append(all, strings.TrimSuffix(e.Type, ".v1")+"="+e.ID)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// newOperated returns a stack with the changes of a sync, and the events of them that
// no relay has published: a sync that was created and changed, and its run that was
// queued and then claimed.
func newOperated(t *testing.T) (o *operated, s syncs.Sync, events []string) {
	t.Helper()
	ctx, config := t.Context(), dynamotest.NewTable(t)
	store := app.DynamoDB(config)
	out, err := store.Client.UpdateTable(ctx, &dynamodb.UpdateTableInput{
		TableName:           &config.TableName,
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
	})
	check(t, err)
	o = &operated{recorder: iamtest.Start(t, config.DynamoDBEndpoint)}
	recorded := config
	recorded.DynamoDBEndpoint = o.recorder.URL
	o.stack = stacktest.New(t, recorded)
	o.stack.Deploy(t, *out.TableDescription.LatestStreamArn)

	s = storagetest.NewSync(t)
	s.Workspace, s.Status = "acme", syncs.Pending
	s.CreatedAt = time.Now().UTC().Truncate(time.Millisecond)
	s.UpdatedAt, s.ScheduledAt = s.CreatedAt, s.CreatedAt
	check(t, store.Create(ctx, s))
	before := s
	s.Version, s.StreamName, s.UpdatedAt = 2, s.StreamName+"x", s.UpdatedAt.Add(time.Second)
	check(t, store.Replace(ctx, s))
	service := eventfunc.Runs(store, runs.DefaultRetention().Runs)
	run, _, err := service.Due(ctx, runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: time.Now().UTC().Truncate(time.Second)}, false)
	check(t, err)
	queued, _ := event.OfTransition(run, nil)
	events = []string{"sync.created=" + before.ID + "/1", "sync.updated=" + s.ID + "/2", "sync.run.queued=" + queued.ID}
	slices.Sort(events)

	streams := dynamodbstreams.New(dynamodbstreams.Options{
		Region: "us-east-1", BaseEndpoint: &config.DynamoDBEndpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	described, err := streams.DescribeStream(ctx, &dynamodbstreams.DescribeStreamInput{StreamArn: out.TableDescription.LatestStreamArn})
	check(t, err)
	o.shard = *described.StreamDescription.Shards[0].ShardId
	at, err := streams.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
		StreamArn: out.TableDescription.LatestStreamArn, ShardId: &o.shard, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon,
	})
	check(t, err)
	page, err := streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: at.ShardIterator})
	check(t, err)
	if len(page.Records) < 4 { // two of the sync, the run, its slot
		t.Fatalf("the stream has %d records", len(page.Records))
	}
	o.first = *page.Records[0].Dynamodb.SequenceNumber
	o.last = *page.Records[len(page.Records)-1].Dynamodb.SequenceNumber
	return o, s, events
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// batch returns a message of Lambda about records that it gave up.
func (o *operated) batch(shard, first, last string, around time.Time) string {
	return fmt.Sprintf(`{"requestContext":{"condition":"RecordAgeExceeded","approximateInvokeCount":40},"responseContext":{"statusCode":200},"version":"1.0",`+
		`"timestamp":"2026-11-30T02:15:21.000Z","DDBStreamBatchInfo":{"shardId":%q,"startSequenceNumber":%q,"endSequenceNumber":%q,`+
		`"approximateArrivalOfFirstRecord":%q,"approximateArrivalOfLastRecord":%q,"batchSize":5,"streamArn":"arn"}}`,
		shard, first, last, around.Add(-time.Minute).UTC().Format(time.RFC3339), around.Add(time.Minute).UTC().Format(time.RFC3339))
}

// TestReplayRecords checks that records that Lambda gave up are published from the
// stream, once, and that a dry run leaves everything as it is.
func TestReplayRecords(t *testing.T) {
	o, s, want := newOperated(t)
	o.stack.Send(t, o.stack.Config.RelayFailuresURL, o.batch(o.shard, o.first, o.last, time.Now()), nil)
	for _, args := range [][]string{{"replay", "--dry-run"}, {"replay"}} {
		got := o.run(t, args...)
		if diff := cmp.Diff(want, got.events); diff != "" || got.failed || !strings.HasPrefix(got.stderr, "3 events ") {
			t.Errorf("%v: %s\n%s", args, diff, got.stderr)
		}
		published, schedules := o.published(t), len(o.stack.All(t))
		if dry := len(args) > 1; dry && (published != nil || schedules != 0) || !dry && (!slices.Equal(published, want) || schedules != 1) {
			t.Errorf("%v: published %v, %d schedules", args, published, schedules)
		}
	}
	if got := o.run(t, "replay"); got.failed || len(got.events) > 0 {
		t.Errorf("got %+v", got)
	}

	// A range of time.
	got := o.run(t, "replay", "--from", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	if diff := cmp.Diff(want, got.events); diff != "" || got.failed {
		t.Errorf("%s\n%s", diff, got.stderr)
	}
	if diff := cmp.Diff(want, o.published(t)); diff != "" {
		t.Error(diff)
	}
	got = o.run(t, "replay", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z")
	if got.failed || len(got.events) > 0 || o.published(t) != nil {
		t.Errorf("got %+v", got)
	}

	// The runs of a paused sync are stopped, as by the relay.
	s.Version, s.Status = 3, syncs.Disabled
	check(t, app.DynamoDB(o.stack.Config.Config).Replace(t.Context(), s))
	if got := o.run(t, "replay", "--from", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)); got.failed {
		t.Errorf("got %+v", got)
	}
	if got := o.run(t, "reconcile"); got.failed {
		t.Errorf("got %+v", got)
	}
	o.recorder.Check(t, "OperatorPolicy")
}

// TestReplayRows checks that what the stream has dropped is published from the rows, as
// is what was set aside, and that the last state alone is.
func TestReplayRows(t *testing.T) {
	o, s, events := newOperated(t)
	want := slices.DeleteFunc(slices.Clone(events), func(e string) bool { return strings.HasPrefix(e, "sync.created") })
	url := o.stack.Config.RelayFailuresURL
	o.stack.Send(t, url, o.batch("shardId-00000000000000000000-00000000", o.first, o.last, time.Now()), nil)
	got := o.run(t, "replay", "--queue", "relay")
	if diff := cmp.Diff(want, got.events); diff != "" || got.failed {
		t.Errorf("%s\n%s", diff, got.stderr)
	}
	if diff := cmp.Diff(want, o.published(t)); diff != "" {
		t.Error(diff)
	}
	if got := o.stack.Failures(t); got != nil {
		t.Errorf("got %v", got)
	}

	at := strings.Split(strings.TrimPrefix(want[0], "sync.run.queued="), "/")[1]
	o.stack.Send(t, url, `{"workspace":"acme","sync":"`+s.ID+`","sequence":"1","error":"x"}`, nil)
	o.stack.Send(t, url, `{"workspace":"acme","sync":"`+s.ID+`","run":"`+at+`","sequence":"1","error":"x"}`, nil)
	o.stack.Send(t, url, `{"workspace":"acme","sync":"019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e","sequence":"1","error":"x"}`, nil)
	got = o.run(t, "replay")
	if diff := cmp.Diff(want, got.events); diff != "" || !got.failed || !strings.Contains(got.stderr, "does not exist any more") {
		t.Errorf("%s\n%s", diff, got.stderr)
	}
	if diff := cmp.Diff(want, o.published(t)); diff != "" {
		t.Error(diff)
	}
	if got := o.stack.Failures(t); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestReplayDue checks that a due run that its schedule could not deliver is put on the
// bus, in each form in which it can be in the queue, and that nothing else is.
func TestReplayDue(t *testing.T) {
	o, s, _ := newOperated(t)
	due := event.OfRun(&s, time.Date(2026, time.November, 30, 6, 0, 0, 0, time.UTC), false)
	text := string(due.Append(nil, stacktest.Origin))
	template := string(event.RunTemplate(stacktest.Origin, &s, "<aws.scheduler.scheduled-time>"))
	url := o.stack.ScheduleFailuresURL
	o.stack.Send(t, url, text, nil)
	o.stack.Send(t, url, template, map[string]string{"SCHEDULED_TIME": "2026-11-30T06:00:00Z", "ERROR_CODE": "AccessDeniedException"})
	o.stack.Send(t, url, `{"detail-type":"sync.due","source":"syncplane","detail":`+text+`}`, nil)
	o.stack.Send(t, url, fmt.Sprintf(`{"Entries":[{"DetailType":"sync.due","Detail":%q}]}`, text), nil)
	want := []string{"sync.due=" + due.ID, "sync.due=" + due.ID, "sync.due=" + due.ID, "sync.due=" + due.ID}
	got := o.run(t, "replay")
	if diff := cmp.Diff(want, got.events); diff != "" || got.failed {
		t.Errorf("%s\n%s", diff, got.stderr)
	}
	if published := o.stack.Published(t); len(published) != len(want) {
		t.Errorf("got %v", published)
	}

	invalid := []string{template, "x", `{"a":1}`, `{"type":"sync.create.requested.v1","id":"1"}`, `{"type":"sync.due","id":"1"}`}
	for _, body := range invalid {
		o.stack.Send(t, url, body, nil)
	}
	got = o.run(t, "replay", "--queue", "schedules")
	if !got.failed || len(got.events) > 0 || strings.Count(got.stderr, "message ") != len(invalid) || o.stack.Published(t) != nil {
		t.Errorf("got %+v", got)
	}
	if got := o.run(t, "replay", "--queue", "webhook"); !got.failed || !strings.Contains(got.stderr, "no queue for webhook") {
		t.Errorf("got %+v", got)
	}
}
