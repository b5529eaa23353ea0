package eventbus_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/testkit/awsfake"
)

// bridge is EventBridge. It refuses an entry as often as the test says, by the
// ID of its event.
type bridge struct {
	awsfake.Server
	refuse map[string]int
	breaks int // calls that fail altogether
}

func newBridge(refuse map[string]int, breaks int) *bridge {
	b := &bridge{refuse: refuse, breaks: breaks}
	b.Refuse = func(awsfake.Call) *awsfake.Error {
		if b.breaks == 0 {
			return nil
		}
		b.breaks--
		return &awsfake.Error{Code: "ValidationException"}
	}
	b.RefuseEntry = func(e awsfake.Entry) string {
		id := parse(e).ID
		if b.refuse[id] == 0 {
			return ""
		}
		b.refuse[id]--
		return "InternalFailure"
	}
	return b
}

func parse(e awsfake.Entry) (seen eventtest.Seen) {
	_ = json.Unmarshal([]byte(e.Detail), &seen) // no event has no ID
	return seen
}

// taken returns the IDs in each call that was not refused, and checks what the
// calls promise.
func (b *bridge) taken(t *testing.T) [][]string {
	t.Helper()
	var calls [][]string
	for _, c := range b.Calls() {
		subjects := map[string]bool{}
		var ids []string
		for _, e := range c.Entries {
			seen := parse(e)
			if subjects[seen.Subject] {
				t.Errorf("two events of %s are in one call", seen.Subject)
			}
			subjects[seen.Subject] = true
			if e.EventBusName != "bus" || e.Source != "syncplane" || e.DetailType+".v1" != seen.Type || e.Time == 0 {
				t.Errorf("got %+v", e)
			}
			ids = append(ids, seen.ID)
		}
		calls = append(calls, ids)
	}
	return calls
}

// arrived returns the IDs of the events that are on the bus.
func (b *bridge) arrived() []string {
	var ids []string
	for _, e := range b.Entries() {
		ids = append(ids, parse(e).ID)
	}
	return ids
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
		s := storagetest.NewSync(t)
		s.Workspace = strings.Repeat(`"`, 128)
		s.CronExpression = "0" + strings.Repeat(",0", size/2) + " 6 * * *"
		s.Configuration = `{"a":"` + strings.Repeat("\\u003c", 10<<10) + `"}`
		s.StreamName, s.CursorField = strings.Repeat("🚀", 255), strings.Repeat("\u0001", 255)
		all = append(all, event.OfChange(nil, &s))
		want = append(want, s.ID+"/1")
	}
	w := newBridge(nil, 0)
	b := eventfunc.EventBus(eventfunc.Config{
		Config:   app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local"},
		EventBus: "bus", APIURL: "https://" + strings.Repeat("a", 1000) + ".example.com", EventBridgeEndpoint: w.Start(t),
	})
	sent, err := b.Publish(t.Context(), all)
	if sent != len(all) || err != nil {
		t.Errorf("sent %d of %d, %v", sent, len(all), err)
	}
	if diff := cmp.Diff(want, w.arrived()); diff != "" {
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
		"the call fails":                 {numbered(1, abc...), nil, 1, 0, true, [][]string{{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newBridge(test.refuse, test.breaks)
			b := eventfunc.EventBus(eventfunc.Config{
				Config:   app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local"},
				EventBus: "bus", APIURL: "https://api.example.com", EventBridgeEndpoint: w.Start(t),
			})
			sent, err := b.Publish(t.Context(), test.events)
			if sent != test.sent || (err != nil) != test.fails {
				t.Errorf("sent %d, %v", sent, err)
			}
			if diff := cmp.Diff(test.calls, w.taken(t)); diff != "" {
				t.Error(diff)
			}
			want := test.arrived
			if want == nil {
				for _, e := range test.events {
					want = append(want, e.ID)
				}
			}
			if diff := cmp.Diff(strings.Join(want, " "), strings.Join(w.arrived(), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
