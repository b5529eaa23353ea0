package dynamo

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/fault"
	"syncplane/pkg/ratelimit"
)

// quotaKey is the sort key of a workspace's bucket.
const quotaKey = "QUOTA#create"

// fullAttribute is when the bucket is full again, in microseconds since 1970.
const fullAttribute = "full_at"

// maxTakes is how often a token is tried for where others take at the same
// moment. Each try fails only because another one succeeded.
const maxTakes = 8

// Take takes a token with one conditional update, two where the bucket has
// been full, or fills up later than it can. Nothing is read first, so that callers
// at once do not undo each other.
func (st *Store) Take(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) (full time.Time, ok bool, err error) {
	for range maxTakes {
		// A bucket in use: it fills later by one token.
		there, err := st.moveFull(ctx, workspace, p, "full_at > :now AND full_at <= :most", "SET full_at = full_at + :cost, expires_at = :expires", row{
			":now":  number(now.UnixMicro()),
			":most": number(now.Add(p.Window - p.EmissionInterval()).UnixMicro()),
			":cost": number(p.EmissionInterval().Microseconds()),
		}, now)
		if err != nil || there.moved {
			return there.full, err == nil, err
		}
		most := now.Add(p.Window)
		if there.full.After(most) { // the clock was set back, or the window was longer
			there, err = st.moveFull(ctx, workspace, p, "full_at > :full", "SET full_at = :full, expires_at = :expires", row{
				":full": number(most.UnixMicro()),
			}, now)
			if err != nil || there.moved {
				return there.full, false, err
			}
			continue
		}
		if there.full.After(now) {
			return there.full, false, nil
		}
		// A full one: it is full again one token from now.
		there, err = st.moveFull(ctx, workspace, p, "attribute_not_exists(pk) OR full_at <= :now", "SET full_at = :full, expires_at = :expires", row{
			":now":  number(now.UnixMicro()),
			":full": number(now.Add(p.EmissionInterval()).UnixMicro()),
		}, now)
		if err != nil || there.moved {
			return there.full, err == nil, err
		}
	}
	return time.Time{}, false, &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message: "too many requests of this workspace at the same moment; please try again", RetryAfter: retryConflict,
	}
}

// Give puts back a token.
func (st *Store) Give(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) error {
	_, err := st.moveFull(ctx, workspace, p, "full_at > :now", "SET full_at = full_at - :cost, expires_at = :expires", row{
		":now":  number(now.UnixMicro()),
		":cost": number(p.EmissionInterval().Microseconds()),
	}, now)
	return err
}

// bucket is what an update found or made.
type bucket struct {
	full  time.Time
	moved bool
}

func (st *Store) moveFull(ctx context.Context, workspace string, p ratelimit.Policy, condition, update string, values row, now time.Time) (bucket, error) {
	// DynamoDB removes the item some time after the bucket is full.
	values[":expires"] = number(now.Add(2 * p.Window).Unix())
	out, err := st.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                           &st.Table,
		Key:                                 row{partitionKey: text(workspace), sortKey: text(quotaKey)},
		ConditionExpression:                 &condition,
		UpdateExpression:                    aws.String(update),
		ExpressionAttributeValues:           values,
		ReturnValues:                        types.ReturnValueUpdatedNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if there, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		if len(there.Item) == 0 {
			return bucket{}, nil
		}
		read := reader{row: there.Item}
		return bucket{full: time.UnixMicro(read.number(fullAttribute))}, read.err
	}
	if err != nil {
		return bucket{}, translate("take a token", err)
	}
	read := reader{row: out.Attributes}
	return bucket{full: time.UnixMicro(read.number(fullAttribute)), moved: true}, read.err
}
