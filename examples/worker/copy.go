package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
)

// copyRows gives the claim, with the sync, to the program COPY on its standard input.
// The program is stopped when the run is canceled or the lease is lost.
func copyRows(ctx context.Context, claim []byte) error {
	program := exec.CommandContext(ctx, "sh", "-c", os.Getenv("COPY")) //nolint:gosec // the owner of the worker sets COPY
	program.Stdin = bytes.NewReader(claim)
	return program.Run()
}
