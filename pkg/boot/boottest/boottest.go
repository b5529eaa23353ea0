// Package boottest gives tests tables in DynamoDB Local.
package boottest

import (
	"testing"

	"github.com/google/uuid"

	"syncplane/pkg/boot"
	"syncplane/pkg/dynamolocal/dynamotest"
)

// Table makes a table of the test's own, and returns what reaches it.
func Table(tb testing.TB) boot.Config {
	tb.Helper()
	config := boot.Config{
		Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local",
		DynamoDBEndpoint: dynamotest.ForTest(tb), TableName: "test-" + uuid.NewString(),
	}
	if err := boot.DynamoDB(config).EnsureTable(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return config
}
