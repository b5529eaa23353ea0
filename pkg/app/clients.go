package app

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/uuid"

	"syncplane/pkg/cloud/preconnect"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// The timeout of one attempt of a call to AWS, and the most attempts. Our own
// choice: DynamoDB responds in milliseconds, and three attempts of two seconds
// stay within the function's timeout of ten.
const (
	attemptTimeout = 2 * time.Second
	maxAttempts    = 3
)

// firstBackoff is the longest pause before the second attempt; each further pause
// is up to twice as long. Our own choice: the SDK's pauses begin at a second, and
// DynamoDB responds in milliseconds.
const firstBackoff = 50 * time.Millisecond

func backoff(attempt int, _ error) (time.Duration, error) {
	return rand.N(firstBackoff << attempt), nil //nolint:gosec // jitter, not a secret
}

// maxConnections is how many idle connections to DynamoDB are kept. A Lambda
// function needs one; a local server over DynamoDB needs one for each concurrent
// client. Our own choice.
const maxConnections = 64

// Service returns the operations on syncs over a store.
func Service(store syncs.Store) *syncs.Service {
	return &syncs.Service{
		Store: store,
		Now:   time.Now, //nolint:forbidigo // the clock is read at the edge
		NewID: newID,
	}
}

// Runs returns the operations on runs over their store and that of syncs.
func Runs(store runs.Store, of syncs.Store, retention time.Duration) *runs.Service {
	kept := runs.DefaultRetention()
	kept.Runs = retention
	return &runs.Service{
		Store: store, Syncs: of, Retention: kept,
		Now: time.Now, //nolint:forbidigo // the edge hands out the clock
	}
}

func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// Credentials returns the credentials of c.
func Credentials(c Config) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
	})
}

// DynamoDB returns the store in DynamoDB. Its client is made without the SDK's
// config package, which costs 2 MB and 6 ms of init for sources of settings that a
// Lambda function does not have.
func DynamoDB(c Config) *dynamo.Store { return DynamoDBAs(c, Credentials(c)) }

// DynamoDBAs returns the store in DynamoDB with these credentials in place of
// those of c.
func DynamoDBAs(c Config, credentials aws.CredentialsProvider) *dynamo.Store {
	options := dynamodb.Options{
		Region:      c.Region,
		Credentials: credentials,
		HTTPClient:  HTTPClient(),
		Retryer:     Retryer(),
	}
	if c.DynamoDBEndpoint != "" {
		options.BaseEndpoint = &c.DynamoDBEndpoint
	}
	return &dynamo.Store{Client: dynamodb.New(options), Table: c.TableName}
}

// HTTPClient returns the HTTP client for calls to AWS.
func HTTPClient() aws.HTTPClient {
	return preconnect.New(preconnect.Config{Timeout: attemptTimeout, MaxIdle: maxConnections})
}

// Retryer returns the retry policy for calls to AWS.
func Retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.Backoff = retry.BackoffDelayerFunc(backoff)
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: dynamo.RetryCodes()})
	})
}
