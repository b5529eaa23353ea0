// Package dynamo stores syncs, runs, API keys and rate limits in one DynamoDB table and
// reads the records of its stream. It knows keys, rows and the errors of DynamoDB; it
// does not know the HTTP API.
package dynamo

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/backoff"
	"syncplane/pkg/fault"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/syncs"
)

// Store is a syncs.Store, an apikey.Store and a ratelimit.Store.
type Store struct {
	Client *dynamodb.Client
	Table  string

	// Log receives an error for each row that is left out because it cannot be
	// read; nil logs nothing.
	Log *slog.Logger
}

var (
	_ syncs.Store     = (*Store)(nil)
	_ apikey.Store    = (*Store)(nil)
	_ ratelimit.Store = (*Store)(nil)
)

// Create writes s with one PutItem, which costs one write unit for each KB of s. It is
// conditional, since PutItem replaces an existing item.
func (st *Store) Create(ctx context.Context, s syncs.Sync) error {
	_, err := st.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName:                           &st.Table,
		Item:                                rowOf(s),
		ConditionExpression:                 aws.String("attribute_not_exists(pk)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if there, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		// The SDK repeats a call whose response was lost. If the stored sync is
		// equal to s, an earlier attempt has written it.
		if found, err := syncOf(there.Item); err == nil && found == s {
			return nil
		}
		return syncs.ErrExists
	}
	return translate("write the item", err)
}

// CreateOnce writes s and its idempotency record in a transaction, which costs twice
// the write units of both. The condition includes the time, because DynamoDB removes
// expired items with a delay.
func (st *Store) CreateOnce(ctx context.Context, s syncs.Sync, key syncs.IdempotencyKey) (syncs.Sync, error) {
	put := func(item row, condition string, values row) types.TransactWriteItem {
		return types.TransactWriteItem{Put: &types.Put{
			TableName: &st.Table, Item: item,
			ConditionExpression:                 &condition,
			ExpressionAttributeValues:           values,
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}}
	}
	items := []types.TransactWriteItem{
		put(idempotencyRowOf(s, key), "attribute_not_exists(pk) OR expires_at <= :now", row{":now": number(key.Now.Unix())}),
		put(rowOf(s), "attribute_not_exists(pk)", nil),
	}
	first, replayed := s, error(nil)
	err := backoff.Retry(ctx, isTransientCancellation, func() error {
		err := st.transact(ctx, items)
		cancelled, ok := errors.AsType[*types.TransactionCanceledException](err)
		if !ok {
			return err
		}
		switch record, item := reason(cancelled, 0), reason(cancelled, 1); {
		case record.code == conditionFailed:
			first, replayed = replay(record.item, key)
			return nil
		case item.code == conditionFailed:
			return syncs.ErrExists
		default:
			return err
		}
	})
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok {
		if reason(cancelled, 0).code == transactionConflict {
			return syncs.Sync{}, &fault.Error{
				Kind: fault.Conflict, Code: "idempotency_key_in_use",
				Message:    "another request with this idempotency key is being processed; please try again",
				RetryAfter: retryConflict, Err: err,
			}
		}
	}
	if err != nil {
		return syncs.Sync{}, translate("write the items", err)
	}
	return first, replayed
}

// transact writes all items or none.
func (st *Store) transact(ctx context.Context, items []types.TransactWriteItem) error {
	// The SDK adds a client request token, so that a retry after a lost response
	// is not a second transaction.
	_, err := st.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: items})
	return err
}

// replay returns the sync of an idempotency record, or syncs.ErrKeyReused if the
// fingerprint differs.
func replay(record row, key syncs.IdempotencyKey) (syncs.Sync, error) {
	read := reader{row: record}
	if fingerprint := read.text(fingerprintAttribute); read.err != nil {
		return syncs.Sync{}, read.err
	} else if fingerprint != key.Fingerprint {
		return syncs.Sync{}, syncs.ErrKeyReused
	}
	return syncOf(record)
}

