package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// NewSync returns a sync with every field set, with a new ID in a new workspace.
func NewSync(tb testing.TB) syncs.Sync {
	tb.Helper()
	at := time.Date(2026, time.November, 23, 20, 6, 0, 123e6, time.UTC)
	return syncs.Sync{
		Workspace:        "acme-" + newID(tb),
		ID:               newID(tb),
		Version:          1,
		SourceID:         1,
		DestinationID:    2,
		ModelID:          syncs.MaxID,
		Configuration:    `{"mapping":[{"from":"email","to":"Email"}]}`,
		ScheduleType:     syncs.ScheduleAutomated,
		SyncMode:         syncs.ModeFullRefresh,
		SyncInterval:     30,
		SyncIntervalUnit: syncs.UnitMinutes,
		CronExpression:   "0 6 * * 1-5",
		CursorField:      "updated_at",
		StreamName:       "contacts",
		Status:           syncs.Pending,
		CreatedAt:        at,
		UpdatedAt:        at.Add(time.Hour),
		ScheduledAt:      at.Add(time.Minute),
	}
}

func newID(tb testing.TB) string {
	tb.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return id.String()
}

// RunSyncs tests the promises of syncs.Store.
func RunSyncs(t *testing.T, open func(t *testing.T) syncs.Store) {
	t.Helper()
	runAll(t, open, []test[syncs.Store]{
		{"a sync is read as it was created", testRead},
		{"the largest sync can be created, repeated and replaced", testLargest},
		{"a second sync with the same ID is a conflict and changes nothing", testDuplicateID},
		{"a workspace does not see the syncs of another", testWorkspaces},
		{"an unknown ID is not found", testUnknownID},
		{"one of many concurrent creates with the same ID succeeds", testConcurrentCreates},
		{"a list has the syncs of one workspace, newest first", testList},
		{"the list of an empty workspace is empty", testEmptyList},
		{"a list continues after a sync that was deleted", testListAfterDeleted},
		{"large configurations are listed in full", testListLarge},
		{"a search returns what matches, in the order of a list", testSearch},
		{"a sync is replaced only by its next version", testReplace},
		{"one of many concurrent replacements of a version succeeds", testConcurrentReplacements},
		{"a sync is deleted only in its stored version", testDelete},
		{"an idempotency key creates one sync", testCreateOnce},
		{"an idempotency key belongs to one request", testKeyReused},
		{"workspaces have separate idempotency keys", testKeyWorkspaces},
		{"an expired idempotency key can be used again", testKeyExpiry},
		{"the sync that an idempotency key created can be read", testCreated},
		{"a failed create does not use up its idempotency key", testKeyAfterFailure},
		{"of many concurrent creates with one key one writes and all return its sync", testConcurrentKey},
		{"concurrent changes are all applied", testConcurrentChanges},
		{"an idempotency key that cannot be stored creates nothing", testKeyTooLong},
		{"a cancelled context is Unavailable", testCancelled},
	})
}

