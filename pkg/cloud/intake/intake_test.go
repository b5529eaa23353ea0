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
	"syncplane/pkg/syncs"
)

// created counts the syncs that a store is given.
type created struct {
	syncs.Store
	n *int
}

func (c created) CreateOnce(_ context.Context, s syncs.Sync, _ syncs.IdempotencyKey) (syncs.Sync, error) {
	*c.n++
	return s, nil
}

// heard is EventBridge: it takes what it is given, and holds it to its schema.
type heard struct {
	t *testing.T
	n *int
}

func (h heard) Do(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var in struct {
		Entries []struct {
			Detail string `json:"Detail"` //nolint:tagliatelle // EventBridge's name
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

// FuzzInvoke holds that whatever a message says, a sync is created or a refusal
// told, once, and nothing comes again.
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
		`{"workspace_id":"a","workspace_id":"b","sync":{}}`, `{"id":"\u0000","detail-type":"sync.create.requested","detail":{"workspace_id":"a","sync":{}}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		made, told := 0, 0
		client := eventbridge.New(eventbridge.Options{
			Region: "us-east-1", HTTPClient: heard{t, &told}, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		})
		in := &intake.Intake{
			Syncs: app.Service(created{n: &made}), Publisher: &eventbus.Publisher{Client: client, Bus: "bus", Origin: "https://api.example.com"},
			Now: time.Now, Log: app.Logger(io.Discard, ""),
		}
		response := in.Handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{{MessageId: "m", Body: body}}})
		if len(response.BatchItemFailures) > 0 || made+told != 1 {
			t.Errorf("%d created, %d told, %v comes again", made, told, response.BatchItemFailures)
		}
	})
}
