package dynamo

import (
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

// tooLarge reports whether DynamoDB refused an item because of its size, which has no
// error code, only a message (API reference of PutItem and TransactWriteItems,
// "ValidationError"). syncs.MaxSize is checked before; this is for a sync that an
// earlier version stored above that bound.
func tooLarge(err error) bool {
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok {
		for _, r := range cancelled.CancellationReasons {
			if aws.ToString(r.Code) == "ValidationError" && isSizeMessage(aws.ToString(r.Message)) {
				return true
			}
		}
		return false
	}
	refused, ok := errors.AsType[smithy.APIError](err)
	return ok && refused.ErrorCode() == "ValidationException" && isSizeMessage(refused.ErrorMessage())
}

func isSizeMessage(message string) bool {
	message = strings.ToLower(message)
	return strings.Contains(message, "item size") && strings.Contains(message, "exceeded the maximum allowed size")
}
