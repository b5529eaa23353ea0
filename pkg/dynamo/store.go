// Package dynamo keeps syncs in one DynamoDB table. It knows keys, rows and
// the errors of AWS, and no HTTP.
package dynamo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// Store is a syncs.Store.
type Store struct {
	Client *dynamodb.Client
	Table  string
}

// Create writes s in one round trip: a PutItem that costs one write unit for
// each KB of s. PutItem alone would replace silently, so it is conditional.
func (st *Store) Create(ctx context.Context, s syncs.Sync) error {
	_, err := st.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                           &st.Table,
		Item:                                rowOf(s),
		ConditionExpression:                 aws.String("attribute_not_exists(pk)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if exists, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		// The client repeats a call whose answer was lost. If what is there
		// is what we meant to write, it was us.
		if there, err := syncOf(exists.Item); err == nil && there == s {
			return nil
		}
		return &fault.Error{Kind: fault.Conflict, Code: "already_exists", Message: "a sync with this id exists", Err: err}
	}
	return translate("write the item", err)
}

// Read reads one sync, strongly consistent.
func (st *Store) Read(ctx context.Context, workspace, id string) (syncs.Sync, error) {
	out, err := st.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      &st.Table,
		Key:            keyOf(workspace, id),
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return syncs.Sync{}, translate("read the item", err)
	}
	if len(out.Item) == 0 {
		return syncs.Sync{}, &fault.Error{Kind: fault.NotFound, Code: "not_found", Message: "there is no sync with this id"}
	}
	return syncOf(out.Item)
}

// Warm opens the connection, so that the first request need not: it reads one
// key that is not there, for half a read unit.
func (st *Store) Warm(ctx context.Context) error {
	_, err := st.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &st.Table,
		Key:       row{partitionKey: text("#"), sortKey: text("#")}, // no workspace has this name
	})
	return translate("open the connection", err)
}

// EnsureTable makes the table if it is missing, as template.yaml describes it.
// It is for DynamoDB Local; in the cloud the stack makes the table.
func (st *Store) EnsureTable(ctx context.Context) error {
	_, err := st.Client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:   &st.Table,
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String(partitionKey), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String(sortKey), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{
			{AttributeName: aws.String(partitionKey), KeyType: types.KeyTypeHash},
			{AttributeName: aws.String(sortKey), KeyType: types.KeyTypeRange},
		},
	})
	if _, exists := errors.AsType[*types.ResourceInUseException](err); exists {
		return nil
	}
	if err != nil {
		return translate("make the table "+st.Table, err)
	}
	const patience = time.Minute // a new table in the cloud takes some 10 s
	waiter := dynamodb.NewTableExistsWaiter(st.Client)
	if err := waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &st.Table}, patience); err != nil {
		return translate("wait for the table "+st.Table, err)
	}
	return nil
}

// retryThrottled is when a client comes back after throttling: DynamoDB adapts
// to a hot partition within seconds.
const retryThrottled = 2 * time.Second

// retryUnavailable is when a client comes back after an outage.
const retryUnavailable = 5 * time.Second

// translate is the one place where errors of AWS become ours. What DynamoDB
// could not do now is Unavailable, whatever the reason; what it refuses as
// wrong is a defect of ours and stays unclassified.
func translate(doing string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", doing, err)
	unavailable := &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message:    "the sync could not be stored or read just now; please try again",
		RetryAfter: retryUnavailable, Err: err,
	}
	if throttles := retry.IsErrorThrottles(retry.DefaultThrottles); throttles.IsErrorThrottle(err).Bool() {
		unavailable.RetryAfter = retryThrottled
		return unavailable
	}
	refused, ok := errors.AsType[*awshttp.ResponseError](err)
	if ok && refused.HTTPStatusCode() >= 400 && refused.HTTPStatusCode() < 500 {
		return err
	}
	return unavailable
}
