// Package lambdatest builds a function of this project and runs it in a test.
package lambdatest

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"syncplane/pkg/emulator/lambdaruntime"
)

// BuildTags are the build tags of the functions, as in the Makefile.
const BuildTags = "lambda.norpc,nethttpomithttp2"

// Start builds the function in the directory of the test with the flags of
// `make build`, for the platform of the test, and runs it under an emulated Lambda
// Runtime API until the test ends.
func Start(tb testing.TB, env []string, output io.Writer) *lambdaruntime.Function {
	tb.Helper()
	bootstrap := filepath.Join(tb.TempDir(), "bootstrap")
	build := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-tags", BuildTags, "-ldflags=-s -w", "-o", bootstrap, ".") //nolint:gosec // the path is the test's own
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	function, err := lambdaruntime.Start(tb.Context(), lambdaruntime.Options{Command: []string{bootstrap}, Env: env, Output: output})
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
