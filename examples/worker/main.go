// Command worker executes the runs that a webhook delivers. The program COPY gets
// each on its standard input: the answer to the claim, with the sync.
//
// This file is the worker. It uses the small client of the API in client.go, which
// also sends the heartbeats.
package main

import (
	"bytes"
	"context"
	"log"
	"net/http"
	"os"
	"os/exec"
	"time"
)

func main() {
	log.Fatal((&http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: &worker{}, ReadTimeout: time.Minute}).ListenAndServe())
}

func (wk *worker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	run, err := wk.claim(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable) // the webhook delivers the event again
	}
	go run.execute(copyRows)
}

func copyRows(ctx context.Context, claim []byte) error {
	program := exec.CommandContext(ctx, "sh", "-c", os.Getenv("COPY")) //nolint:gosec // the owner of the worker sets COPY
	program.Stdin = bytes.NewReader(claim)
	return program.Run()
}
