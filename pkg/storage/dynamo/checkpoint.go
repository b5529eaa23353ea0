package dynamo

import (
	"context"
	"errors"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// Checkpoint is how far the reconciliation of the schedules is; package reconciler
// defines its fields.
type Checkpoint struct {
	Version  int64
	Running  bool
	Position string
	Window   int
}

// ErrCheckpointOvertaken is returned if another writer has stored the checkpoint.
var ErrCheckpointOvertaken = errors.New("another writer has stored the checkpoint")

// checkpointKey returns the key of the checkpoint. No workspace contains its #.
func checkpointKey() row {
	return row{partitionKey: text("#reconcile"), sortKey: text("CHECKPOINT")}
}

// LoadCheckpoint returns the stored checkpoint, the zero Checkpoint if there is none.
func (st *Store) LoadCheckpoint(ctx context.Context) (Checkpoint, error) {
	item, err := st.get(ctx, checkpointKey(), "the checkpoint")
	if err != nil || len(item) == 0 {
		return Checkpoint{}, err
	}
	return checkpointOf(item)
}

func checkpointOf(item row) (Checkpoint, error) {
	read := reader{row: item}
	c := Checkpoint{
		Version: read.number(versionAttribute), Running: read.flag("running"), Position: read.text("position"), Window: int(read.number("window")),
	}
	return c, read.err
}

// SaveCheckpoint stores c if the stored one has the version before that of c. Otherwise
// it returns ErrCheckpointOvertaken.
func (st *Store) SaveCheckpoint(ctx context.Context, c Checkpoint) error {
	item := checkpointKey()
	item[versionAttribute] = number(c.Version)
	item["running"] = &types.AttributeValueMemberBOOL{Value: c.Running}
	item["position"] = text(c.Position)
	item["window"] = &types.AttributeValueMemberN{Value: strconv.Itoa(c.Window)}
	in := &dynamodb.PutItemInput{TableName: &st.Table, Item: item, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}
	if c.Version == 1 {
		in.ConditionExpression = aws.String("attribute_not_exists(pk)")
	} else {
		in.ConditionExpression = aws.String("version = :before")
		in.ExpressionAttributeValues = row{":before": number(c.Version - 1)}
	}
	_, err := st.Client.PutItem(ctx, in)
	if there, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		// An earlier attempt whose response was lost may have written it.
		stored, err := checkpointOf(there.Item)
		if err == nil && stored == c {
			return nil
		}
		return ErrCheckpointOvertaken
	}
	return translate("store the checkpoint", err)
}
