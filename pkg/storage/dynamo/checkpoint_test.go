package dynamo_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/chaosproxy"
)

// TestCheckpoint checks that a checkpoint is stored over the one before it alone, also
// if responses are lost.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	c := config(t)
	truth := open(t, c)
	c.DynamoDBEndpoint = chaosproxy.Start(t, c.DynamoDBEndpoint, 1, 0.2).URL
	store := app.DynamoDB(c)
	var last dynamo.Checkpoint
	for i := range 30 {
		if got, err := truth.LoadCheckpoint(t.Context()); got != last || err != nil {
			t.Fatalf("got %+v, %v, want %+v", got, err, last)
		}
		next := dynamo.Checkpoint{Version: last.Version + 1, Running: i%2 == 0, Position: fmt.Sprint("019a", i), Window: i * 100}
		if i%3 == 0 {
			next.Position = ""
		}
		for tries := 0; ; tries++ {
			err := store.SaveCheckpoint(t.Context(), next)
			if err == nil {
				break
			}
			if errors.Is(err, dynamo.ErrCheckpointOvertaken) || tries == 20 {
				t.Fatal(err)
			}
		}
		for _, version := range []int64{1, last.Version, next.Version, next.Version + 2} {
			other := dynamo.Checkpoint{Version: version, Position: "other"}
			if err := truth.SaveCheckpoint(t.Context(), other); !errors.Is(err, dynamo.ErrCheckpointOvertaken) {
				t.Errorf("version %d over %d: got %v", version, next.Version, err)
			}
		}
		last = next
	}
}

// TestBetween checks that the syncs of a range of IDs are read, from all parts of the
// table.
func TestBetween(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	var ids []string
	for range 40 {
		s := storagetest.NewSync(t) // each in its own workspace
		if err := store.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, s.ID)
	}
	slices.Sort(ids)
	read := func(from, to string, most int) (got []string) {
		t.Helper()
		for s, err := range store.Between(t.Context(), from, to) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, s.ID); len(got) == most {
				break
			}
		}
		slices.Sort(got)
		return got
	}
	for _, test := range []struct {
		from, to string
		want     []string
	}{
		{"", "", ids},
		{ids[0], ids[40-1], ids[:39]},
		{ids[7], "", ids[7:]},
		{"", ids[7], ids[:7]},
		{"f", "", nil},
		{ids[20], ids[20], nil},
		{ids[0][:4], "", ids},
	} {
		if diff := cmp.Diff(test.want, read(test.from, test.to, 1000)); diff != "" {
			t.Errorf("from %q to %q: %s", test.from, test.to, diff)
		}
	}
	if got := read("", "", 5); len(got) != 5 {
		t.Errorf("got %d syncs", len(got))
	}
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	if _, err := store.Client.PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: &store.Table, Item: map[string]types.AttributeValue{"pk": text("acme"), "sk": text("SYNC#" + ids[3])},
	}); err != nil {
		t.Fatal(err)
	}
	count := 0
	var failure error
	for _, err := range store.Between(t.Context(), "", "") {
		if err != nil {
			failure = err
			continue
		}
		count++
	}
	if count != 40 || !errors.Is(failure, syncs.ErrUnreadable) {
		t.Errorf("got %d syncs, %v", count, failure)
	}
}
