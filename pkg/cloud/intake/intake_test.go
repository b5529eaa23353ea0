package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"

	"syncplane/pkg/app"
	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/cloud/intake"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
)

// countingStore counts the syncs that it is to create.
type countingStore struct {
	syncs.Store
	n *int
}

func (c countingStore) CreateOnce(_ context.Context, s syncs.Sync, _ syncs.IdempotencyKey) (syncs.Sync, error) {
	*c.n++
	return s, nil
}

// fakeEventBridge accepts events, checks each against its schema, and counts them.
type fakeEventBridge struct {
	t *testing.T
	n *int
}

func (h fakeEventBridge) Do(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var in struct {
		Entries []struct {
			Detail string `json:"Detail"` //nolint:tagliatelle // the API of EventBridge has this name
		} `json:"Entries"` //nolint:tagliatelle // as above
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	for _, e := range in.Entries {
		eventtest.Check(h.t, []byte(e.Detail))
		*h.n++
	}
	answer := `{"FailedEntryCount":0,"Entries":[{"EventId":"e"}]}`
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

// FuzzInvoke checks for every message that either a sync is created or a rejection is
// published, and that the message is not delivered again. A run that is due and whose
// sync does not exist is neither.
func FuzzInvoke(f *testing.F) {
	text, err := os.ReadFile("../../../events/create-requested.json")
	if err != nil {
		f.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		f.Fatal(err)
	}
	good := compact.String()
	for _, seed := range []string{
		good, strings.Replace(good, "automated", "hourly", 1), strings.Replace(good, `"demo"`, "null", 1), strings.Replace(good, "crm-4711", "ü", 1),
		`{}`, `null`, `[]`, `"x"`, `{"detail":{}}`, `{"detail-type":"sync.create.requested","detail":"x"}`, `{"workspace_id":"a","sync":null}`,
		`{"workspace_id":"a","sync":[` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `]}`, "\xff", `{"id":"` + strings.Repeat("x", 300) + `","detail":{}}`,
		`{"workspace_id":"a","idempotency_key":"k","sync_id":"019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e"}`, `{"workspace_id":"a","run_id":"019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e/2026-11-24T06:00:00Z","sync_run":{"fence":1,"status":"success"}}`,
		`{"id":"e","detail-type":"sync.run.requested","detail":{"workspace_id":"a","sync_id":"x","sync_run":{"sync_run_type":"test"}}}`, `{"id":"e","detail-type":"sync.run.reported","detail":{"run_id":"x/y"}}`,
		`{"id":"e","detail-type":"sync.due","detail":{"data":{"workspace_id":"a","run_id":"019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e/2026-11-24T06:00:00Z","late":true}}}`, `{"detail-type":"sync.due","detail":{"data":[]}}`,
		`{"workspace_id":"a","workspace_id":"b","sync":{}}`, `{"id":"\u0000","detail-type":"sync.create.requested","detail":{"workspace_id":"a","sync":{}}}`,
	} {
		f.Add(seed)
	}
	store := bolttest.Open(f)
	f.Fuzz(func(t *testing.T, body string) {
		created, rejected := 0, 0
		var log bytes.Buffer
		client := eventbridge.New(eventbridge.Options{
			Region: "us-east-1", HTTPClient: fakeEventBridge{t, &rejected}, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		})
		in := &intake.Intake{
			Syncs: app.Service(countingStore{n: &created}), Publisher: &eventbus.Publisher{Client: client, Bus: "bus", Origin: "https://api.example.com"},
			Runs: app.Runs(bolt.Runs{Store: store, Now: time.Now}, store, runs.DefaultRetention().Runs),
			Now:  time.Now, Log: app.Logger(&log, ""),
		}
		response := in.Handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{{MessageId: "m", Body: body}}})
		if len(response.BatchItemFailures) > 0 || created+rejected != 1 && !strings.Contains(log.String(), `"outcome":"ignored"`) || created+rejected > 1 {
			t.Errorf("%d created, %d rejected, %v delivered again", created, rejected, response.BatchItemFailures)
		}
	})
}
