package intake_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/cloud/intake"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
)

const sync = `{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}`

// recordingEventBridge accepts events and records them.
type recordingEventBridge struct{ details *[]string }

func (p recordingEventBridge) Do(r *http.Request) (*http.Response, error) {
	var in struct {
		Entries []struct {
			Detail string `json:"Detail"` //nolint:tagliatelle // EventBridge's name
		} `json:"Entries"` //nolint:tagliatelle // as above
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	for _, e := range in.Entries {
		*p.details = append(*p.details, e.Detail)
	}
	answer := `{"FailedEntryCount":0,"Entries":[{"EventId":"e"}]}`
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

// harness is an Intake over an embedded store, with an adjustable clock.
type harness struct {
	intake    *intake.Intake
	store     *bolt.Store
	now       time.Time
	published []string
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	store := bolttest.Open(t)
	h := &harness{store: store, now: time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)}
	now := func() time.Time { return h.now }
	client := eventbridge.New(eventbridge.Options{
		Region: "us-east-1", HTTPClient: recordingEventBridge{&h.published}, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	})
	h.intake = &intake.Intake{
		Syncs: &syncs.Service{Store: store, Now: now, NewID: func() (string, error) {
			id, err := uuid.NewV7()
			return id.String(), err
		}},
		Runs:      &runs.Service{Store: bolt.Runs{Store: store, Now: now}, Syncs: store, Now: now, Retention: runs.DefaultRetention()},
		Publisher: &eventbus.Publisher{Client: client, Bus: "bus", Origin: "https://api.example.com"},
		Now:       now, Log: app.Logger(io.Discard, ""),
	}
	return h
}

// send delivers a message and returns the errors of its rejection, nil if there is
// none.
func (h *harness) send(t *testing.T, id, body string) []rejection {
	t.Helper()
	h.published = nil
	response := h.intake.Handle(t.Context(), events.SQSEvent{Records: []events.SQSMessage{{MessageId: id, Body: body}}})
	if len(response.BatchItemFailures) > 0 {
		t.Fatal("the message failed")
	}
	if len(h.published) == 0 {
		return nil
	}
	var out struct {
		Data struct {
			Errors []rejection `json:"errors"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(h.published[0]), &out); err != nil {
		t.Fatal(err)
	}
	return out.Data.Errors
}

type rejection struct {
	Status string            `json:"status"`
	Code   string            `json:"code"`
	Source map[string]string `json:"source"`
}

// count returns how many syncs a workspace has.
func (h *harness) count(t *testing.T, workspace string) int {
	t.Helper()
	list, _, err := h.store.List(context.WithoutCancel(t.Context()), workspace, "", 100)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func eventOf(id, detail string) string {
	return `{"version":"0","id":"` + id + `","detail-type":"sync.create.requested","detail":` + detail + `}`
}

func TestRequests(t *testing.T) {
	t.Parallel()
	large := strings.Replace(sync, `"configuration":{}`, `"configuration":{"a":"`+strings.Repeat("x", 300<<10)+`"}`, 1)
	detail := func(text string) string { return `{"workspace_id":"acme","sync":` + text + `}` }
	fits := detail(strings.Replace(sync, `"configuration":{}`, `"configuration":{"a":"`+strings.Repeat("x", 256<<10-len(detail(sync))-len(`"a":""`))+`"}`, 1))
	for name, test := range map[string]struct {
		body string
		want []rejection
	}{
		"good":        {eventOf("e", detail(sync)), nil},
		"the largest": {eventOf("e", fits), nil},
		"a byte more": {eventOf("e", strings.Replace(fits, "xx", "xxx", 1)), []rejection{{"413", "body_too_large", nil}}},
		"300 KB":      {eventOf("e", detail(large)), []rejection{{"413", "body_too_large", nil}}},
		"420 KB without an event": {
			`{"workspace_id":"acme","idempotency_key":"k","sync":` + strings.Replace(large, "x", strings.Repeat("x", 120<<10), 1) + `}`,
			[]rejection{{"413", "body_too_large", nil}},
		},
		"a duplicate workspace": {
			eventOf("e", `{"workspace_id":"acme","workspace_id":"globex","sync":`+sync+`}`),
			[]rejection{{"400", "duplicate_member", nil}},
		},
		"a duplicate detail": {
			`{"id":"e","detail-type":"sync.create.requested","detail":` + detail(sync) + `,"detail":` + strings.Replace(detail(sync), "acme", "globex", 1) + `}`,
			[]rejection{{"400", "duplicate_member", nil}},
		},
		"a workspace in another case": {
			eventOf("e", `{"WORKSPACE_ID":"globex","sync":`+sync+`}`),
			[]rejection{{"422", "invalid_workspace", map[string]string{"pointer": "/workspace_id"}}},
		},
		"one in another case in addition": {eventOf("e", `{"workspace_id":"acme","Workspace_Id":"globex","sync":`+sync+`}`), nil},
		"a detail in another case": {
			`{"id":"e","Detail-Type":"sync.create.requested","Detail":` + detail(sync) + `}`,
			[]rejection{
				{"422", "invalid_workspace", map[string]string{"pointer": "/workspace_id"}},
				{"422", "required", map[string]string{"pointer": "/idempotency_key"}},
			},
		},
		"a key of another type": {
			eventOf("e", `{"workspace_id":"acme","idempotency_key":7,"sync":`+sync+`}`),
			[]rejection{{"422", "invalid_key", map[string]string{"pointer": "/idempotency_key"}}},
		},
		"an empty key": {
			eventOf("e", `{"workspace_id":"acme","idempotency_key":"","sync":`+sync+`}`),
			[]rejection{{"422", "invalid_key", map[string]string{"pointer": "/idempotency_key"}}},
		},
		"a detail without a key": {detail(sync), []rejection{{"422", "required", map[string]string{"pointer": "/idempotency_key"}}}},
		"data after the event":   {eventOf("e", detail(sync)) + "{}", []rejection{{"400", "invalid_json", nil}}},
		"no sync": {
			eventOf("e", `{"workspace_id":"acme"}`),
			[]rejection{{"422", "required", map[string]string{"pointer": "/sync"}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			if diff := cmp.Diff(test.want, h.send(t, "m", test.body)); diff != "" {
				t.Error(diff)
			}
			created := 0
			if test.want == nil {
				created = 1
			}
			if got := h.count(t, "acme"); got != created {
				t.Errorf("acme has %d syncs, want %d", got, created)
			}
			if got := h.count(t, "globex"); got != 0 {
				t.Errorf("globex has %d syncs", got)
			}
		})
	}
}

// TestReusedKey checks that the rejection of a reused key points to idempotency_key,
// and to nothing if the key is the ID of the event.
func TestReusedKey(t *testing.T) {
	t.Parallel()
	other := strings.Replace(sync, "contacts", "accounts", 1)
	for name, test := range map[string]struct {
		first, second string
		want          map[string]string
	}{
		"idempotency_key": {
			eventOf("1", `{"workspace_id":"acme","idempotency_key":"k","sync":`+sync+`}`),
			eventOf("2", `{"workspace_id":"acme","idempotency_key":"k","sync":`+other+`}`),
			map[string]string{"pointer": "/idempotency_key"},
		},
		"the ID of the event": {
			eventOf("1", `{"workspace_id":"acme","sync":`+sync+`}`),
			eventOf("1", `{"workspace_id":"acme","sync":`+other+`}`),
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			if got := h.send(t, "a", test.first); got != nil {
				t.Fatalf("got %v", got)
			}
			want := []rejection{{"422", "idempotency_key_reused", test.want}}
			if diff := cmp.Diff(want, h.send(t, "b", test.second)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRedrive checks that a message which is moved out of a dead-letter queue weeks
// later, with another message ID, does not create a second sync.
func TestRedrive(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"an event":         eventOf("1", `{"workspace_id":"acme","sync":`+sync+`}`),
		"with a key":       eventOf("1", `{"workspace_id":"acme","idempotency_key":"k","sync":`+sync+`}`),
		"without an event": `{"workspace_id":"acme","idempotency_key":"k","sync":` + sync + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			for i, after := range []time.Duration{0, 25 * time.Hour, 14 * 24 * time.Hour, 14 * 24 * time.Hour} {
				h.now = h.now.Add(after)
				if got := h.send(t, "message-"+string(rune('a'+i)), body); got != nil {
					t.Fatalf("got %v", got)
				}
			}
			if got := h.count(t, "acme"); got != 1 {
				t.Errorf("%d syncs were created", got)
			}
		})
	}
}
