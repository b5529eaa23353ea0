package bolt_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/fault"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// publishedEvents returns all events, each as "number kind id".
func publishedEvents(t *testing.T, store *bolt.Store) []string {
	t.Helper()
	entries, err := store.Events(0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	list := []string{}
	for _, e := range entries {
		eventtest.Check(t, e.Append(nil, "http://127.0.0.1:8080"))
		list = append(list, fmt.Sprintf("%d %s %s", e.Sequence, e.Kind, e.ID))
	}
	return list
}

// TestFeed checks that each change makes one event, in the order of the changes,
// and what is refused makes none; over a restart too.
func TestFeed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "syncs.db")
	store := open(t, path)
	ctx := t.Context()
	s := storagetest.NewSync(t)
	other := storagetest.NewSync(t)
	key := syncs.IdempotencyKey{Key: "k", Fingerprint: "f", Now: time.Now(), Expires: time.Now().Add(time.Hour)}
	changed := s
	changed.Version, changed.StreamName = 2, "companies"
	want := func(what string, err error, kind fault.Kind) {
		t.Helper()
		if (err == nil) != (kind == fault.Internal) || err != nil && !fault.Is(err, kind) {
			t.Fatalf("%s: got %v", what, err)
		}
	}
	const ok = fault.Internal
	want("create", store.Create(ctx, s), ok)
	want("create again", store.Create(ctx, s), fault.Conflict)
	_, err := store.CreateOnce(ctx, other, key)
	want("create once", err, ok)
	_, err = store.CreateOnce(ctx, storagetest.NewSync(t), syncs.IdempotencyKey{Key: "k", Fingerprint: "f", Now: key.Now, Expires: key.Expires})
	want("create of another workspace", err, ok)
	_, err = store.CreateOnce(ctx, other, key)
	want("create once again", err, ok)
	want("replace", store.Replace(ctx, changed), ok)
	want("replace again", store.Replace(ctx, changed), fault.Conflict)
	want("delete an old version", store.Delete(ctx, s), fault.Conflict)
	changed.UpdatedAt = changed.UpdatedAt.Add(time.Hour)
	want("delete", store.Delete(ctx, changed), ok)
	want("delete again", store.Delete(ctx, changed), fault.NotFound)

	list := publishedEvents(t, store)
	expected := []string{
		"1 sync.created " + s.ID + "/1", "2 sync.created " + other.ID + "/1", list[2],
		"4 sync.updated " + s.ID + "/2", "5 sync.deleted " + s.ID + "/2/deleted",
	}
	if diff := cmp.Diff(expected, list); diff != "" {
		t.Error(diff)
	}
	entries, err := store.Events(3, 1)
	if err != nil || len(entries) != 1 || entries[0].Sequence != 4 || entries[0].Workspace != s.Workspace || entries[0].Subject != s.ID {
		t.Errorf("got %+v, %v", entries, err)
	}

	if entries, err = store.Events(4, 1); err != nil || len(entries) != 1 || !entries[0].Time.Equal(changed.UpdatedAt) {
		t.Errorf("got %+v, %v; it was deleted at %v", entries, err, changed.UpdatedAt)
	}

	closeStore(t, store)
	store = open(t, path)
	defer closeStore(t, store)
	if diff := cmp.Diff(expected, publishedEvents(t, store)); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}
	head, appended := store.Head()
	if head != 5 {
		t.Errorf("the last event is %d", head)
	}
	want("create", store.Create(ctx, s), ok)
	<-appended
	if newest, err := store.LastSequence(); err != nil || newest != 6 {
		t.Errorf("got %d, %v", newest, err)
	}
	if head, _ = store.Head(); head != 6 {
		t.Errorf("the last event is %d", head)
	}
}

