package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
)

// Call runs the command that args name in this process, as main does, and returns the
// exit code.
func Call(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := environment{getenv: getenv, stdin: stdin, stdout: stdout, stderr: stderr, addRoots: func() {}}
	return report(env, run(ctx, args, env))
}

// Background prepares the tasks of a server on a store, as serve does before it takes
// requests. It returns what starts and what stops them.
func Background(ctx context.Context, store *bolt.Store, dataDir string, hook webhook.Config) (start, stop func(), err error) {
	c := serveConfig{storageConfig: storageConfig{dataDir: dataDir}, hook: hook}
	e := backend{syncs: store, runs: bolt.Runs{Store: store, Now: time.Now}, feed: store}
	b, err := newBackground(ctx, c, e, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, err
	}
	return b.start, b.stop, nil
}
