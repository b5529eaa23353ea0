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

// rateLimitKey is the sort key of a workspace's bucket.
const rateLimitKey = "QUOTA#create"

// tatAttribute is when the bucket is full again, in microseconds since 1970.
const tatAttribute = "full_at"

// maxAttempts is how often a token is tried for where others take at the same
// moment. Each try fails only because another one succeeded.
const maxAttempts = 8

// Take takes a token with one conditional update, two where the bucket has
// been full, or fills up later than it can. Nothing is read first, so that callers
// at once do not undo each other.
func (st *Store) Take(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) (tat time.Time, ok bool, err error) {
	for range maxAttempts {
		// A bucket in use: it fills later by one token.
		found, err := st.updateTAT(ctx, workspace, p, "full_at > :now AND full_at <= :most", "SET full_at = full_at + :cost, expires_at = :expires", row{
			":now":  number(now.UnixMicro()),
			":most": number(now.Add(p.Window - p.EmissionInterval()).UnixMicro()),
			":cost": number(p.EmissionInterval().Microseconds()),
		}, now)
		if err != nil || found.moved {
			return found.tat, err == nil, err
		}
		latest := now.Add(p.Window)
		if found.tat.After(latest) { // the clock was set back, or the window was longer
			found, err = st.updateTAT(ctx, workspace, p, "full_at > :full", "SET full_at = :full, expires_at = :expires", row{
				":full": number(latest.UnixMicro()),
			}, now)
			if err != nil || found.moved {
				return found.tat, false, err
			}
			continue
		}
		if found.tat.After(now) {
			return found.tat, false, nil
		}
		// A full one: it is full again one token from now.
		found, err = st.updateTAT(ctx, workspace, p, "attribute_not_exists(pk) OR full_at <= :now", "SET full_at = :full, expires_at = :expires", row{
			":now":  number(now.UnixMicro()),
			":full": number(now.Add(p.EmissionInterval()).UnixMicro()),
		}, now)
		if err != nil || found.moved {
			return found.tat, err == nil, err
		}
	}
	return time.Time{}, false, &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message: "too many requests of this workspace at the same moment; please try again", RetryAfter: retryConflict,
	}
}

// Give puts back a token.
func (st *Store) Give(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) error {
	_, err := st.updateTAT(ctx, workspace, p, "full_at > :now", "SET full_at = full_at - :cost, expires_at = :expires", row{
		":now":  number(now.UnixMicro()),
		":cost": number(p.EmissionInterval().Microseconds()),
	}, now)
	return err
}

// bucket is what an update found or made.
type bucket struct {
	tat   time.Time
	moved bool
}

func (st *Store) updateTAT(ctx context.Context, workspace string, p ratelimit.Policy, condition, update string, values row, now time.Time) (bucket, error) {
	// DynamoDB removes the item some time after the bucket is full.
	values[":expires"] = number(now.Add(2 * p.Window).Unix())
	out, err := st.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                           &st.Table,
		Key:                                 row{partitionKey: text(workspace), sortKey: text(rateLimitKey)},
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
		return bucket{tat: time.UnixMicro(read.number(tatAttribute))}, read.err
	}
	if err != nil {
		return bucket{}, translate("take a token", err)
	}
	read := reader{row: out.Attributes}
	return bucket{tat: time.UnixMicro(read.number(tatAttribute)), moved: true}, read.err
}
