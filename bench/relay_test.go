package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"syncplane/pkg/app"
	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/awsfake"
)

// rows is a table that holds a sync for every ID.
type rows struct{ one syncs.Sync }

func (r rows) Read(_ context.Context, _, id string) (syncs.Sync, error) {
	s := r.one
	s.ID = id
	return s, nil
}

// BenchmarkRelay measures batches of 100 creates. The calls to AWS are signed and
// handled in this process.
func BenchmarkRelay(b *testing.B) {
	text, err := os.ReadFile("../events/stream.json")
	if err != nil {
		b.Fatal(err)
	}
	var sample events.DynamoDBEvent
	if err := json.Unmarshal(text, &sample); err != nil {
		b.Fatal(err)
	}
	const size = 100
	batch := events.DynamoDBEvent{}
	for i := range size {
		id := fmt.Sprintf("019ab0c4-0000-7000-8000-%012d", i)
		record := sample.Records[0]
		record.Change.SequenceNumber = fmt.Sprint(i)
		image := map[string]events.DynamoDBAttributeValue{}
		maps.Copy(image, record.Change.NewImage)
		image["id"], image["sk"] = events.NewStringAttribute(id), events.NewStringAttribute("SYNC#"+id)
		record.Change.NewImage = image
		record.Change.Keys = map[string]events.DynamoDBAttributeValue{"pk": image["pk"], "sk": image["sk"]}
		batch.Records = append(batch.Records, record)
	}
	client := &awsfake.Server{}
	static := credentials.NewStaticCredentialsProvider("a", "b", "")
	s := syncs.Sync{Workspace: "demo", Version: 1, SyncInterval: 30, CronExpression: "0 6 * * 1-5", Status: syncs.Pending}
	r := &relay.Relay{
		Publisher: &eventbus.Publisher{Client: eventbridge.New(eventbridge.Options{Region: "us-east-1", HTTPClient: client, Credentials: static}), Bus: "bus", Origin: "https://api.example.com"},
		Reconciler: &reconciler.Reconciler{
			Syncs: rows{s}, Client: scheduler.New(scheduler.Options{Region: "us-east-1", HTTPClient: client, Credentials: static}), Now: time.Now,
			Group: "group", RoleARN: "role", BusARN: "bus", FailuresARN: "queue", Origin: "https://api.example.com",
		},
		Runs: &runs.Service{Now: time.Now},
		Log:  app.Logger(io.Discard, ""),
	}
	b.ReportAllocs()
	for b.Loop() {
		client.Clear()
		response, err := r.Handle(b.Context(), batch)
		if err != nil || len(response.BatchItemFailures) > 0 || len(client.Schedules("group")) != size {
			b.Fatalf("%v: %v, %d schedules", err, response, len(client.Schedules("group")))
		}
	}
}
