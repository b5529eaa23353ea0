package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path"
	"strconv"
	"sync"
	"time"
)

// lease is the default lease of a run, less the time of a request. A heartbeat
// extends it.
const (
	lease          = 5*time.Minute - requestTimeout
	requestTimeout = 10 * time.Second
)

// heartbeat returns the time between heartbeats: HEARTBEAT, in seconds, or a minute.
func heartbeat() time.Duration {
	seconds, err := strconv.ParseFloat(os.Getenv("HEARTBEAT"), 64)
	if err != nil || seconds <= 0 {
		return time.Minute
	}
	return time.Duration(seconds * float64(time.Second))
}

// run is a claimed run. The zero run is one that this worker must not execute.
type run struct {
	address string
	answer  []byte // to the claim
	fence   int64
}

// worker knows the attempts that it has started.
type worker struct{ started sync.Map }

// claim claims the run that a delivery is about. It returns a zero run if there is
// nothing to do: the delivery is about something else or is a repeated one, another
// executor has the run, or the run has ended. A claim whose answer was lost is made
// again with the next delivery, by the same executor, and gets the same lease.
func (wk *worker) claim(r *http.Request) (run, error) {
	if r.Header.Get("Ce-Type") != "sync.run.queued.v1" {
		return run{}, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return run{}, err
	}
	id, at := path.Split(path.Dir(r.Header.Get("Ce-Id"))) // <sync>/<time>/queued
	claimed := run{address: os.Getenv("API") + "/api/v1/syncs/" + id + "sync_runs/" + at}
	status, answer, err := claimed.post(r.Context(), "claim", map[string]any{"executor": fmt.Sprintf("%s-%d", host, os.Getpid())})
	if err != nil || status == http.StatusConflict || status == http.StatusNotFound {
		return run{}, err
	}
	if status != http.StatusOK {
		return run{}, fmt.Errorf("the claim was answered with %d", status)
	}
	var body attributes
	if err := json.Unmarshal(answer, &body); err != nil {
		return run{}, err
	}
	claimed.answer, claimed.fence = answer, body.Attributes.Fence
	if _, repeated := wk.started.LoadOrStore(fmt.Sprint(claimed.address, claimed.fence), true); repeated {
		return run{}, nil
	}
	return claimed, nil
}

// attributes are the members of a run that a worker reads.
type attributes struct {
	Attributes struct {
		Fence             int64  `json:"fence"`
		CancelRequestedAt string `json:"cancel_requested_at"`
	} `json:"attributes"`
}

// execute calls copyRows and reports the end. The context of copyRows ends when the
// run is to be canceled and when the lease is lost.
func (r run) execute(copyRows func(ctx context.Context, claim []byte) error) {
	if r.fence == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.extend(ctx, cancel)
	report := map[string]any{"fence": r.fence, "status": "success"}
	if err := copyRows(ctx, r.answer); err != nil {
		report["status"], report["error"] = "failed", err.Error()
	}
	if ctx.Err() != nil {
		report["status"] = "canceled"
	}
	for pause := time.Second; pause <= time.Minute; pause *= 2 {
		status, _, err := r.post(context.Background(), "finish", report)
		if err == nil && status < http.StatusInternalServerError && status != http.StatusTooManyRequests {
			log.Printf("the report with the fence %d was answered with %d", r.fence, status) //nolint:gosec // two numbers
			return
		}
		time.Sleep(pause)
	}
}

// extend sends heartbeats until ctx ends. It calls cancel when the run is to be
// canceled, and when the lease is lost or has ended without a heartbeat.
func (r run) extend(ctx context.Context, cancel func()) {
	end := time.AfterFunc(lease, cancel)
	defer end.Stop()
	beats := time.NewTicker(heartbeat())
	defer beats.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beats.C:
		}
		status, answer, err := r.post(ctx, "heartbeat", map[string]any{"fence": r.fence})
		var body attributes
		switch {
		case err != nil || status != http.StatusOK && status != http.StatusConflict:
			continue // until end
		case status == http.StatusConflict || json.Unmarshal(answer, &body) != nil || body.Attributes.CancelRequestedAt != "":
			cancel()
		}
		end.Reset(lease)
	}
}

// post sends one of the requests of an executor.
func (r run) post(ctx context.Context, action string, body any) (status int, answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.address+"/"+action, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TOKEN"))
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	answer, err = io.ReadAll(response.Body)
	return response.StatusCode, answer, err
}
