// Package dynamotest gives tests a real DynamoDB to talk to. It knows how one
// is had (see package dynamolocal) and nothing of tables: a test makes its
// own, under a name of its own, because all tests of a process share one
// server.
package dynamotest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"

	"syncplane/pkg/emulator/dynamodblocal"
)

// shared is the one server of a test process, started on first use. Nothing
// closes it: it ends with the process.
var shared = sync.OnceValues(func() (*dynamodblocal.Server, error) { //nolint:gochecknoglobals // one for each test process is what this package is for
	return dynamodblocal.Start(context.Background(), dynamodblocal.Options{
		Getenv:   os.Getenv,
		Progress: os.Stderr,
	})
})

// ForTest returns the endpoint of a DynamoDB: that of DYNAMODB_ENDPOINT if it
// is set, else a DynamoDB Local that all tests of this process share. A machine
// without the programs for it skips the test, and says how to get them; in
// continuous integration (CI=true), where a skip would go unseen, it fails.
func ForTest(tb testing.TB) string {
	tb.Helper()
	if endpoint := os.Getenv("DYNAMODB_ENDPOINT"); endpoint != "" {
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
