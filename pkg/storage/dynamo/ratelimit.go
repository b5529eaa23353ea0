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

// rateLimitKey is the sort key of a workspace's token bucket.
const rateLimitKey = "QUOTA#create"

// tatAttribute is the theoretical arrival time, in microseconds since 1970.
const tatAttribute = "full_at"

// maxAttempts is how often Take tries to take a token. An attempt fails only if a
// concurrent one succeeds. Our own choice.
const maxAttempts = 8

// Take takes a token with one conditional update; it needs a second one if the bucket
// was full or its TAT is later than possible. It does not read first, so that
// concurrent calls do not overwrite each other.
func (st *Store) Take(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) (tat time.Time, ok bool, err error) {
	expires := now.Add(2 * p.Window)
	for range maxAttempts {
		// The bucket is in use and has a token.
		found, err := st.updateTAT(ctx, workspace, tatUpdate{
			condition: "full_at > :now AND full_at <= :latest", value: "full_at + :interval", expires: expires,
			values: row{
				":now":      number(now.UnixMicro()),
				":latest":   number(now.Add(p.Window - p.EmissionInterval()).UnixMicro()),
				":interval": number(p.EmissionInterval().Microseconds()),
			},
		})
		if err != nil || found.updated {
			return found.tat, err == nil, err
		}
		latest := now.Add(p.Window)
		if found.tat.After(latest) { // the clock was set back, or the window was longer
			found, err = st.updateTAT(ctx, workspace, tatUpdate{
				condition: "full_at > :tat", value: ":tat", expires: expires,
				values: row{":tat": number(latest.UnixMicro())},
			})
			if err != nil || found.updated {
				return found.tat, false, err
			}
			continue
		}
		if found.tat.After(now) {
			return found.tat, false, nil
		}
		// The bucket is full or new.
		found, err = st.updateTAT(ctx, workspace, tatUpdate{
			condition: "attribute_not_exists(pk) OR full_at <= :now", value: ":tat", expires: expires,
			values: row{
				":now": number(now.UnixMicro()),
				":tat": number(now.Add(p.EmissionInterval()).UnixMicro()),
			},
		})
		if err != nil || found.updated {
			return found.tat, err == nil, err
		}
	}
	return time.Time{}, false, &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message: "too many concurrent requests of this workspace; please try again", RetryAfter: retryConflict,
	}
}

// Give returns a token; see ratelimit.Store.
func (st *Store) Give(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) error {
	_, err := st.updateTAT(ctx, workspace, tatUpdate{
		condition: "full_at > :now", value: "full_at - :interval", expires: now.Add(2 * p.Window),
		values: row{
			":now":      number(now.UnixMicro()),
			":interval": number(p.EmissionInterval().Microseconds()),
		},
	})
	return err
}

// tatUpdate is a conditional update of a TAT.
type tatUpdate struct {
	condition, value string // expressions
	values           row    // of the variables in both
	expires          time.Time
}

// bucket is the state of a bucket after an update, or the stored state if the
// condition of the update failed.
type bucket struct {
	tat     time.Time
	updated bool
}

func (st *Store) updateTAT(ctx context.Context, workspace string, u tatUpdate) (bucket, error) {
	u.values[":expires"] = number(u.expires.Unix()) // when DynamoDB may remove the item: the bucket is full then
	out, err := st.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:                           &st.Table,
		Key:                                 row{partitionKey: text(workspace), sortKey: text(rateLimitKey)},
		ConditionExpression:                 &u.condition,
		UpdateExpression:                    aws.String("SET full_at = " + u.value + ", expires_at = :expires"),
		ExpressionAttributeValues:           u.values,
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
	return bucket{tat: time.UnixMicro(read.number(tatAttribute)), updated: true}, read.err
}
