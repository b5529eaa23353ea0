// Package lambdatest builds a function of this project and runs it in a test.
package lambdatest

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/testkit/testbuild"
)

// BuildTags are the build tags of the functions, as in the Makefile.
const BuildTags = "lambda.norpc,nethttpomithttp2"

// built is the function in the directory of the test.
var built struct { //nolint:gochecknoglobals // one build for each test process
	removes   bool // Run removes the directory
	once      sync.Once
	directory string // of the built program
	err       error
}

// Run runs the tests of a package that calls Start, and returns the exit code. TestMain
// must call it.
func Run(m *testing.M) int {
	built.removes = true
	defer func() { _ = os.RemoveAll(built.directory) }()
	return m.Run()
}

// bootstrap builds the function once for all tests and returns its path.
func bootstrap(tb testing.TB) string {
	tb.Helper()
	if !built.removes {
		tb.Fatal("TestMain must call lambdatest.Run")
	}
	built.once.Do(func() {
		built.directory, built.err = testbuild.Programs(context.Background(), []string{"CGO_ENABLED=0"}, "-trimpath", "-tags="+BuildTags, "-ldflags=-s -w", ".")
	})
	if built.err != nil {
		tb.Fatal(built.err)
	}
	programs, err := os.ReadDir(built.directory)
	if err != nil || len(programs) != 1 {
		tb.Fatalf("got %d programs, %v, want one", len(programs), err)
	}
	return filepath.Join(built.directory, programs[0].Name())
}

// Start builds the function in the directory of the test with the flags of
// `make build`, for the platform of the test, and runs it under an emulated Lambda
// Runtime API until the test ends.
func Start(tb testing.TB, env []string, output io.Writer) *lambdaruntime.Function {
	tb.Helper()
	function, err := lambdaruntime.Start(tb.Context(), lambdaruntime.Options{Command: []string{bootstrap(tb)}, Env: env, Output: output})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := function.Close(); err != nil {
			tb.Error(err)
		}
	})
	return function
}

// Failed returns the batch item failures of a response: the IDs of the messages or
// records that the function did not finish.
func Failed(tb testing.TB, answer []byte) []string {
	tb.Helper()
	var response struct {
		Failures []struct {
			ID string `json:"itemIdentifier"` //nolint:tagliatelle // Lambda's name
		} `json:"batchItemFailures"` //nolint:tagliatelle // as above
	}
	if err := json.Unmarshal(answer, &response); err != nil {
		tb.Fatal(err)
	}
	failed := []string{}
	for _, f := range response.Failures {
		failed = append(failed, f.ID)
	}
	return failed
}
