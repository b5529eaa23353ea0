// Package lambdatest builds a function of this project and runs it in a test.
package lambdatest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"syncplane/pkg/emulator/lambdaruntime"
)

// BuildTags are the build tags of the functions, as in the Makefile.
const BuildTags = "lambda.norpc,nethttpomithttp2"

// built is the function in the directory of the test.
var built struct { //nolint:gochecknoglobals // one build for each test process
	directory string // that Run makes
	once      sync.Once
	err       error
}

// Run runs the tests of a package that calls Start, and returns the exit code. TestMain
// must call it.
func Run(m *testing.M) int {
	directory, err := os.MkdirTemp("", "lambdatest-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(directory) //nolint:errcheck // a directory for temporary files
	built.directory = directory
	return m.Run()
}

// bootstrap builds the function once for all tests and returns its path.
func bootstrap(tb testing.TB) string {
	tb.Helper()
	if built.directory == "" {
		tb.Fatal("TestMain must call lambdatest.Run")
	}
	path := filepath.Join(built.directory, "bootstrap")
	built.once.Do(func() {
		build := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-tags", BuildTags, "-ldflags=-s -w", "-o", path, ".") //nolint:gosec // the path is the test's own
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		tb.Fatal(built.err)
	}
	return path
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
