package main_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/auth"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/iamtest"
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/stacktest"
)

// TestExpire checks that the built function ends the runs that time has ended and
// those of paused syncs, and that rows which cannot be read do not stop it.
func TestExpire(t *testing.T) {
	config := dynamotest.NewTable(t)
	store := app.DynamoDB(config)
	recorder := iamtest.Start(t, config.DynamoDBEndpoint)
	recorded := config
	recorded.DynamoDBEndpoint = recorder.URL
	stack := stacktest.New(t, recorded)
	var log bytes.Buffer
	function := lambdatest.Start(t, stack.Env(), &log)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// begin creates a sync with a run that was due some time ago, and claims that if
	// lease is not 0.
	begin := func(ago, lease time.Duration) (syncs.Sync, runs.Key) {
		t.Helper()
		s := storagetest.NewSync(t)
		s.Workspace, s.Status = "acme", syncs.Pending
		check(store.Create(t.Context(), s))
		at := time.Now().UTC().Truncate(time.Second).Add(-ago)
		now := func() time.Time { return at }
		service := &runs.Service{Store: dynamo.Runs{Store: store, Now: now}, Syncs: store, Now: now, Retention: runs.DefaultRetention()}
		key := runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: at}
		_, _, err := service.Due(t.Context(), key, false)
		check(err)
		if lease > 0 {
			who := auth.Caller{Workspace: "acme", Scopes: []string{string(auth.ExecuteRuns)}}
			_, _, err := service.Claim(t.Context(), who, key, runs.ClaimRequest{Executor: new("worker"), LeaseSeconds: new(int64(lease / time.Second))})
			check(err)
		}
		return s, key
	}
	status := func(key runs.Key) string {
		t.Helper()
		run, err := dynamo.Runs{Store: store, Now: time.Now}.Run(t.Context(), key)
		check(err)
		return strings.TrimSpace(string(run.Status) + " " + run.ErrorCode)
	}
	_, queued := begin(time.Minute, 0)
	_, claimed := begin(time.Minute, time.Hour)
	_, unclaimed := begin(2*time.Hour, 0)
	_, lost := begin(10*time.Minute, time.Minute)
	pausing, paused := begin(time.Minute, 0)
	pausing.Version, pausing.Status = pausing.Version+1, syncs.Disabled
	check(store.Replace(t.Context(), pausing))
	for _, want := range []reconciler.Report{{Syncs: 5, Repaired: 5, Expired: 2, Ended: true}, {Syncs: 5, Ended: true}} {
		answer, err := function.Invoke(t.Context(), []byte(`{}`))
		check(err)
		var got reconciler.Report
		check(json.Unmarshal(answer, &got))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for key, want := range map[runs.Key]string{
			queued: "queued", claimed: "in_progress", unclaimed: "failed not_claimed", lost: "queued", paused: "canceled",
		} {
			if got := status(key); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}

	// Damage a slot and a run, and remove another run.
	put := func(partition, sort string) {
		t.Helper()
		_, err := store.Client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &config.TableName, Item: map[string]types.AttributeValue{
			"pk": &types.AttributeValueMemberS{Value: partition}, "sk": &types.AttributeValueMemberS{Value: sort},
		}})
		check(err)
	}
	put("acme", "OPEN#"+unclaimed.SyncID)
	put("acme#"+queued.SyncID, "RUN#"+queued.Time.Format(time.RFC3339))
	_, err := store.Client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: &config.TableName, Key: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: "acme#" + claimed.SyncID}, "sk": &types.AttributeValueMemberS{Value: "RUN#" + claimed.Time.Format(time.RFC3339)},
	}})
	check(err)
	var others []runs.Key // more than are handled at the same time
	for range 20 {
		_, other := begin(2*time.Hour, 0)
		others = append(others, other)
	}
	answer, failure := function.Invoke(t.Context(), []byte(`{}`))
	if failure == nil {
		t.Fatalf("got %s", answer)
	}
	for _, other := range others {
		if got := status(other); got != "failed not_claimed" {
			t.Errorf("got %s", got)
		}
	}
	recorder.Check(t, "ReconcileFunctionRole")
	check(function.Close()) // flushes the log
	for _, text := range []string{
		"OPEN#" + unclaimed.SyncID, "acme#" + queued.SyncID, "the open run of sync " + claimed.SyncID, `"expired":20`,
	} {
		if !strings.Contains(failure.Error()+log.String(), text) {
			t.Errorf("the error and the log have no %s:\n%v\n%s", text, failure, &log)
		}
	}
}
