package dynamo_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// TestAll checks that All yields all syncs and no other rows, and that it yields an
// error for an unreadable row after all syncs.
func TestAll(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	want := map[string]syncs.Sync{}
	for range 3 {
		s := storagetest.NewSync(t) // each in a workspace of its own
		if _, err := store.CreateOnce(t.Context(), s, syncs.IdempotencyKey{Key: "k", Fingerprint: "f", Now: time.Now(), Expires: time.Now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		want[s.ID] = s
	}
	read := func() (got map[string]syncs.Sync, err error) {
		got = map[string]syncs.Sync{}
		for s, err := range store.All(t.Context()) {
			if err != nil {
				return got, err
			}
			got[s.ID] = s
		}
		return got, nil
	}
	got, err := read()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	for _, err := range store.All(t.Context()) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	if _, err := store.Client.PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: &store.Table, Item: map[string]types.AttributeValue{"pk": text("acme"), "sk": text("SYNC#x")},
	}); err != nil {
		t.Fatal(err)
	}
	got, err = read()
	if diff := cmp.Diff(want, got); diff != "" || err == nil || !strings.Contains(err.Error(), "SYNC#x") {
		t.Errorf("%v: %s", err, diff)
	}
}

// TestChange checks what is read off a record of the stream.
func TestChange(t *testing.T) {
	t.Parallel()
	text, number := events.NewStringAttribute, events.NewNumberAttribute
	image := map[string]events.DynamoDBAttributeValue{
		"pk": text("acme"), "sk": text("SYNC#a"), "id": text("a"), "version": number("2"), "source_id": number("1"), "destination_id": number("2"),
		"model_id": number("9007199254740991"), "configuration": text(`{"a":1.0}`), "schedule_type": text("automated"), "sync_mode": text("full_refresh"),
		"sync_interval": number("30"), "sync_interval_unit": text("minutes"), "stream_name": text("contacts"), "status": text("pending"),
		"created_at": text("2026-11-23T20:06:00.123Z"), "updated_at": text("2026-11-24T06:00:00Z"), "scheduled_at": text("2026-11-24T05:00:00Z"),
		"ours": events.NewBooleanAttribute(true),
	}
	created := time.Date(2026, time.November, 23, 20, 6, 0, 123e6, time.UTC)
	want := syncs.Sync{
		Workspace: "acme", ID: "a", Version: 2, SourceID: 1, DestinationID: 2, ModelID: syncs.MaxID, Configuration: `{"a":1.0}`,
		ScheduleType: "automated", SyncMode: "full_refresh", SyncInterval: 30, SyncIntervalUnit: "minutes", StreamName: "contacts", Status: "pending",
		CreatedAt: created, UpdatedAt: time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC), ScheduledAt: time.Date(2026, time.November, 24, 5, 0, 0, 0, time.UTC),
	}
	old := maps.Clone(image)
	delete(old, "scheduled_at")
	before := want
	before.ScheduledAt = created
	keys := map[string]events.DynamoDBAttributeValue{"pk": image["pk"], "sk": image["sk"]}
	record := func(before, after map[string]events.DynamoDBAttributeValue) events.DynamoDBEventRecord {
		return events.DynamoDBEventRecord{Change: events.DynamoDBStreamRecord{Keys: keys, OldImage: before, NewImage: after}}
	}
	gotBefore, gotAfter, ok, err := dynamo.Change(record(old, image))
	if diff := cmp.Diff([]*syncs.Sync{&before, &want}, []*syncs.Sync{gotBefore, gotAfter}); diff != "" || !ok || err != nil {
		t.Errorf("%v %v: %s", ok, err, diff)
	}
	if b, a, ok, err := dynamo.Change(record(nil, image)); b != nil || a == nil || !ok || err != nil {
		t.Errorf("got %v %v %v %v", b, a, ok, err)
	}
	if b, a, ok, err := dynamo.Change(record(old, nil)); b == nil || a != nil || !ok || err != nil {
		t.Errorf("got %v %v %v %v", b, a, ok, err)
	}
	if _, _, ok, err := dynamo.Change(record(nil, nil)); !ok || err == nil {
		t.Errorf("no image: %v %v", ok, err)
	}
	for name := range image {
		if name == "ours" || name == "scheduled_at" || name == "sk" {
			continue
		}
		broken := maps.Clone(image)
		broken[name] = events.NewBooleanAttribute(true)
		if _, _, ok, err := dynamo.Change(record(nil, broken)); !ok || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is a boolean: %v %v", name, ok, err)
		}
	}
	keys["sk"] = text("ONCE#k")
	if _, _, ok, err := dynamo.Change(record(nil, image)); ok || err != nil {
		t.Errorf("another item: %v %v", ok, err)
	}
}
