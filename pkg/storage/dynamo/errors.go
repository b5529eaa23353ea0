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

// The Retry-After of faults. Our own choices.
const (
	retryThrottled   = 2 * time.Second // DynamoDB adapts to a hot partition within seconds
	retryConflict    = time.Second     // the other request ends within milliseconds
	retryUnavailable = 5 * time.Second // an outage
)

// The cancellation reasons of a transaction that are handled in a special way.
const (
	conditionFailed     = "ConditionalCheckFailed"
	transactionConflict = "TransactionConflict"
)

// transient maps the error codes and cancellation reasons of DynamoDB after which the
// same call may succeed to the Retry-After of the fault (DynamoDB developer guide,
// "Error handling with DynamoDB"; API reference, the errors of GetItem, PutItem,
// UpdateItem, DeleteItem, Query, Scan and TransactWriteItems). Other errors are an
// outage if their status is 500 or above, and a defect of this program or of the
// stack if it is 400.
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

// RetryCodes returns the codes in transient that the SDK does not retry by default.
// A call that fails with one of them has changed nothing, so it may be repeated.
func RetryCodes() map[string]struct{} {
	return map[string]struct{}{"TransactionConflictException": {}, "ReplicatedWriteConflictException": {}}
}

// cancellation is the reason of one item for which a transaction was canceled; code is
// "None" or "" if the item is not a reason.
type cancellation struct {
	code string
	item row
}

// reason returns the cancellation of item i.
func reason(cancelled *types.TransactionCanceledException, i int) cancellation {
	if i >= len(cancelled.CancellationReasons) {
		return cancellation{}
	}
	r := cancelled.CancellationReasons[i]
	return cancellation{code: aws.ToString(r.Code), item: r.Item}
}

// retryAfter returns the Retry-After for a transient error; ok is false for other
// errors. A canceled transaction is transient if all of its reasons are.
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

// isTransientCancellation reports whether err is a canceled transaction that may be
// retried. The SDK retries other transient errors.
func isTransientCancellation(err error) bool {
	_, cancelled := errors.AsType[*types.TransactionCanceledException](err)
	_, passes := retryAfter(err)
	return cancelled && passes
}

// translate turns an error of the SDK into a fault. Transient errors and outages
// become fault.Unavailable. An error with a 4xx status is a defect of this program
// and stays unclassified, that is fault.Internal. Faults are returned unchanged.
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
		Message:    "the sync could not be stored or read at the moment; please try again",
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
