// Package app holds what all functions and the command share: the configuration
// that reaches AWS, the clients made of it, and the log. The packages below it
// wire one kind of function each.
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
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// The timeout of a call to AWS and its attempts. DynamoDB answers in milliseconds;
// three attempts of two seconds stay within the ten that the function has.
const (
	attemptTimeout = 2 * time.Second
	maxAttempts    = 3
)

// firstBackoff is the longest pause before the second attempt; each is up to
// twice as long as the one before. DynamoDB answers in milliseconds, and the
// SDK's own pauses begin at a second.
const firstBackoff = 50 * time.Millisecond

func backoff(attempt int, _ error) (time.Duration, error) {
	return rand.N(firstBackoff << attempt), nil //nolint:gosec // jitter, not a secret
}

// maxConnections is how many idle connections to DynamoDB are kept. A Lambda
// needs one; a local server in front of DynamoDB needs as many as it has
// clients.
const maxConnections = 64

// Service returns the operations on syncs over a store.
func Service(store syncs.Store) *syncs.Service {
	return &syncs.Service{
		Store: store,
		Now:   time.Now, //nolint:forbidigo // the edge hands out the clock
		NewID: newID,
	}
}

func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// DynamoDB returns the store on DynamoDB. The client is made without the SDK's
// config package, which costs 2 MB and 6 ms of init for sources of settings
// that a Lambda does not have.
func DynamoDB(c Config) *dynamo.Store {
	return DynamoDBAs(c, aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
	}))
}

// DynamoDBAs is DynamoDB with other credentials than those of c.
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

// Retryer returns the policy by which a call to AWS is tried again.
func Retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.Backoff = retry.BackoffDelayerFunc(backoff)
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: dynamo.RetryCodes()})
	})
}
