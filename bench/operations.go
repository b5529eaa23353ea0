package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"

	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// operationCalls is how often each operation is measured.
const operationCalls = 300

// caller sends a request and returns the body of the response.
type caller func(method, path, body string, header ...string) ([]byte, error)

// operation is an operation of the API, with the durations of its calls.
type operation struct {
	name string
	took []time.Duration
}

// measureOperations measures the operations on a sync, through the function.
func measureOperations(f *lambdaruntime.Function, call caller) ([]*operation, error) {
	create, once, get, list := &operation{name: "create"}, &operation{name: "create with a key"}, &operation{name: "get"}, &operation{name: "list of 20"}
	patch, remove := &operation{name: "patch"}, &operation{name: "delete"}
	const path = "/api/v1/syncs"
	for range operationCalls {
		body, err := call("POST", path, createBody)
		if err != nil {
			return nil, err
		}
		create.took = append(create.took, f.Duration())
		var created struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(body, &created); err != nil {
			return nil, err
		}
		one := path + "/" + created.ID
		for _, step := range []struct {
			op                 *operation
			method, path, body string
			header             []string
		}{
			{once, "POST", path, createBody, []string{"idempotency-key", uuid.NewString()}},
			{get, "GET", one, "", nil},
			{list, "GET", path, "", nil},
			{patch, "PATCH", one, `{"sync":{"source_id":7}}`, nil},
			{remove, "DELETE", one, "", nil},
		} {
			if _, err := call(step.method, step.path, step.body, step.header...); err != nil {
				return nil, err
			}
			step.op.took = append(step.op.took, f.Duration())
		}
	}
	return []*operation{create, once, get, list, patch, remove}, nil
}

// listing is the cost of a page of 20 in a workspace.
type listing struct {
	syncs int     // in the workspace
	units float64 // read units
	took  time.Duration
}

// measureList reads a page of 20 in workspaces of different sizes.
func measureList(ctx context.Context, store *dynamo.Store) ([]listing, error) {
	var all []listing
	for _, size := range []int{10, 100_000} {
		workspace := fmt.Sprint("list-", size)
		fmt.Fprintf(os.Stderr, "a workspace of %d syncs\n", size)
		if err := fill(ctx, store, workspace, size); err != nil {
			return nil, err
		}
		var took []time.Duration
		for range 50 {
			start := time.Now()
			if _, _, err := store.List(ctx, workspace, "", syncs.DefaultPage+1); err != nil {
				return nil, err
			}
			took = append(took, time.Since(start))
		}
		limit, backwards := int32(syncs.DefaultPage+1), false
		condition, consistent := "pk = :workspace AND begins_with(sk, :prefix)", true
		out, err := store.Client.Query(ctx, &dynamodb.QueryInput{
			TableName: &store.Table, Limit: &limit, ScanIndexForward: &backwards, ConsistentRead: &consistent, KeyConditionExpression: &condition,
			ExpressionAttributeValues: map[string]types.AttributeValue{":workspace": &types.AttributeValueMemberS{Value: workspace}, ":prefix": &types.AttributeValueMemberS{Value: "SYNC#"}},
			ReturnConsumedCapacity:    types.ReturnConsumedCapacityTotal,
		})
		if err != nil {
			return nil, err
		}
		all = append(all, listing{size, *out.ConsumedCapacity.CapacityUnits, median(took)})
	}
	return all, nil
}

// fill writes syncs into a workspace.
func fill(ctx context.Context, store *dynamo.Store, workspace string, count int) error {
	template := syncs.Sync{
		Workspace: workspace, ID: "00000000-0000-7000-8000-000000000000", Version: 1, SourceID: 1, DestinationID: 2, ModelID: 3, Configuration: `{}`,
		ScheduleType: "automated", SyncMode: "full_refresh", SyncInterval: 30, SyncIntervalUnit: "minutes", StreamName: "contacts", Status: syncs.Pending,
		CreatedAt: time.Unix(0, 0).UTC(), UpdatedAt: time.Unix(0, 0).UTC(),
	}
	if err := store.Create(ctx, template); err != nil {
		return err
	}
	first, err := store.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &store.Table, Key: map[string]types.AttributeValue{
		"pk": &types.AttributeValueMemberS{Value: workspace}, "sk": &types.AttributeValueMemberS{Value: "SYNC#" + template.ID},
	}})
	if err != nil {
		return err
	}
	const batch = 25 // DynamoDB's limit
	for done := 1; done < count; {
		var writes []types.WriteRequest
		for len(writes) < batch && done < count {
			id, err := uuid.NewV7()
			if err != nil {
				return err
			}
			item := maps.Clone(first.Item)
			item["id"] = &types.AttributeValueMemberS{Value: id.String()}
			item["sk"] = &types.AttributeValueMemberS{Value: "SYNC#" + id.String()}
			writes = append(writes, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}})
			done++
		}
		if _, err := store.Client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{store.Table: writes}}); err != nil {
			return err
		}
	}
	return nil
}
