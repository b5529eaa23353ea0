package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
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
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/stacktest"
)

// table is a table with a stream, in DynamoDB Local.
type table struct {
	config app.Config
	store  *dynamo.Store
	stream *dynamodbstreams.Client
	arn    string
	at     map[string]*string // the next iterator of each shard
}

func TestMain(m *testing.M) { os.Exit(lambdatest.Run(m)) }

func newTable(t *testing.T) *table {
	t.Helper()
	config := dynamotest.NewTable(t)
	store := app.DynamoDB(config)
	out, err := store.Client.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{
		TableName:           &config.TableName,
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &table{
		config: config, store: store, arn: *out.TableDescription.LatestStreamArn, at: map[string]*string{},
		stream: dynamodbstreams.New(dynamodbstreams.Options{
			Region: "us-east-1", BaseEndpoint: &config.DynamoDBEndpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
		}),
	}
}

// records returns the records of the stream since the last call that the filter lets
// through, as Lambda delivers them to the function.
func (tb *table) records(t *testing.T) []json.RawMessage {
	t.Helper()
	patterns := patternsOf(t)
	return slices.DeleteFunc(tb.unfiltered(t), func(record json.RawMessage) bool { return !passes(t, patterns, record) })
}

// unfiltered returns all records of the stream since the last call.
func (tb *table) unfiltered(t *testing.T) []json.RawMessage {
	t.Helper()
	described, err := tb.stream.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &tb.arn})
	if err != nil {
		t.Fatal(err)
	}
	var all []json.RawMessage
	for _, shard := range described.StreamDescription.Shards {
		if tb.at[*shard.ShardId] == nil {
			out, err := tb.stream.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{
				StreamArn: &tb.arn, ShardId: shard.ShardId, ShardIteratorType: streamtypes.ShardIteratorTypeTrimHorizon,
			})
			if err != nil {
				t.Fatal(err)
			}
			tb.at[*shard.ShardId] = out.ShardIterator
		}
		for empty := 0; empty < 2 && tb.at[*shard.ShardId] != nil; {
			out, err := tb.stream.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: tb.at[*shard.ShardId]})
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Records) == 0 {
				empty++
			}
			for _, r := range out.Records {
				all = append(all, asLambda(t, r))
			}
			tb.at[*shard.ShardId] = out.NextShardIterator
		}
	}
	return all
}

