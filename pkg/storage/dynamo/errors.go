package dynamo

import (
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// When a client comes back. Our own choices.
const (
	retryThrottled   = 2 * time.Second // DynamoDB adapts to a hot partition within seconds
	retryConflict    = time.Second     // the other request ends within milliseconds
	retryUnavailable = 5 * time.Second // an outage
)

// The reasons why DynamoDB cancels a transaction that we tell apart.
const (
	conditionFailed     = "ConditionalCheckFailed"
	transactionConflict = "TransactionConflict"
)

// transient holds the error codes and cancellation reasons of DynamoDB that say
// that the same call may succeed a moment later, and when a client comes back.
// (DynamoDB developer guide, "Error handling with DynamoDB"; API reference, the
// errors of GetItem, PutItem, UpdateItem, DeleteItem, Query, Scan and
// TransactWriteItems.) Of the other errors a status of 500 and above is an
// outage, and 400 a defect of ours or of the stack.
//
//nolint:gochecknoglobals // a table
var transient = map[string]time.Duration{
	"ProvisionedThroughputExceededException": retryThrottled,
	"ProvisionedThroughputExceeded":          retryThrottled, // as the reason of a cancellation
	"RequestLimitExceeded":                   retryThrottled,
	"ThrottlingException":                    retryThrottled,
	"ThrottlingError":                        retryThrottled, // as the reason of a cancellation
	"LimitExceededException":                 retryThrottled,
	"TransactionConflictException":           retryConflict,
	transactionConflict:                      retryConflict, // as the reason of a cancellation
	"TransactionInProgressException":         retryConflict,
	"ReplicatedWriteConflictException":       retryConflict,
	"RequestTimeout":                         retryUnavailable,
	"RequestTimeoutException":                retryUnavailable,
}

// RetryCodes returns the codes in passing that the SDK does not try again by
// itself: it cannot know that our writes may be repeated.
func RetryCodes() map[string]struct{} {
	return map[string]struct{}{"TransactionConflictException": {}, "ReplicatedWriteConflictException": {}}
}

// cancellation is why one item of a transaction stood in its way, if it did.
type cancellation struct {
	code string
	item row
}

func reason(cancelled *types.TransactionCanceledException, i int) cancellation {
	if i >= len(cancelled.CancellationReasons) {
		return cancellation{}
	}
	r := cancelled.CancellationReasons[i]
	return cancellation{code: aws.ToString(r.Code), item: r.Item}
}

// retryAfter returns when a client comes back after an error that passes; ok is
// false for others. A cancelled transaction passes if all of its reasons do.
func retryAfter(err error) (after time.Duration, ok bool) {
	if cancelled, is := errors.AsType[*types.TransactionCanceledException](err); is {
		for _, r := range cancelled.CancellationReasons {
			code := aws.ToString(r.Code)
			if code == "" || code == "None" {
				continue
			}
			wait, passes := transient[code]
			if !passes {
				return 0, false
			}
			after, ok = max(after, wait), true
		}
		return after, ok
	}
	refused, is := errors.AsType[smithy.APIError](err)
	if !is {
		return 0, false
	}
	after, ok = transient[refused.ErrorCode()]
	return after, ok
}

// isTransientCancellation reports whether a transaction that was cancelled is worth another
// try. Other errors that pass were tried again by the SDK.
func isTransientCancellation(err error) bool {
	_, cancelled := errors.AsType[*types.TransactionCanceledException](err)
	_, passes := retryAfter(err)
	return cancelled && passes
}

// translate is the one place where errors of AWS become ours. What DynamoDB
// could not do now is Unavailable, whatever the reason; what it refuses as
// wrong is a defect of ours and stays unclassified. Faults stay as they are.
func translate(doing string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if tooLarge(err) {
		return syncs.ErrTooLarge
	}
	err = fmt.Errorf("%s: %w", doing, err)
	unavailable := &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message:    "the sync could not be stored or read just now; please try again",
		RetryAfter: retryUnavailable, Err: err,
	}
	if after, ok := retryAfter(err); ok {
		unavailable.RetryAfter = after
		return unavailable
	}
	refused, ok := errors.AsType[*awshttp.ResponseError](err)
	if ok && refused.HTTPStatusCode() >= 400 && refused.HTTPStatusCode() < 500 {
		return err
	}
	return unavailable
}
