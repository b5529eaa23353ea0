package dynamo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/fault"
)

// keyPrefix is the prefix of the two rows of an API key: one in a partition of its
// own, which requests read, and one in the partition of its workspace, for lists. The
// name of a workspace does not contain #.
const keyPrefix = "KEY#"

var errNoKey error = fault.New(fault.NotFound, "not_found", "there is no key with this id")

// keyRowsOf returns the two rows of a key.
func keyRowsOf(k apikey.Key) (byID, byWorkspace row) {
	at := func(partition string) row {
		scopes := make([]types.AttributeValue, 0, len(k.Scopes))
		for _, scope := range k.Scopes {
			scopes = append(scopes, text(scope))
		}
		return row{
			partitionKey: text(partition),
			sortKey:      text(keyPrefix + k.ID),
			"id":         text(k.ID),
			"workspace":  text(k.Workspace),
			"name":       text(k.Name),
			"scopes":     &types.AttributeValueMemberL{Value: scopes},
			"hash":       text(hex.EncodeToString(k.Hash[:])),
			"last_four":  text(k.LastFour),
			"created_at": instant(k.CreatedAt),
			"ends_at":    instant(k.ExpiresAt), // not expires_at, with which DynamoDB would remove the row
			"revoked_at": instant(k.RevokedAt),
		}
	}
	return at(keyPrefix + k.ID), at(k.Workspace)
}

func apiKeyOf(r row) (apikey.Key, error) {
	read := reader{row: r}
	k := apikey.Key{
		ID: read.text("id"), Workspace: read.text("workspace"), Name: read.text("name"), Scopes: read.texts("scopes"),
		LastFour: read.text("last_four"), CreatedAt: read.time("created_at"), ExpiresAt: read.time("ends_at"), RevokedAt: read.time("revoked_at"),
	}
	hash, err := hex.DecodeString(read.text("hash"))
	if err != nil || copy(k.Hash[:], hash) != len(k.Hash) {
		read.fault("hash")
	}
	return k, read.err
}

// CreateKey writes both rows of k in a transaction. It returns a fault.Conflict if a
// key with its ID exists.
func (st *Store) CreateKey(ctx context.Context, k apikey.Key) error {
	byID, byWorkspace := keyRowsOf(k)
	put := func(item row) types.TransactWriteItem {
		return types.TransactWriteItem{Put: &types.Put{TableName: &st.Table, Item: item, ConditionExpression: aws.String("attribute_not_exists(pk)")}}
	}
	_, err := st.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{put(byID), put(byWorkspace)}})
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok && reason(cancelled, 0).code == conditionFailed {
		return fault.New(fault.Conflict, "already_exists", "a key with this id exists")
	}
	return translate("write the key", err)
}

// Key reads the key with an ID, strongly consistent.
func (st *Store) Key(ctx context.Context, id string) (apikey.Key, error) {
	out, err := st.Client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &st.Table, ConsistentRead: aws.Bool(true),
		Key: row{partitionKey: text(keyPrefix + id), sortKey: text(keyPrefix + id)},
	})
	if err != nil {
		return apikey.Key{}, translate("read the key", err)
	}
	if len(out.Item) == 0 {
		return apikey.Key{}, errNoKey
	}
	return apiKeyOf(out.Item)
}

// Keys lists the keys of a workspace.
func (st *Store) Keys(ctx context.Context, workspace string) ([]apikey.Key, error) {
	var keys []apikey.Key
	var unreadable []error
	pages := dynamodb.NewQueryPaginator(st.Client, &dynamodb.QueryInput{
		TableName: &st.Table, ConsistentRead: aws.Bool(true),
		KeyConditionExpression:    aws.String("pk = :workspace AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: row{":workspace": text(workspace), ":prefix": text(keyPrefix)},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, translate("list the keys", err)
		}
		for _, item := range page.Items {
			k, err := apiKeyOf(item)
			if err != nil {
				read := reader{row: item}
				unreadable = append(unreadable, fmt.Errorf("the row %s: %w", read.text(sortKey), err))
				continue
			}
			keys = append(keys, k)
		}
	}
	return keys, errors.Join(unreadable...)
}

// RevokeKey revokes a key of a workspace in a transaction over both rows. It does
// nothing if the key was revoked before.
func (st *Store) RevokeKey(ctx context.Context, workspace, id string, now time.Time) error {
	update := func(partition string) types.TransactWriteItem {
		return types.TransactWriteItem{Update: &types.Update{
			TableName: &st.Table, Key: row{partitionKey: text(partition), sortKey: text(keyPrefix + id)},
			ConditionExpression:                 aws.String("workspace = :workspace AND revoked_at = :never"),
			UpdateExpression:                    aws.String("SET revoked_at = :now"),
			ExpressionAttributeValues:           row{":workspace": text(workspace), ":never": instant(time.Time{}), ":now": instant(now.UTC().Truncate(time.Second))},
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}}
	}
	_, err := st.Client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{
		TransactItems: []types.TransactWriteItem{update(keyPrefix + id), update(workspace)},
	})
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok && reason(cancelled, 0).code == conditionFailed {
		if there, err := apiKeyOf(reason(cancelled, 0).item); err == nil && there.Workspace == workspace {
			return nil // it was revoked before
		}
		return errNoKey
	}
	return translate("revoke the key", err)
}
