package eventbus_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/testkit/awsfake"
)

// fakeEventBridge is an EventBridge that refuses entries and calls.
type fakeEventBridge struct {
	awsfake.Server
	refuse map[string]int // how often to refuse an entry, by the ID of its event
	breaks int            // how many calls to refuse altogether
	wrong  string         // the ID of an event that makes its call invalid
}

func newEventBridge(refuse map[string]int, breaks int) *fakeEventBridge {
	b := &fakeEventBridge{refuse: refuse, breaks: breaks}
	b.Refuse = func(c awsfake.Call) *awsfake.Error {
		if slices.ContainsFunc(c.Entries, func(e awsfake.Entry) bool { return b.wrong != "" && parse(e).ID == b.wrong }) {
			return &awsfake.Error{Code: "ValidationException"}
		}
		if b.breaks == 0 {
			return nil
		}
		b.breaks--
		return &awsfake.Error{Code: "AccessDeniedException"}
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

func parse(e awsfake.Entry) eventtest.Event {
	seen, _ := eventtest.Decode([]byte(e.Detail)) // an invalid event has the ID ""
	return seen
}

// calls returns the IDs in each call that was not refused. It checks that no call
// holds two events of one sync, and the attributes of each entry.
func (b *fakeEventBridge) calls(t *testing.T) [][]string {
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

// published returns the IDs of the events that are on the bus.
func (b *fakeEventBridge) published() []string {
	var ids []string
	for _, e := range b.Entries() {
		ids = append(ids, parse(e).ID)
	}
	return ids
}

// numbered returns an event for each of these subjects. Their IDs count from 0.
func numbered(size int, subjects ...string) []event.Event {
	var all []event.Event
	for i, subject := range subjects {
		data := fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", size))
		all = append(all, event.Event{Kind: event.Updated, ID: fmt.Sprint(i), Subject: subject, Workspace: "acme", Time: time.Now(), Data: []byte(data)})
	}
	return all
}

// TestPublishLargest checks that the largest possible events fit in a call: those
// of syncs in the longest workspace that an earlier version has written.
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
	w := newEventBridge(nil, 0)
	p := newPublisher("https://"+strings.Repeat("a", 1000)+".example.com", w.Start(t))
	n, err := p.Publish(t.Context(), all)
	if n != len(all) || err != nil {
		t.Errorf("published %d of %d, %v", n, len(all), err)
	}
	if diff := cmp.Diff(want, w.published()); diff != "" {
		t.Error(diff)
	}
}

func newPublisher(origin, endpoint string) *eventbus.Publisher {
	return eventfunc.Publisher(eventfunc.Common{
		Config: app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local"}, APIURL: origin,
	}, eventfunc.PublisherConfig{EventBus: "bus", EventBridgeEndpoint: endpoint})
}

// TestPublishInvalid checks that an event that makes a call invalid is the one that is
// named, and that those before it are put.
func TestPublishInvalid(t *testing.T) {
	t.Parallel()
	w := newEventBridge(nil, 0)
	w.wrong = "2"
	n, err := newPublisher("https://api.example.com", w.Start(t)).Publish(t.Context(), numbered(1, "a", "b", "c", "d"))
	if n != 2 || err == nil {
		t.Errorf("published %d, %v", n, err)
	}
	if diff := cmp.Diff([]string{"0", "1"}, w.published()); diff != "" {
		t.Error(diff)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	abc := strings.Split("a b c d e f g h i j k l", " ")
	for name, test := range map[string]struct {
		events    []event.Event
		refuse    map[string]int
		breaks    int
		n         int
		fails     bool
		calls     [][]string
		published []string // nil for the order of events
	}{
		"nothing":                       {nil, nil, 0, 0, false, nil, nil},
		"ten at once":                   {numbered(1, abc...), nil, 0, 12, false, [][]string{{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, {"10", "11"}}, nil},
		"one sync, one after the other": {numbered(1, "a", "b", "a", "c", "a"), nil, 0, 5, false, [][]string{{"0", "1"}, {"2", "3"}, {"4"}}, nil},
		"no more than 256 KB":           {numbered(100<<10, "a", "b", "c", "d", "e"), nil, 0, 5, false, [][]string{{"0", "1"}, {"2", "3"}, {"4"}}, nil},
		"one is refused and put alone":  {numbered(1, "a", "b", "c"), map[string]int{"1": 2}, 0, 3, false, [][]string{{"0", "1", "2"}, {"1"}, {"1"}}, []string{"0", "2", "1"}},
		"two are refused":               {numbered(1, "a", "b", "c"), map[string]int{"0": 1, "2": 1}, 0, 3, false, [][]string{{"0", "1", "2"}, {"0"}, {"2"}}, []string{"1", "0", "2"}},
		"one is always refused":         {numbered(1, "a", "b", "c", "b"), map[string]int{"1": 99}, 0, 1, true, [][]string{{"0", "1", "2"}, {"1"}, {"1"}, {"1"}}, []string{"0", "2"}},
		"the call fails":                {numbered(1, abc...), nil, 1, 0, true, [][]string{{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}}, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEventBridge(test.refuse, test.breaks)
			n, err := newPublisher("https://api.example.com", w.Start(t)).Publish(t.Context(), test.events)
			if n != test.n || (err != nil) != test.fails {
				t.Errorf("published %d, %v", n, err)
			}
			if diff := cmp.Diff(test.calls, w.calls(t)); diff != "" {
				t.Error(diff)
			}
			want := test.published
			if want == nil {
				for _, e := range test.events {
					want = append(want, e.ID)
				}
			}
			if diff := cmp.Diff(strings.Join(want, " "), strings.Join(w.published(), " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