// TestFeedUnderLoad checks that the feed has each change of many writers once,
// without a gap.
func TestFeedUnderLoad(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	const writers, each = 16, 50
	want := map[string]int{}
	var mu sync.Mutex
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range each {
				s := storagetest.NewSync(t)
				if err := store.Create(t.Context(), s); err != nil {
					t.Error(err)
				}
				mu.Lock()
				want[s.ID+"/1"]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	entries, err := store.Events(0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for i, e := range entries {
		got[e.ID]++
		if e.Sequence != uint64(i)+1 {
			t.Fatalf("event %d has the number %d", i+1, e.Sequence)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// due returns n events.
func due(n int) []event.Event {
	s := syncs.Sync{ID: "019ab0c4-7d3b-7c51-9d3e-2f6a1b0c4d5e", Workspace: "acme"}
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.OfRun(&s, time.Unix(int64(i)*60, 0), false)
	}
	return events
}

// TestCheckpoint checks that events and the checkpoint are stored in one commit, which
// is there after a restart.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "syncs.db")
	store := open(t, path)
	if _, known, err := store.Checkpoint("clock"); known || err != nil {
		t.Errorf("got %v, %v", known, err)
	}
	if err := store.Publish(t.Context(), due(3), "clock", 7); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = store.Publish(ended, due(1), "clock", 8) // it is refused
	closeStore(t, store)
	store = open(t, path)
	defer closeStore(t, store)
	checkpoint, known, err := store.Checkpoint("clock")
	if err != nil || !known || checkpoint != 7 || len(publishedEvents(t, store)) != 3 {
		t.Errorf("got %d %v %v, and %v", checkpoint, known, err, publishedEvents(t, store))
	}
	for _, name := range []string{"clock", "new", "new"} { // the second time there are newer events
		want := map[string]uint64{"clock": 7, "new": 3}[name]
		if got, err := store.StartCheckpoint(t.Context(), name); err != nil || got != want {
			t.Errorf("%s starts at %d, %v, want %d", name, got, err, want)
		}
		if name == "new" {
			if err := store.Publish(t.Context(), due(1), "clock", 8); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestEventTexts checks that an event is read as it was published, whatever its texts are,
// and that rows in another form than ours are read too.
func TestEventTexts(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	at := time.Date(2026, time.November, 24, 12, 0, 0, 123_456_789, time.UTC)
	var want []event.Event
	for i, text := range []string{
		"", "a", `"`, `\`, `""`, `\\`, `\"`, `"\`, `\\"`, `{"a":"b","c":{}}`, `{"a":"\"\\\u0041"}`, `a"`, `"a`, `a\`, `\a`, `","data":"`, `"}`, "<&>", "\n\t\x00\x1f\x7f", "ключ 日本語 🚀",
		"\u2028\u2029", strings.Repeat(`{"mapping":[`, 20), strings.Repeat(`\`, 99), strings.Repeat("x", 999) + `"`,
	} {
		for j := range 5 { // the text is in each member
			texts := [5]string{"kind", "id", "subject", "workspace", `{"a":"b"}`}
			texts[j] = text
			want = append(want, event.Event{
				Kind: event.Kind(texts[0]), ID: texts[1], Subject: texts[2], Workspace: texts[3], Data: []byte(texts[4]),
				Time: at.Add(time.Duration(i) * time.Millisecond).Truncate(time.Duration(max(1, j)) * time.Microsecond),
			})
		}
	}
	if err := store.Publish(t.Context(), want, "clock", 1); err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		`{"id":"i","kind":"k","subject":"s","workspace":"w","time":"2026-11-24T12:00:00Z","data":"{}"}`,
		` { "kind" : "k", "id" : "i", "subject" : "s", "workspace" : "w", "time" : "2026-11-24T12:00:00Z", "data" : "{}" } `,
		`{"kind":"k","id":"i","subject":"s","workspace":"w","time":"2026-11-24T12:00:00Z","data":"{}","later":[1]}`,
		`{"kind":"\u006b","id":"i","subject":"s","workspace":"\u0077","time":"2026-11-24T13:00:00+01:00","data":"\u007b}"}`,
	} {
		want = append(want, event.Event{Kind: "k", ID: "i", Subject: "s", Workspace: "w", Time: at.Truncate(time.Second), Data: []byte("{}")})
		if err := store.SpoilEvent(uint64(len(want)), row); err != nil {
			t.Fatal(err)
		}
	}
	unreadable := []string{
		"", "{", `{"kind":"k"`, `{"kind":"k","id":"i","subject":"s","workspace":"w","time":"yesterday","data":"{}"}`,
		`{"kind":"k","id":"i","subject":"s","workspace":"w","time":"2026-11-24T12:00:00Z","data":"{}`,
		`{"kind":"k","id":"i","subject":"s","workspace":"w","time":"2026-11-24T12:00:00Z","data":"{}\`,
		`{"kind":"k","id":"i","subject":"s","workspace":"w","time":"2026-11-24T12:00:00Z","data":"{}\"`,
		`{"kind":"k","id":"i","subject":"s","workspace":"w","time":"2026-11-24T12:00:00Z","data":"{}"}}`,
		`{"kind":"k","id":"i","subject":"s","workspace":"w","time":"2026-11-24T12:00:00Z","data":"{}"`,
	}
	for i, row := range unreadable {
		if err := store.SpoilEvent(uint64(len(want)+1+i), row); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := store.Events(0, len(want)+len(unreadable))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(want) {
		t.Fatalf("got %d events, want %d", len(entries), len(want))
	}
	for i, e := range entries {
		if fmt.Sprintf("%q", e.Event) != fmt.Sprintf("%q", want[i]) {
			t.Errorf("event %d: %s", i+1, cmp.Diff(want[i], e.Event))
		}
	}
}

// TestOldEventsRemoved checks that the feed has a bound, but keeps what its reader
// has yet to read.
func TestOldEventsRemoved(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	defer closeStore(t, store)
	oldest := func() uint64 {
		t.Helper()
		entries, err := store.Events(0, 1)
		if err != nil || len(entries) == 0 {
			t.Fatalf("%v, %d events", err, len(entries))
		}
		return entries[0].Sequence
	}
	publish := func(events []event.Event, name string, checkpoint uint64) {
		t.Helper()
		if err := store.Publish(t.Context(), events, name, checkpoint); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.AddPending(t.Context(), []bolt.Pending{{Sequence: 30, OrderingKey: "b"}, {Sequence: 20, Since: time.Unix(1, 0), OrderingKey: "a"}}, 40); err != nil {
		t.Fatal(err)
	}
	publish(due(3_010), "clock", 0)
	if err := store.SkipSequence(103_000 - 3_020); err != nil {
		t.Fatal(err)
	}
	publish(due(10), "clock", 0)
	waiting, err := store.Pending()
	if diff := cmp.Diff([]bolt.Pending{{Sequence: 20, Since: time.Unix(1, 0), OrderingKey: "a"}, {Sequence: 30, Since: time.Time{}, OrderingKey: "b"}}, waiting); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	for _, want := range []uint64{20, 30, 41} {
		if got := oldest(); got != want {
			t.Errorf("the oldest event is %d, and the reader wants %d", got, want)
		}
		if err := store.RemovePending(t.Context(), want); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.AddPending(t.Context(), []bolt.Pending{{Sequence: 50}}, 103_000); err != nil {
		t.Fatal(err)
	}
	if got := oldest(); got != 50 {
		t.Errorf("the oldest event is %d, and the reader wants 50", got)
	}
	if err := store.ResetDelivery(t.Context()); err != nil {
		t.Fatal(err)
	}
	if waiting, err := store.Pending(); err != nil || len(waiting) != 0 {
		t.Errorf("there wait %v, %v", waiting, err)
	}
	for range 20 { // each commit takes some away
		publish(nil, "clock", 0)
	}
	if got := oldest(); got != 3_001 {
		t.Errorf("the oldest event is %d, want 3,001", got)
	}
	if entries, err := store.Events(5, 2); err != nil || len(entries) != 2 || entries[0].Sequence != 3_001 {
		t.Errorf("of old events come %v, %v", entries, err)
	}
}