// Created reads an idempotency record, strongly consistent.
func (st *Store) Created(ctx context.Context, workspace string, key syncs.IdempotencyKey) (first syncs.Sync, ok bool, err error) {
	out, err := st.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      &st.Table,
		Key:            row{partitionKey: text(workspace), sortKey: text(idempotencyPrefix + key.Key)},
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return syncs.Sync{}, false, translate("read the idempotency record", err)
	}
	if len(out.Item) == 0 {
		return syncs.Sync{}, false, nil
	}
	read := reader{row: out.Item}
	if expires := read.number(expiresAttribute); read.err != nil || expires <= key.Now.Unix() {
		return syncs.Sync{}, false, read.err
	}
	first, err = replay(out.Item, key)
	return first, err == nil, err
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
		return syncs.Sync{}, syncs.ErrNotFound
	}
	return syncOf(out.Item)
}

// List returns syncs of the workspace, newest first, by a strongly consistent Query
// that costs a read unit for each 4 KB of the result. DynamoDB limits a response to
// 1 MB.
func (st *Store) List(ctx context.Context, workspace, after string, limit int) ([]syncs.Sync, bool, error) {
	in := &dynamodb.QueryInput{
		TableName:              &st.Table,
		ConsistentRead:         aws.Bool(true),
		ScanIndexForward:       aws.Bool(false),
		Limit:                  aws.Int32(int32(limit)), //nolint:gosec // at most 1,000
		KeyConditionExpression: aws.String("pk = :workspace AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: row{
			":workspace": text(workspace),
			":prefix":    text(syncPrefix),
		},
	}
	if after != "" {
		in.ExclusiveStartKey = keyOf(workspace, after)
	}
	for {
		out, err := st.Client.Query(ctx, in)
		if err != nil {
			return nil, false, translate("list the items", err)
		}
		list := make([]syncs.Sync, 0, len(out.Items))
		for _, item := range out.Items {
			s, err := syncOf(item)
			if err != nil {
				st.unreadable(ctx, item, err)
				continue
			}
			list = append(list, s)
		}
		more := len(out.LastEvaluatedKey) > 0
		if len(list) > 0 || !more {
			return list, more, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey // no row of this response can be read
	}
}

// Search has DynamoDB apply the filter. It reads one response, which ends after 1 MB.
func (st *Store) Search(ctx context.Context, workspace string, search syncs.Search) (syncs.Found, error) {
	in := &dynamodb.QueryInput{
		TableName:              &st.Table,
		ConsistentRead:         aws.Bool(true),
		ScanIndexForward:       aws.Bool(false),
		Limit:                  aws.Int32(int32(search.Read)), //nolint:gosec // at most 10,000
		KeyConditionExpression: aws.String("pk = :workspace AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: row{
			":workspace": text(workspace),
			":prefix":    text(syncPrefix),
		},
	}
	var conditions []string
	if f := search.Filter; f.Status != "" {
		conditions = append(conditions, "#status = :status") // a reserved word
		in.ExpressionAttributeNames = map[string]string{"#status": "status"}
		in.ExpressionAttributeValues[":status"] = text(string(f.Status))
	}
	for name, id := range map[string]int64{
		"source_id": search.Filter.SourceID, "destination_id": search.Filter.DestinationID, "model_id": search.Filter.ModelID,
	} {
		if id != 0 {
			conditions = append(conditions, name+" = :"+name)
			in.ExpressionAttributeValues[":"+name] = number(id)
		}
	}
	if len(conditions) > 0 {
		in.FilterExpression = aws.String(strings.Join(conditions, " AND "))
	}
	if search.After != "" {
		in.ExclusiveStartKey = keyOf(workspace, search.After)
	}
	out, err := st.Client.Query(ctx, in)
	if err != nil {
		return syncs.Found{}, translate("search the items", err)
	}
	found := syncs.Found{More: len(out.LastEvaluatedKey) > 0}
	for _, item := range out.Items {
		s, err := syncOf(item)
		if err != nil {
			st.unreadable(ctx, item, err)
			continue
		}
		found.Syncs = append(found.Syncs, s)
		found.Last = s.ID
	}
	if found.More {
		read := reader{row: out.LastEvaluatedKey}
		found.Last = strings.TrimPrefix(read.text(sortKey), syncPrefix)
	}
	return found, nil
}

// unreadable logs that a row is left out because it cannot be read.
func (st *Store) unreadable(ctx context.Context, item row, err error) {
	if st.Log == nil {
		return
	}
	read := reader{row: item}
	st.Log.LogAttrs(ctx, slog.LevelError, "unreadable sync",
		slog.String("workspace", read.text(partitionKey)), slog.String("key", read.text(sortKey)), slog.String("error", err.Error()))
}

// Replace writes s if the stored sync has the version before that of s.
func (st *Store) Replace(ctx context.Context, s syncs.Sync) error {
	_, err := st.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &st.Table, Item: rowOf(s),
		ConditionExpression:                 aws.String("version = :before"),
		ExpressionAttributeValues:           row{":before": number(s.Version - 1)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if there, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		if len(there.Item) == 0 {
			return syncs.ErrNotFound
		}
		// As in Create.
		if found, err := syncOf(there.Item); err == nil && found == s {
			return nil
		}
		return syncs.ErrOvertaken
	}
	return translate("replace the item", err)
}

// Delete removes s if the stored sync has the version of s.
func (st *Store) Delete(ctx context.Context, s syncs.Sync) error {
	_, err := st.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: &st.Table, Key: keyOf(s.Workspace, s.ID),
		ConditionExpression:                 aws.String("version = :version"),
		ExpressionAttributeValues:           row{":version": number(s.Version)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if there, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		if len(there.Item) == 0 {
			return syncs.ErrNotFound
		}
		return syncs.ErrOvertaken
	}
	return translate("delete the item", err)
}

// Warm opens the connection to DynamoDB with its TLS handshake, so that the first
// request is faster. It does nothing if the HTTP client cannot connect without a
// request.
func (st *Store) Warm(ctx context.Context) error {
	options := st.Client.Options()
	client, ok := options.HTTPClient.(interface {
		Connect(ctx context.Context, address *url.URL) error
	})
	if !ok {
		return nil
	}
	endpoint, err := options.EndpointResolverV2.ResolveEndpoint(ctx, dynamodb.EndpointParameters{
		Region: &options.Region, Endpoint: options.BaseEndpoint,
	}.WithDefaults())
	if err != nil {
		return translate("find the endpoint", err)
	}
	return translate("open the connection", client.Connect(ctx, &endpoint.URI))
}

// HasTable reports whether the table exists.
func (st *Store) HasTable(ctx context.Context) (bool, error) {
	_, err := st.Client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &st.Table})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return false, nil
	}
	return err == nil, translate("describe the table "+st.Table, err)
}

