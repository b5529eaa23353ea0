// Package storetest holds the promises of syncs.Store as tests. Every engine
// runs them.
package storetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// Good is a sync with every field set, of a new ID and workspace.
func Good(tb testing.TB) syncs.Sync {
	tb.Helper()
	at := time.Date(2026, time.November, 23, 20, 6, 0, 123e6, time.UTC)
	return syncs.Sync{
		Workspace:        "acme-" + newID(tb),
		ID:               newID(tb),
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

// Run holds the store that open returns to its promises.
func Run(t *testing.T, open func(t *testing.T) syncs.Store) {
	t.Helper()

	t.Run("what is read equals what was created", func(t *testing.T) {
		store := open(t)
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
				want := Good(t)
				edit(&want)
				create(t, store, want)
				if diff := cmp.Diff(want, read(t, store, want)); diff != "" {
					t.Error(diff)
				}
			})
		}
	})

	t.Run("a second sync of the same id is a conflict and changes nothing", func(t *testing.T) {
		store, first := open(t), Good(t)
		create(t, store, first)
		second := first
		second.StreamName = "companies"
		wantKind(t, store.Create(t.Context(), second), fault.Conflict)
		if diff := cmp.Diff(first, read(t, store, first)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("a workspace does not see another's", func(t *testing.T) {
		store, ours := open(t), Good(t)
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
	})

	t.Run("an id that never was is not found", func(t *testing.T) {
		_, err := open(t).Read(t.Context(), "acme", newID(t))
		wantKind(t, err, fault.NotFound)
	})

	t.Run("of many that create the same id one succeeds", func(t *testing.T) {
		const writers = 16
		store, good := open(t), Good(t)
		results := make([]error, writers)
		var all sync.WaitGroup
		for i := range writers {
			all.Go(func() {
				mine := good
				mine.StreamName = fmt.Sprintf("stream %d", i)
				results[i] = store.Create(context.WithoutCancel(t.Context()), mine)
			})
		}
		all.Wait()
		winner := ""
		for i, err := range results {
			if err == nil {
				if winner != "" {
					t.Errorf("stream %d was created as well as %s", i, winner)
				}
				winner = fmt.Sprintf("stream %d", i)
				continue
			}
			wantKind(t, err, fault.Conflict)
		}
		if got := read(t, store, good).StreamName; got != winner {
			t.Errorf("stored is %q, acknowledged was %q", got, winner)
		}
	})

	t.Run("a caller that has no time left is told so", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		wantKind(t, open(t).Create(ctx, Good(t)), fault.Unavailable)
	})
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

func wantKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != want {
		t.Errorf("got %v, want a fault of kind %d", err, want)
	}
}