func testRead(t *testing.T, store syncs.Store) {
	for name, edit := range map[string]func(s *syncs.Sync){
		"every field":             func(*syncs.Sync) {},
		"no optional field":       func(s *syncs.Sync) { s.CronExpression, s.CursorField = "", "" },
		"an empty configuration":  func(s *syncs.Sync) { s.Configuration = "{}" },
		"white space":             func(s *syncs.Sync) { s.Configuration = "{ \"a\" :\n\t1 }" },
		"the spelling of numbers": func(s *syncs.Sync) { s.Configuration = `{"a":1.0,"b":1e400,"c":12345678901234567890,"d":-0,"e":1E-7}` },
		"the order of members":    func(s *syncs.Sync) { s.Configuration = `{"z":1,"a":2,"m":{"y":3,"b":4}}` },
		"unicode": func(s *syncs.Sync) {
			s.Configuration = "{\"ключ\":\"日本語 🚀\",\"esc\":\"\\u00e9\\ud83d\\ude80\\u0000\\u2028<&>\"}"
		},
		"deep nesting":          func(s *syncs.Sync) { s.Configuration = strings.Repeat(`{"a":`, 63) + "{}" + strings.Repeat("}", 63) },
		"a large configuration": func(s *syncs.Sync) { s.Configuration = `{"a":"` + strings.Repeat("x", 250<<10) + `"}` },
		"unicode names":         func(s *syncs.Sync) { s.StreamName, s.CursorField = "kontakte ü", "geändert_am" },
	} {
		t.Run(name, func(t *testing.T) {
			want := NewSync(t)
			edit(&want)
			create(t, store, want)
			if diff := cmp.Diff(want, read(t, store, want)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func testLargest(t *testing.T, store syncs.Store) {
	for name, edit := range map[string]func(s *syncs.Sync, room int){
		"a large configuration":   func(s *syncs.Sync, room int) { s.Configuration += strings.Repeat(" ", room) },
		"a large cron expression": func(s *syncs.Sync, room int) { s.CronExpression += strings.Repeat(" ", room) },
		"both": func(s *syncs.Sync, room int) {
			s.Configuration += strings.Repeat("\u0416", 100<<10)
			s.CronExpression += strings.Repeat(" ", room-200<<10)
		},
	} {
		s := NewSync(t)
		s.Workspace += strings.Repeat("w", 128-len(s.Workspace))
		s.Version = math.MaxInt64 - 1
		s.SourceID, s.DestinationID, s.SyncInterval = syncs.MaxID, syncs.MaxID, syncs.MaxInterval
		s.StreamName, s.CursorField = strings.Repeat("🚀", syncs.MaxText), strings.Repeat("\u0416", syncs.MaxText)
		s.Status = syncs.Disabled
		edit(&s, syncs.MaxSize-s.Size())
		if s.Size() != syncs.MaxSize {
			t.Fatalf("%s: it has %d bytes", name, s.Size())
		}
		create(t, store, s)
		next := s
		next.Version++
		if err := store.Replace(t.Context(), next); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(next, read(t, store, s)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		s.ID = newID(t)
		key := NewIdempotencyKey(strings.Repeat("k", 254) + s.ID[35:])
		key.Fingerprint = strings.Repeat("f", 64)
		for range 2 {
			if first, err := store.CreateOnce(t.Context(), s, key); err != nil || first != s {
				t.Fatalf("%s: got %s, %v", name, first.ID, err)
			}
		}
		if err := store.Delete(t.Context(), next); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testDuplicateID(t *testing.T, store syncs.Store) {
	first := NewSync(t)
	create(t, store, first)
	second := first
	second.StreamName = "companies"
	wantKind(t, store.Create(t.Context(), second), fault.Conflict)
	if diff := cmp.Diff(first, read(t, store, first)); diff != "" {
		t.Error(diff)
	}
}

func testWorkspaces(t *testing.T, store syncs.Store) {
	ours := NewSync(t)
	create(t, store, ours)
	theirs := ours
	theirs.Workspace = ours.Workspace + "2"
	_, err := store.Read(t.Context(), theirs.Workspace, ours.ID)
	wantKind(t, err, fault.NotFound)

	theirs.StreamName = "companies"
	create(t, store, theirs) // the same ID elsewhere is another sync
	if diff := cmp.Diff(ours, read(t, store, ours)); diff != "" {
		t.Error(diff)
	}
}

func testUnknownID(t *testing.T, store syncs.Store) {
	_, err := store.Read(t.Context(), "acme", newID(t))
	wantKind(t, err, fault.NotFound)
}

func testConcurrentCreates(t *testing.T, store syncs.Store) {
	good := NewSync(t)
	won := race(t, 16, func(i int) error {
		mine := good
		mine.StreamName = fmt.Sprintf("stream %d", i)
		return store.Create(context.WithoutCancel(t.Context()), mine)
	})
	if got := read(t, store, good).StreamName; got != fmt.Sprintf("stream %d", won) {
		t.Errorf("the stored sync is %q, the acknowledged one is %d", got, won)
	}
}

func testList(t *testing.T, store syncs.Store) {
	first := NewSync(t)
	want := []string{first.ID}
	create(t, store, first)
	for range 6 {
		s := NewSync(t)
		other := s
		s.Workspace = first.Workspace
		other.Workspace = first.Workspace + "2"
		create(t, store, s)
		create(t, store, other)
		want = append(want, s.ID)
	}
	createOnce(t, store, first.Workspace, "a key is not a sync")
	slices.Reverse(want)
	for _, limit := range []int{1, 2, 3, 7, 8, 100} {
		var got []string
		for _, s := range listAll(t, store, first.Workspace, limit) {
			if s.StreamName != streamOfKey {
				got = append(got, s.ID)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
}

func testEmptyList(t *testing.T, store syncs.Store) {
	list, more, err := store.List(t.Context(), NewSync(t).Workspace, "", 10)
	if len(list) != 0 || more || err != nil {
		t.Errorf("got %v, %t, %v", list, more, err)
	}
}

func testListAfterDeleted(t *testing.T, store syncs.Store) {
	old := NewSync(t)
	create(t, store, old)
	gone := NewSync(t)
	list, _, err := store.List(t.Context(), old.Workspace, gone.ID, 10)
	if err != nil || len(list) != 1 || list[0].ID != old.ID {
		t.Errorf("got %v, %v", list, err)
	}
}

func testListLarge(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	s.Configuration = `{"a":"` + strings.Repeat("x", 200<<10) + `"}`
	want := 0
	for ; want < 6; want++ { // more than the megabyte of a page of DynamoDB
		s.ID = newID(t)
		create(t, store, s)
	}
	if got := len(listAll(t, store, s.Workspace, 100)); got != want {
		t.Errorf("listed %d of %d", got, want)
	}
}

func testSearch(t *testing.T, store syncs.Store) {
	first := NewSync(t)
	var all []syncs.Sync
	for i := range 24 {
		s := NewSync(t)
		s.Workspace = first.Workspace
		s.SourceID, s.DestinationID, s.ModelID = int64(1+i%2), int64(1+i%3), int64(1+i%4)
		// A text that looks like what a filter selects.
		s.Configuration = `{"source_id":2,"model_id":4,"status":"disabled","a":"` + strings.Repeat("é,", i*20) + `"}`
		if i%5 == 0 {
			s.Status = syncs.Disabled
		}
		create(t, store, s)
		all = append(all, s)
	}
	other := NewSync(t)
	other.Workspace = first.Workspace + "2"
	create(t, store, other)
	slices.Reverse(all)
	for _, filter := range []syncs.Filter{
		{},
		{Status: syncs.Disabled},
		{Status: syncs.Failed},
		{SourceID: 2},
		{DestinationID: 3},
		{ModelID: 4},
		{Status: syncs.Pending, SourceID: 1, DestinationID: 2, ModelID: 3},
	} {
		var want []syncs.Sync
		for _, s := range all {
			if filter.Matches(s) {
				want = append(want, s)
			}
		}
		for _, read := range []int{1, 2, 5, 24, 25, 10_000} {
			var got []syncs.Sync
			calls, after := 0, ""
			for more := true; more; {
				found, err := store.Search(t.Context(), first.Workspace, syncs.Search{Filter: filter, After: after, Read: read})
				if err != nil {
					t.Fatal(err)
				}
				if calls++; len(found.Syncs) > read || found.More && (found.Last == "" || found.Last == after) || calls > len(all)+1 {
					t.Fatalf("call %d, which reads %d, got %d syncs, last %q, more %t", calls, read, len(found.Syncs), found.Last, found.More)
				}
				got, after, more = append(got, found.Syncs...), found.Last, found.More
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("filter %+v, read %d: %s", filter, read, diff)
			}
		}
	}
}

func testReplace(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	create(t, store, s)
	next := s
	next.Version, next.StreamName, next.CronExpression, next.Status = 2, "companies", "", syncs.Disabled
	skipped := s
	skipped.Version = 3
	wantKind(t, store.Replace(t.Context(), skipped), fault.Conflict)
	stale := s
	stale.StreamName = "stale"
	wantKind(t, store.Replace(t.Context(), stale), fault.Conflict)
	if err := store.Replace(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(next, read(t, store, s)); diff != "" {
		t.Error(diff)
	}
	other := next
	other.Version, other.ID = 2, newID(t)
	wantKind(t, store.Replace(t.Context(), other), fault.NotFound)
	if _, err := store.Read(t.Context(), s.Workspace, other.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown sync was created: %v", err)
	}
}

func testConcurrentReplacements(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	create(t, store, s)
	won := race(t, 16, func(i int) error {
		mine := s
		mine.Version, mine.StreamName = 2, fmt.Sprintf("stream %d", i)
		return store.Replace(context.WithoutCancel(t.Context()), mine)
	})
	if got := read(t, store, s).StreamName; got != fmt.Sprintf("stream %d", won) {
		t.Errorf("the stored sync is %q, the acknowledged one is %d", got, won)
	}
}

func testDelete(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	create(t, store, s)
	stale := s
	stale.Version = 2
	wantKind(t, store.Delete(t.Context(), stale), fault.Conflict)
	read(t, store, s)
	if err := store.Delete(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	_, err := store.Read(t.Context(), s.Workspace, s.ID)
	wantKind(t, err, fault.NotFound)
	wantKind(t, store.Delete(t.Context(), s), fault.NotFound)
}

func testCreateOnce(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	key := NewIdempotencyKey("k")
	if first, err := store.CreateOnce(t.Context(), s, key); err != nil || !cmp.Equal(first, s) {
		t.Fatalf("got %v, %v", first, err)
	}
	again := s
	again.ID = newID(t)
	for range 2 {
		if first, err := store.CreateOnce(t.Context(), again, key); err != nil || !cmp.Equal(first, s) {
			t.Fatalf("got %v, %v", first, err)
		}
	}
	_, err := store.Read(t.Context(), s.Workspace, again.ID)
	wantKind(t, err, fault.NotFound)

	// A later change or deletion of the sync does not change the first answer.
	changed := s
	changed.Version, changed.StreamName = 2, "companies"
	if err := store.Replace(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if first, err := store.CreateOnce(t.Context(), again, key); err != nil || !cmp.Equal(first, s) {
		t.Errorf("got %v, %v", first, err)
	}
	if err := store.Delete(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	if first, err := store.CreateOnce(t.Context(), again, key); err != nil || !cmp.Equal(first, s) {
		t.Errorf("got %v, %v", first, err)
	}
}

func testKeyReused(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	createOnce(t, store, s.Workspace, "k")
	other := NewIdempotencyKey("k")
	other.Fingerprint = "another"
	_, err := store.CreateOnce(t.Context(), s, other)
	wantKind(t, err, fault.Invalid)
	_, err = store.Read(t.Context(), s.Workspace, s.ID)
	wantKind(t, err, fault.NotFound)
}

func testKeyWorkspaces(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	createOnce(t, store, s.Workspace+"2", "k")
	if first, err := store.CreateOnce(t.Context(), s, NewIdempotencyKey("k")); err != nil || first.ID != s.ID {
		t.Errorf("got %v, %v", first, err)
	}
}

func testKeyExpiry(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	first := createOnce(t, store, s.Workspace, "k")
	key := NewIdempotencyKey("k")
	key.Now = key.Expires.Add(-time.Second)
	if got, err := store.CreateOnce(t.Context(), s, key); err != nil || got.ID != first.ID {
		t.Fatalf("a second before it expires: got %v, %v", got, err)
	}
	key.Now, key.Expires, key.Fingerprint = key.Expires, key.Expires.Add(syncs.KeyLife), "another"
	if got, err := store.CreateOnce(t.Context(), s, key); err != nil || got.ID != s.ID {
		t.Fatalf("when it expires: got %v, %v", got, err)
	}
	read(t, store, first)
}

func testCreated(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	key := NewIdempotencyKey("k")
	free := func(workspace string, key syncs.IdempotencyKey) {
		t.Helper()
		if got, ok, err := store.Created(t.Context(), workspace, key); ok || err != nil || got != (syncs.Sync{}) {
			t.Errorf("got %v, %t, %v, want a free key", got, ok, err)
		}
	}
	free(s.Workspace, key)
	if _, err := store.CreateOnce(t.Context(), s, key); err != nil {
		t.Fatal(err)
	}
	changed := s
	changed.Version, changed.StreamName = 2, "companies"
	if err := store.Replace(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	last := key
	last.Now = key.Expires.Add(-time.Second)
	for _, key := range []syncs.IdempotencyKey{key, last} {
		if first, ok, err := store.Created(t.Context(), s.Workspace, key); err != nil || !ok || !cmp.Equal(first, s) {
			t.Errorf("got %v, %t, %v", first, ok, err)
		}
	}
	other := key
	other.Fingerprint = "another"
	_, ok, err := store.Created(t.Context(), s.Workspace, other)
	wantKind(t, err, fault.Invalid)
	if ok {
		t.Error("a key of another request is reported as used for this one")
	}
	free(s.Workspace+"2", key)
	free(s.Workspace, NewIdempotencyKey("k2"))
	key.Now, other.Now = key.Expires, key.Expires
	free(s.Workspace, key)
	free(s.Workspace, other)
}

func testKeyAfterFailure(t *testing.T, store syncs.Store) {
	taken := NewSync(t)
	create(t, store, taken)
	_, err := store.CreateOnce(t.Context(), taken, NewIdempotencyKey("k"))
	wantKind(t, err, fault.Conflict)
	fresh := taken
	fresh.ID = newID(t)
	if got, err := store.CreateOnce(t.Context(), fresh, NewIdempotencyKey("k")); err != nil || got.ID != fresh.ID {
		t.Errorf("got %v, %v", got, err)
	}
}

func testConcurrentKey(t *testing.T, store syncs.Store) {
	const callers = 16
	s := NewSync(t)
	results := make([]syncs.Sync, callers)
	var all sync.WaitGroup
	for i := range callers {
		mine := s
		mine.ID = newID(t)
		all.Go(func() {
			got, err := store.CreateOnce(context.WithoutCancel(t.Context()), mine, NewIdempotencyKey("k"))
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
			results[i] = got
		})
	}
	all.Wait()
	for _, got := range results {
		if got.ID != results[0].ID {
			t.Errorf("got %s and %s", got.ID, results[0].ID)
		}
	}
	list, _, err := store.List(t.Context(), s.Workspace, "", callers)
	if err != nil || len(list) != 1 {
		t.Errorf("there are %d syncs, %v", len(list), err)
	}
}

func testConcurrentChanges(t *testing.T, store syncs.Store) {
	const callers = 32
	s := NewSync(t)
	create(t, store, s)
	who := auth.Caller{Workspace: s.Workspace, Scopes: []string{"syncs:read", "syncs:write"}}
	service := &syncs.Service{Store: store, Now: func() time.Time { return s.UpdatedAt.Add(time.Second) }}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			name := fmt.Sprintf("stream %d", i)
			if _, err := service.Change(ctx, who, s.ID, syncs.Draft{StreamName: &name}, syncs.Precondition{}); err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	all.Wait()
	if got, err := store.Read(t.Context(), s.Workspace, s.ID); err != nil || got.Version != s.Version+callers {
		t.Errorf("got version %d, want %d, %v", got.Version, s.Version+callers, err)
	}
}

func testKeyTooLong(t *testing.T, store syncs.Store) {
	s := NewSync(t)
	if _, err := store.CreateOnce(t.Context(), s, NewIdempotencyKey(strings.Repeat("k", 40_000))); err == nil {
		t.Error("a key of 40,000 bytes was stored")
	}
	_, err := store.Read(t.Context(), s.Workspace, s.ID)
	wantKind(t, err, fault.NotFound)
}

func testCancelled(t *testing.T, store syncs.Store) {
	key, unused := NewIdempotencyKey("used"), NewIdempotencyKey("unused")
	want, created := NewSync(t), NewSync(t)
	if _, err := store.CreateOnce(t.Context(), want, key); err != nil {
		t.Fatal(err)
	}
	created.Workspace = want.Workspace
	next := want
	next.Version++
	WantRefused(t, map[string]func(ctx context.Context) error{
		"Create":     func(ctx context.Context) error { return store.Create(ctx, created) },
		"CreateOnce": func(ctx context.Context) error { _, err := store.CreateOnce(ctx, created, unused); return err },
		"CreateOnce with a key that was used": func(ctx context.Context) error {
			_, err := store.CreateOnce(ctx, created, key)
			return err
		},
		"Created": func(ctx context.Context) error { _, _, err := store.Created(ctx, want.Workspace, key); return err },
		"Read":    func(ctx context.Context) error { _, err := store.Read(ctx, want.Workspace, want.ID); return err },
		"List":    func(ctx context.Context) error { _, _, err := store.List(ctx, want.Workspace, "", 10); return err },
		"Search": func(ctx context.Context) error {
			_, err := store.Search(ctx, want.Workspace, syncs.Search{Read: 10})
			return err
		},
		"Replace": func(ctx context.Context) error { return store.Replace(ctx, next) },
		"Delete":  func(ctx context.Context) error { return store.Delete(ctx, want) },
	})
	if diff := cmp.Diff([]syncs.Sync{want}, listAll(t, store, want.Workspace, 10)); diff != "" {
		t.Error(diff)
	}
	if _, ok, err := store.Created(t.Context(), want.Workspace, unused); ok || err != nil {
		t.Errorf("the key of a refused create is in use: %t, %v", ok, err)
	}
}

// NewIdempotencyKey returns an idempotency key with a fingerprint that expires
// after a day.
func NewIdempotencyKey(key string) syncs.IdempotencyKey {
	now := time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)
	return syncs.IdempotencyKey{Key: key, Fingerprint: "the request", Now: now, Expires: now.Add(syncs.KeyLife)}
}

// streamOfKey is the stream of the syncs that createOnce creates.
const streamOfKey = "with a key"

// createOnce creates a sync with an idempotency key.
func createOnce(t *testing.T, store syncs.Store, workspace, key string) syncs.Sync {
	t.Helper()
	s := NewSync(t)
	s.Workspace, s.StreamName = workspace, streamOfKey
	first, err := store.CreateOnce(t.Context(), s, NewIdempotencyKey(key))
	if err != nil {
		t.Fatal(err)
	}
	return first
}

// race calls act n times concurrently and returns the number of the call that
// succeeded. It fails the test unless all others return a fault.Conflict.
func race(t *testing.T, n int, act func(i int) error) int {
	t.Helper()
	results := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { results[i] = act(i) })
	}
	all.Wait()
	won := -1
	for i, err := range results {
		switch {
		case err != nil:
			wantKind(t, err, fault.Conflict)
		case won >= 0:
			t.Errorf("calls %d and %d both succeeded", i, won)
		default:
			won = i
		}
	}
	return won
}

// listAll returns the syncs of a workspace, read in pages of limit.
func listAll(t *testing.T, store syncs.Store, workspace string, limit int) []syncs.Sync {
	t.Helper()
	var all []syncs.Sync
	after := ""
	for more := true; more; {
		var page []syncs.Sync
		var err error
		if page, more, err = store.List(t.Context(), workspace, after, limit); err != nil {
			t.Fatalf("limit %d: %v", limit, err)
		}
		if len(page) > limit || len(page) == 0 && more {
			t.Fatalf("limit %d: got %d syncs, more %t", limit, len(page), more)
		}
		all = append(all, page...)
		if len(page) > 0 {
			after = page[len(page)-1].ID
		}
	}
	return all
}

func create(t *testing.T, store syncs.Store, s syncs.Sync) {
	t.Helper()
	if err := store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, store syncs.Store, s syncs.Sync) syncs.Sync {
	t.Helper()
	got, err := store.Read(t.Context(), s.Workspace, s.ID)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// RunUnreadable checks that syncs which another version or another program wrote,
// so that they cannot be read, do not hide others. corrupt makes one of them so;
// its calls take turns at the ways that there are.
func RunUnreadable(t *testing.T, store syncs.Store, corrupt func(t *testing.T, s syncs.Sync)) {
	t.Helper()
	first := NewSync(t)
	var want []string
	var corrupted []syncs.Sync
	for i := range 30 {
		s := NewSync(t)
		s.Workspace = first.Workspace
		create(t, store, s)
		if i%10 == 4 {
			want = append(want, s.ID)
		} else {
			corrupted = append(corrupted, s)
		}
	}
	for _, s := range corrupted {
		corrupt(t, s)
	}
	slices.Reverse(want)
	for _, limit := range []int{1, 2, 3, 5, 100} {
		var got []string
		for _, s := range listAll(t, store, first.Workspace, limit) {
			got = append(got, s.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d: %s", limit, diff)
		}
	}
	for _, s := range corrupted {
		if _, err := store.Read(t.Context(), s.Workspace, s.ID); !errors.Is(err, syncs.ErrUnreadable) || !fault.Is(err, fault.Internal) {
			t.Errorf("read %s: %v", s.ID, err)
		}
	}
}