// EnsureTable creates the table if it does not exist, with the keys and the billing
// mode of template.yaml. Unlike that, it enables neither the stream nor the time to
// live (see EnableStream), so expired rows stay; readers ignore them. It is for
// DynamoDB Local; in AWS the stack creates the table.
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
		return translate("create the table "+st.Table, err)
	}
	const timeout = time.Minute // a new table takes about 10 s in AWS; our own choice
	waiter := dynamodb.NewTableExistsWaiter(st.Client)
	if err := waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &st.Table}, timeout); err != nil {
		return translate("wait for the table "+st.Table, err)
	}
	return nil
}

// EnableStream gives the table the stream and the time to live of template.yaml. It is
// for DynamoDB Local, as EnsureTable is.
func (st *Store) EnableStream(ctx context.Context) error {
	_, err := st.Client.UpdateTable(ctx, &dynamodb.UpdateTableInput{
		TableName:           &st.Table,
		StreamSpecification: &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: types.StreamViewTypeNewAndOldImages},
	})
	if err != nil {
		return translate("enable the stream of the table "+st.Table, err)
	}
	_, err = st.Client.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &st.Table,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String(expiresAttribute), Enabled: aws.Bool(true)},
	})
	return translate("enable the time to live of the table "+st.Table, err)
}
