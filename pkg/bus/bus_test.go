package bus_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/boot"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/eventboot"
	"syncplane/pkg/syncs/storetest"
)

// wire is EventBridge as far as PutEvents goes. It refuses an entry as often as
// the test says, by the number that is its data.
type wire struct {
	t       *testing.T
	refuse  map[string]int
	breaks  int // calls that fail altogether
	mu      sync.Mutex
	calls   [][]string // the numbers in each call
	arrived []string
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
	}
	var in struct {
		Entries []struct {
			EventBusName string `json:"EventBusName"` //nolint:tagliatelle // EventBridge's name
			Source       string `json:"Source"`       //nolint:tagliatelle // as above
			DetailType   string `json:"DetailType"`   //nolint:tagliatelle // as above
			Detail       string `json:"Detail"`       //nolint:tagliatelle // as above
		} `json:"Entries"` //nolint:tagliatelle // as above
	}
	if err := json.Unmarshal(text, &in); err != nil {
		w.t.Error(err)
	}
	size, subjects := 0, map[string]bool{}
	var call []string
	type result struct {
		EventID      string `json:"EventId,omitempty"`      //nolint:tagliatelle // as above
		ErrorCode    string `json:"ErrorCode,omitempty"`    //nolint:tagliatelle // as above
		ErrorMessage string `json:"ErrorMessage,omitempty"` //nolint:tagliatelle // as above
	}
	results := []result{}
	for _, e := range in.Entries {
		size += 14 + len(e.Source) + len(e.DetailType) + len(e.Detail)
		var seen eventtest.Seen
		if err := json.Unmarshal([]byte(e.Detail), &seen); err != nil {
			w.t.Error(err)
		}
		if subjects[seen.Subject] {
			w.t.Errorf("two events of %s are in one call", seen.Subject)
		}
		subjects[seen.Subject] = true
		if e.EventBusName != "bus" || e.Source != "syncplane" || e.DetailType+".v1" != seen.Type {
			w.t.Errorf("got %+v", e)
		}
		call = append(call, seen.ID)
		if w.refuse[seen.ID] > 0 {
			w.refuse[seen.ID]--
			results = append(results, result{ErrorCode: "InternalFailure", ErrorMessage: "try again"})
			continue
		}
		results = append(results, result{EventID: "e"})
		if w.breaks == 0 {
			w.arrived = append(w.arrived, seen.ID)
		}
	}
	tooLarge := len(in.Entries) > 10 || size > 256<<10 // which EventBridge refuses altogether
	if tooLarge {
		w.t.Errorf("a call has %d entries of %d bytes", len(in.Entries), size)
	}
	rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if w.breaks > 0 || tooLarge {
		w.breaks = max(w.breaks-1, 0)
		rw.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(rw, `{"__type":"ValidationException","message":"no"}`)
		return
	}
	w.calls = append(w.calls, call)
	if err := json.NewEncoder(rw).Encode(map[string]any{"FailedEntryCount": 0, "Entries": results}); err != nil {
		w.t.Error(err)
	}
}

// numbered are events of these subjects, one after the other.
func numbered(size int, subjects ...string) []event.Event {
	var all []event.Event
	for i, subject := range subjects {
		data := fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", size))
		all = append(all, event.Event{Kind: event.Updated, ID: fmt.Sprint(i), Subject: subject, Workspace: "acme", Time: time.Now(), Data: []byte(data)})
	}
	return all
}

// TestPublishLargest checks that the largest events that syncs make fit a call:
// of the longest workspace, in a table that an earlier version has written.
func TestPublishLargest(t *testing.T) {
	t.Parallel()
	var all []event.Event
	var want []string
	for _, size := range []int{1 << 10, 60 << 10, 120 << 10, 199 << 10, 238 << 10, 241 << 10, 256 << 10, 380 << 10} {
		s := storetest.Good(t)
		s.Workspace = strings.Repeat(`"`, 128)
		s.CronExpression = "0" + strings.Repeat(",0", size/2) + " 6 * * *"
		s.Configuration = `{"a":"` + strings.Repeat("\\u003c", 10<<10) + `"}`
		s.StreamName, s.CursorField = strings.Repeat("🚀", 255), strings.Repeat("\u0001", 255)
		all = append(all, event.OfChange(nil, &s))
		want = append(want, s.ID+"/1")
	}
	w := &wire{t: t}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	b := eventboot.EventBus(eventboot.Config{
		Config:   boot.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local"},
		EventBus: "bus", APIURL: "https://" + strings.Repeat("a", 1000) + ".example.com", EventBridgeEndpoint: server.URL,
	})
	sent, err := b.Publish(t.Context(), all)
	if sent != len(all) || err != nil {
		t.Errorf("sent %d of %d, %v", sent, len(all), err)
	}
	if diff := cmp.Diff(want, w.arrived); diff != "" {
		t.Error(diff)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	abc := strings.Split("a b c d e f g h i j k l", " ")
	for name, test := range map[string]struct {
		events  []event.Event
		refuse  map[string]int
		breaks  int
		sent    int
		fails   bool
		calls   [][]string
		arrived []string // where the order is another than that of the events
	}{
		"nothing":                        {nil, nil, 0, 0, false, nil, nil},
		"ten at once":                    {numbered(1, abc...), nil, 0, 12, false, [][]string{{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, {"10", "11"}}, nil},
		"one sync, one after the other":  {numbered(1, "a", "b", "a", "c", "a"), nil, 0, 5, false, [][]string{{"0", "1"}, {"2", "3"}, {"4"}}, nil},
		"no more than 256 KB":            {numbered(100<<10, "a", "b", "c", "d", "e"), nil, 0, 5, false, [][]string{{"0", "1"}, {"2", "3"}, {"4"}}, nil},
		"one is refused, and goes alone": {numbered(1, "a", "b", "c"), map[string]int{"1": 2}, 0, 3, false, [][]string{{"0", "1", "2"}, {"1"}, {"1"}}, []string{"0", "2", "1"}},
		"two are refused":                {numbered(1, "a", "b", "c"), map[string]int{"0": 1, "2": 1}, 0, 3, false, [][]string{{"0", "1", "2"}, {"0"}, {"2"}}, []string{"1", "0", "2"}},
		"one is refused for good":        {numbered(1, "a", "b", "c", "b"), map[string]int{"1": 99}, 0, 1, true, [][]string{{"0", "1", "2"}, {"1"}, {"1"}, {"1"}}, []string{"0", "2"}},
		"the call fails":                 {numbered(1, abc...), nil, 1, 0, true, nil, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{t: t, refuse: test.refuse, breaks: test.breaks}
			server := httptest.NewServer(w)
			t.Cleanup(server.Close)
			b := eventboot.EventBus(eventboot.Config{
				Config:   boot.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local"},
				EventBus: "bus", APIURL: "https://api.example.com", EventBridgeEndpoint: server.URL,
			})
			sent, err := b.Publish(t.Context(), test.events)
			if sent != test.sent || (err != nil) != test.fails {
				t.Errorf("sent %d, %v", sent, err)
			}
			if diff := cmp.Diff(test.calls, w.calls); diff != "" {
				t.Error(diff)
			}
			want := test.arrived
			if want == nil {
				for _, e := range test.events {
					want = append(want, e.ID)
				}
			}
			if diff := cmp.Diff(strings.Join(want, " "), strings.Join(w.arrived, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
