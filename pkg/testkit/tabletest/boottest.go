// Package boottest gives tests tables in DynamoDB Local.
package tabletest

import (
	"testing"

	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/testkit/dynamotest"
)

// Table makes a table of the test's own, and returns what reaches it.
func Table(tb testing.TB) app.Config {
	tb.Helper()
	config := app.Config{
		Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local",
		DynamoDBEndpoint: dynamotest.ForTest(tb), TableName: "test-" + uuid.NewString(),
	}
	if err := app.DynamoDB(config).EnsureTable(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return config
}