// asLambda returns a record in the format of Lambda's event source mapping.
func asLambda(t *testing.T, r streamtypes.Record) json.RawMessage {
	t.Helper()
	var image func(item map[string]streamtypes.AttributeValue) map[string]any
	image = func(item map[string]streamtypes.AttributeValue) map[string]any {
		m := map[string]any{}
		for name, value := range item {
			switch v := value.(type) {
			case *streamtypes.AttributeValueMemberS:
				m[name] = map[string]string{"S": v.Value}
			case *streamtypes.AttributeValueMemberN:
				m[name] = map[string]string{"N": v.Value}
			case *streamtypes.AttributeValueMemberBOOL:
				m[name] = map[string]bool{"BOOL": v.Value}
			case *streamtypes.AttributeValueMemberM:
				m[name] = map[string]any{"M": image(v.Value)}
			case *streamtypes.AttributeValueMemberL: // of maps, which is all that the table has
				list := make([]any, 0, len(v.Value))
				for _, element := range v.Value {
					inner, ok := element.(*streamtypes.AttributeValueMemberM)
					if !ok {
						t.Fatalf("%s holds a %T", name, element)
					}
					list = append(list, map[string]any{"M": image(inner.Value)})
				}
				m[name] = map[string]any{"L": list}
			default:
				t.Fatalf("%s is a %T", name, value)
			}
		}
		return m
	}
	change := map[string]any{
		"ApproximateCreationDateTime": float64(r.Dynamodb.ApproximateCreationDateTime.Unix()),
		"Keys":                        image(r.Dynamodb.Keys), "SequenceNumber": *r.Dynamodb.SequenceNumber, "StreamViewType": "NEW_AND_OLD_IMAGES",
	}
	if r.Dynamodb.NewImage != nil {
		change["NewImage"] = image(r.Dynamodb.NewImage)
	}
	if r.Dynamodb.OldImage != nil {
		change["OldImage"] = image(r.Dynamodb.OldImage)
	}
	record := map[string]any{"eventID": *r.EventID, "eventName": string(r.EventName), "eventSource": "aws:dynamodb", "dynamodb": change}
	if r.UserIdentity != nil {
		record["userIdentity"] = map[string]any{"type": r.UserIdentity.Type, "principalId": r.UserIdentity.PrincipalId}
	}
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// invoke invokes the function with records, and returns the sequence numbers of those
// that failed.
func invoke(t *testing.T, function *lambdaruntime.Function, records []json.RawMessage) []string {
	t.Helper()
	payload, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := function.Invoke(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	return lambdatest.Failed(t, answer)
}

func newSync(t *testing.T, edit func(*syncs.Sync)) syncs.Sync {
	t.Helper()
	s := storagetest.NewSync(t)
	s.Workspace = "acme"
	s.CreatedAt = time.Now().UTC().Truncate(time.Millisecond)
	s.UpdatedAt, s.ScheduledAt = s.CreatedAt, s.CreatedAt
	edit(&s)
	return s
}

// TestRelay writes syncs to a table, delivers the records of its stream to the built
// function, and checks the events on the bus and the schedules.
func TestRelay(t *testing.T) {
	tb := newTable(t)
	stack := stacktest.New(t, tb.config)
	var log bytes.Buffer
	function := lambdatest.Start(t, stack.Env(), &log)
	ctx := t.Context()

	interval := newSync(t, func(s *syncs.Sync) { s.CronExpression, s.SyncInterval = "", 123 })
	weekdays := newSync(t, func(s *syncs.Sync) { s.CronExpression = "0 6 * * 1-5" })
	friday13 := newSync(t, func(s *syncs.Sync) { s.CronExpression = "0 0 13 * FRI" })
	for _, s := range []syncs.Sync{interval, weekdays, friday13} {
		if err := tb.store.Create(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	// A row with an idempotency key is not a sync and publishes no event.
	keyed := newSync(t, func(*syncs.Sync) {})
	if _, err := tb.store.CreateOnce(ctx, keyed, syncs.IdempotencyKey{Key: "k", Fingerprint: "f", Now: time.Now(), Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	once := keyed.ID
	first := tb.records(t)
	if failed := invoke(t, function, first); len(failed) > 0 {
		t.Fatalf("failed %v:\n%s", failed, &log)
	}
	var types []string
	for _, e := range stack.Published(t) {
		types = append(types, e.Type+" "+e.Subject)
		if e.Source != stacktest.Origin+"/api/v1/syncs" || e.Workspace != "acme" || e.ID != e.Subject+"/1" {
			t.Errorf("got %+v", e)
		}
	}
	want := []string{"sync.created.v1 " + interval.ID, "sync.created.v1 " + weekdays.ID, "sync.created.v1 " + friday13.ID, "sync.created.v1 " + once}
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(slices.Values(types))); diff != "" {
		t.Error(diff)
	}

	schedules := stack.All(t)
	delete(schedules, "sync-"+once)
	expressions := func() map[string]string {
		all := map[string]string{}
		for name, s := range schedules {
			all[name] = s.State + " " + s.Expression
		}
		return all
	}
	if diff := cmp.Diff(map[string]string{
		"sync-" + interval.ID:        "ENABLED rate(123 minutes)",
		"sync-" + weekdays.ID:        "ENABLED cron(0 6 ? * 2-6 *)",
		"sync-" + friday13.ID:        "ENABLED cron(0 0 13 * ? *)",
		"sync-" + friday13.ID + "-2": "ENABLED cron(0 0 ? * 6 *)",
	}, expressions()); diff != "" {
		t.Error(diff)
	}
	if next, _ := interval.NextRun(time.Now()); !schedules["sync-"+interval.ID].Start.Equal(next) {
		t.Errorf("the interval starts at %v, want %v", schedules["sync-"+interval.ID].Start, next)
	}
	one, two := schedules["sync-"+friday13.ID].Event, schedules["sync-"+friday13.ID+"-2"].Event
	if diff := cmp.Diff(one, two); diff != "" || one.Data["run_id"] != friday13.ID+"/2026-11-24T06:00:00Z" || one.Workspace != "acme" {
		t.Errorf("the events of the two schedules differ: %s\n%v", diff, one)
	}

	// Changes: another schedule, a pause, a delete.
	change := func(s syncs.Sync, edit func(*syncs.Sync)) syncs.Sync {
		t.Helper()
		s.Version++
		s.UpdatedAt = s.UpdatedAt.Add(time.Second)
		edit(&s)
		if err := tb.store.Replace(ctx, s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	friday13 = change(friday13, func(s *syncs.Sync) { s.CronExpression, s.ScheduledAt = "5 4 * * *", s.UpdatedAt })
	weekdays = change(weekdays, func(s *syncs.Sync) { s.Status = syncs.Disabled })
	if err := tb.store.Delete(ctx, interval); err != nil {
		t.Fatal(err)
	}
	second := tb.records(t)
	if failed := invoke(t, function, second); len(failed) > 0 {
		t.Fatalf("failed %v:\n%s", failed, &log)
	}
	schedules = stack.All(t)
	delete(schedules, "sync-"+once)
	ends := map[string]string{
		"sync-" + weekdays.ID: "DISABLED cron(0 6 ? * 2-6 *)",
		"sync-" + friday13.ID: "ENABLED cron(5 4 * * ? *)",
	}
	if diff := cmp.Diff(ends, expressions()); diff != "" {
		t.Error(diff)
	}
	seen := map[string]any{}
	for _, e := range stack.Published(t) {
		seen[e.Type+" "+e.Subject] = e.Data["changed"]
	}
	if diff := cmp.Diff(map[string]any{
		"sync.updated.v1 " + weekdays.ID: []any{"status"},
		"sync.updated.v1 " + friday13.ID: []any{"cron_expression"},
		"sync.deleted.v1 " + interval.ID: nil,
	}, seen); diff != "" {
		t.Error(diff)
	}

	// Records that are repeated in another order publish the same events again, and
	// change no schedule.
	slices.Reverse(second)
	again := append(append(second, first...), first...)
	if failed := invoke(t, function, again); len(failed) > 0 {
		t.Fatalf("failed %v:\n%s", failed, &log)
	}
	schedules = stack.All(t)
	delete(schedules, "sync-"+once)
	if diff := cmp.Diff(ends, expressions()); diff != "" {
		t.Error(diff)
	}
	ids := map[string]int{}
	for _, e := range stack.Published(t) {
		ids[e.ID]++
	}
	if len(ids) != 7 || ids[interval.ID+"/1"] != 2 || ids[interval.ID+"/1/deleted"] != 1 {
		t.Errorf("got %v", ids)
	}

	// An unreadable record does not stop the others.
	unreadable := json.RawMessage(`{"eventID":"x","dynamodb":{"SequenceNumber":"4711","Keys":{"pk":{"S":"acme"},"sk":{"S":"SYNC#x"}},"NewImage":{"pk":{"S":"acme"}}}}`)
	if failed := invoke(t, function, []json.RawMessage{first[0], unreadable, first[1]}); len(failed) > 0 {
		t.Errorf("failed %v", failed)
	}
	if got := stack.Published(t); len(got) != 2 {
		t.Errorf("got %d events", len(got))
	}
	if err := function.Close(); err != nil { // so that the log is complete
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), `"sequence":"4711"`) {
		t.Errorf("the log lacks the sequence number:\n%s", &log)
	}
	for _, secret := range []string{"Email", "contacts"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log contains %q:\n%s", secret, &log)
		}
	}
}

// TestEvents invokes the function with the sample events. Their sync is not in the
// table, so there is no schedule in the end.
func TestEvents(t *testing.T) {
	tb := newTable(t)
	stack := stacktest.New(t, tb.config)
	function := lambdatest.Start(t, stack.Env(), io.Discard)
	payload, err := os.ReadFile("../../events/stream.json")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := function.Invoke(t.Context(), payload)
	if err != nil || len(lambdatest.Failed(t, answer)) > 0 {
		t.Errorf("got %s, %v", answer, err)
	}
	var types []string
	for _, e := range stack.Published(t) {
		types = append(types, e.Type)
	}
	slices.Sort(types)
	if diff := cmp.Diff([]string{"sync.created.v1", "sync.deleted.v1", "sync.updated.v1"}, types); diff != "" {
		t.Error(diff)
	}
	if got := stack.All(t); len(got) > 0 {
		t.Errorf("there are schedules: %v", got)
	}
	if payload, err = os.ReadFile("../../events/watch.json"); err != nil {
		t.Fatal(err)
	}
	answer, err = function.Invoke(t.Context(), payload)
	if err != nil || len(lambdatest.Failed(t, answer)) > 0 {
		t.Errorf("got %s, %v", answer, err)
	}
	if messages := stack.Watched(t); len(messages) > 0 { // its run is not in the table
		t.Errorf("the queue holds %q", messages)
	}
}
