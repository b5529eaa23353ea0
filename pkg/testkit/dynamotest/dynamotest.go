// Package dynamotest gives tests a real DynamoDB and tables in it. All tests of a
// process share one server; each test makes its own table. How DynamoDB Local is
// downloaded and run is in package dynamodblocal.
package dynamotest

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/emulator/dynamodblocal"
)

// shared is the server of this test process, started on first use. It ends with
// the process.
var shared = sync.OnceValues(func() (*dynamodblocal.Server, error) { //nolint:gochecknoglobals // one server for each test process
	return dynamodblocal.Start(context.Background(), dynamodblocal.Options{
		Getenv:   os.Getenv,
		Progress: os.Stderr,
	})
})

// SharedVariable is the environment variable in which command suite passes the endpoint
// of its DynamoDB Local to the tests. Unlike AWS_ENDPOINT_URL_DYNAMODB, it does not change
// what is tested.
const SharedVariable = "DYNAMOTEST_ENDPOINT"

// Endpoint returns the endpoint of a DynamoDB: that of AWS_ENDPOINT_URL_DYNAMODB if it
// is set, or of command suite, otherwise that of a DynamoDB Local that all tests of
// this process share. If the programs for DynamoDB Local are not installed, it skips the
// test and logs how to install them; with CI=true, where a skip would go unnoticed, it
// fails the test.
func Endpoint(tb testing.TB) string {
	tb.Helper()
	if endpoint := cmp.Or(os.Getenv("AWS_ENDPOINT_URL_DYNAMODB"), os.Getenv(SharedVariable)); endpoint != "" {
		return endpoint
	}
	server, err := shared()
	if missing, ok := errors.AsType[*dynamodblocal.MissingError](err); ok && os.Getenv("CI") != "true" {
		tb.Skipf("SKIPPED, NOT TESTED: %v", missing)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return server.Endpoint
}

// NewTable creates a table for one test, and returns the configuration for it.
func NewTable(tb testing.TB) app.Config {
	tb.Helper()
	config := app.Config{
		Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local",
		DynamoDBEndpoint: Endpoint(tb), TableName: "test-" + uuid.NewString(),
	}
	if err := app.DynamoDB(config).EnsureTable(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return config
}
