package main

import (
	"context"
	"io"
)

// Call runs the command that args name in this process, as main does, and returns the
// exit code.
func Call(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := environment{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr, addRoots: func() {}}
	return report(env, run(ctx, args, env))
}
