package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
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

// client executes the runs of the server API with TOKEN.
type client struct {
	executor string
	webhooks []*standardwebhooks.Webhook // one for each secret
	started  sync.Map                    // the attempts that it has started
}

// newClient returns a client that verifies webhooks with one of the secrets of
// WEBHOOK_SECRET, which are separated by a space.
func newClient() *client {
	host, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	c := &client{executor: fmt.Sprintf("%s-%d", host, os.Getpid())}
	for secret := range strings.FieldsSeq(os.Getenv("WEBHOOK_SECRET")) {
		webhook, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			log.Fatal("WEBHOOK_SECRET must be base64: ", err)
		}
		c.webhooks = append(c.webhooks, webhook)
	}
	if c.webhooks == nil {
		log.Fatal("WEBHOOK_SECRET must be that of the server")
	}
	return c
}

// serve handles the webhooks that arrive at PORT of this machine, until an interrupt. The
// leases of the runs that are being executed then expire.
func (c *client) serve(handle http.HandlerFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("The worker receives webhooks at http://%s\n", listener.Addr())
	server := &http.Server{Handler: handle, ReadTimeout: time.Minute}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// run is a claimed run. The zero run is one that this worker must not execute.
type run struct {
	address string
	answer  []byte // to the claim
	fence   int64
}

// maxBody is the limit of a delivery. An event has at most 250 KB.
const maxBody = 1 << 20

// claim verifies a delivery and claims the run that it is about. It returns the status
// of the response, and a zero run if there is nothing to do: the delivery is about
// something else or is a repeated one, another executor has the run, or the run has
// ended. A claim whose answer was lost is made again with the next delivery, by the
// same executor, and gets the same lease.
func (c *client) claim(r *http.Request) (run, int) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return run{}, http.StatusBadRequest
	}
	if !slices.ContainsFunc(c.webhooks, func(wh *standardwebhooks.Webhook) bool { return wh.Verify(body, r.Header) == nil }) {
		log.Print("a delivery without a valid signature is refused")
		return run{}, http.StatusUnauthorized
	}
	var event struct {
		ID string `json:"id"` // <sync>/<time> of a run
	}
	if r.Header.Get("Ce-Type") != "sync.run.queued.v1" {
		return run{}, http.StatusNoContent
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return run{}, http.StatusBadRequest
	}
	claimed := run{address: os.Getenv("API") + "/api/v1/syncs/" + strings.Replace(event.ID, "/", "/sync_runs/", 1)}
	status, answer, err := claimed.post(r.Context(), "claim", map[string]any{"executor": c.executor})
	var members attributes
	switch {
	case err == nil && (status == http.StatusConflict || status == http.StatusNotFound):
		return run{}, http.StatusNoContent
	case err != nil || status != http.StatusOK || json.Unmarshal(answer, &members) != nil:
		log.Printf("the claim was answered with %d: %v", status, err)
		return run{}, http.StatusServiceUnavailable
	}
	claimed.answer, claimed.fence = answer, members.Attributes.Fence
	if _, repeated := c.started.LoadOrStore(fmt.Sprint(claimed.address, claimed.fence), true); repeated {
		return run{}, http.StatusNoContent
	}
	return claimed, http.StatusNoContent
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
