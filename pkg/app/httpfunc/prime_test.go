package httpfunc_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/storage/dynamo"
)

// refuser is an HTTP client that counts requests and sends none.
type refuser struct{ requests atomic.Int64 }

func (r *refuser) Do(*http.Request) (*http.Response, error) {
	r.requests.Add(1)
	return nil, errors.New("it sends nothing")
}

// TestPrime checks that priming goes through a whole create, and that nothing of it
// reaches DynamoDB.
func TestPrime(t *testing.T) {
	t.Parallel()
	client := &refuser{}
	store := &dynamo.Store{Table: "syncs", Client: dynamodb.New(dynamodb.Options{
		Region: "eu-central-1", HTTPClient: client,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
		}),
	})}
	if err := httpfunc.Prime(t.Context(), store); err != nil {
		t.Error(err)
	}
	if n := client.requests.Load(); n != 0 {
		t.Errorf("%d requests to DynamoDB, want none", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := httpfunc.Prime(ended, store); err == nil {
		t.Error("priming succeeds in a context that has ended")
	}
}
