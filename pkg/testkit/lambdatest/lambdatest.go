// Package lambdatest runs a function of this project in a test.
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

// Start builds the function in the test's own directory as `make build` does,
// for this machine, and runs it under a Lambda Runtime API until the test ends.
func Start(tb testing.TB, env []string, output io.Writer) *lambdaruntime.Function {
	tb.Helper()
	bootstrap := filepath.Join(tb.TempDir(), "bootstrap")
	build := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags=-s -w", "-o", bootstrap, ".") //nolint:gosec // a path of the test
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

// Failed are the IDs of what a function that takes batches did not finish.
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
