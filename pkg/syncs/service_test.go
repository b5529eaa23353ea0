package syncs_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
)

const id = "019ab0c4-0000-7000-8000-000000000000"

func newService(t *testing.T) *syncs.Service {
	t.Helper()
	store := bolttest.Open(t)
	return &syncs.Service{
		Store: store,
		Now: func() time.Time {
			return time.Date(2026, time.November, 23, 21, 6, 0, 123_999_999, time.FixedZone("CET", 3600))
		},
		NewID: func() (string, error) { return id, nil },
	}
}

func writer() auth.Caller {
	return auth.Caller{Workspace: "acme", Subject: "ci", Scopes: []string{"syncs:write"}}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	service := newService(t)
	draft := good()
	draft.StreamName = new("  contacts\u00a0")
	got, err := service.Create(t.Context(), writer(), draft)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, time.November, 23, 20, 6, 0, 123e6, time.UTC)
	want := syncs.Sync{
		Workspace: "acme", ID: id, Version: 1, SourceID: 1, DestinationID: 2, ModelID: 3, Configuration: "{}",
		ScheduleType: "automated", SyncMode: "full_refresh", SyncInterval: 30, SyncIntervalUnit: "minutes",
		CronExpression: "0 6 * * 1-5", CursorField: "updated_at", StreamName: "contacts",
		Status: "pending", CreatedAt: at, UpdatedAt: at, ScheduledAt: at,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	stored, err := service.Store.Read(t.Context(), "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Error(diff)
	}
}

func TestRefusedCreateStoresNothing(t *testing.T) {
	t.Parallel()
	bad := good()
	bad.SourceID = nil
	for name, test := range map[string]struct {
		who   auth.Caller
		draft syncs.Draft
		want  fault.Kind
	}{
		"no scope":     {auth.Caller{Workspace: "acme", Scopes: []string{"syncs:read"}}, good(), fault.Forbidden},
		"no workspace": {auth.Caller{Scopes: []string{"syncs:write"}}, good(), fault.Forbidden},
		"scope first":  {auth.Caller{Workspace: "acme"}, bad, fault.Forbidden},
		"bad draft":    {writer(), bad, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := newService(t)
			if _, err := service.Create(t.Context(), test.who, test.draft); !fault.Is(err, test.want) {
				t.Errorf("got %v, want kind %v", err, test.want)
			}
			if _, err := service.Store.Read(t.Context(), "acme", id); !fault.Is(err, fault.NotFound) {
				t.Errorf("something was stored: %v", err)
			}
		})
	}
}

func TestCreateWithoutAnID(t *testing.T) {
	t.Parallel()
	service := newService(t)
	broken := errors.New("no randomness")
	service.NewID = func() (string, error) { return "", broken }
	if _, err := service.Create(t.Context(), writer(), good()); !errors.Is(err, broken) || !fault.Is(err, fault.Internal) {
		t.Errorf("got %v", err)
	}
}

// TestChangeNothing checks that a change to the stored values writes nothing: no
// version, no time and no event.
func TestChangeNothing(t *testing.T) {
	t.Parallel()
	service := newService(t)
	store, ok := service.Store.(*bolt.Store)
	if !ok {
		t.Fatalf("the store is a %T", service.Store)
	}
	created, err := service.Create(t.Context(), writer(), good())
	if err != nil {
		t.Fatal(err)
	}
	first, _ := store.Head()
	later := service.Now().Add(time.Hour)
	service.Now = func() time.Time { return later }
	same := good()
	same.ID, same.Status, same.CreatedAt = new(id), new("pending"), &created.CreatedAt
	for name, patch := range map[string]syncs.Draft{
		"everything": same,
		"a cursor":   {CursorField: new(" updated_at ")},
		"a name":     {StreamName: new("\u3000contacts")},
		"a schedule": {CronExpression: new("0 6 * * 1-5"), SyncInterval: new(int64(30))},
	} {
		got, err := service.Change(t.Context(), writer(), id, patch, syncs.Precondition{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(created, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if last, _ := store.Head(); last != first {
		t.Errorf("there are %d events, want %d", last, first)
	}
	same.ModelID = new(int64(4))
	got, err := service.Change(t.Context(), writer(), id, same, syncs.Precondition{})
	if err != nil || got.Version != 2 || !got.UpdatedAt.Equal(later.Truncate(time.Millisecond)) || !got.ScheduledAt.Equal(created.ScheduledAt) {
		t.Errorf("got %+v, %v", got, err)
	}
	if last, _ := store.Head(); last != first+1 {
		t.Errorf("there are %d events, want %d", last, first+1)
	}
}

// TestChangeAfterWrongClock checks that a schedule counts from when it was set, even
// if the clock was ahead at the last change of the sync.
func TestChangeAfterWrongClock(t *testing.T) {
	t.Parallel()
	service := newService(t)
	right := service.Now()
	service.Now = func() time.Time { return right.Add(2 * time.Hour) }
	created, err := service.Create(t.Context(), writer(), good())
	if err != nil {
		t.Fatal(err)
	}
	service.Now = func() time.Time { return right }
	got, err := service.Change(t.Context(), writer(), id, syncs.Draft{SyncInterval: new(int64(7)), CronExpression: new("")}, syncs.Precondition{})
	if err != nil || !got.UpdatedAt.Equal(created.UpdatedAt) || !got.ScheduledAt.Equal(right.Truncate(time.Millisecond)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestAfterRun checks the status of a sync after each result of a run, and that a status
// that stays changes neither the version nor the time.
func TestAfterRun(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		status syncs.Status
		result syncs.RunResult
		want   syncs.Status
	}{
		{syncs.Pending, syncs.RunSucceeded, syncs.Healthy},
		{syncs.Pending, syncs.RunFailed, syncs.Failed},
		{syncs.Pending, syncs.RunNotClaimed, syncs.Pending},
		{syncs.Healthy, syncs.RunSucceeded, syncs.Healthy},
		{syncs.Healthy, syncs.RunFailed, syncs.Failed},
		{syncs.Healthy, syncs.RunNotClaimed, syncs.Failed},
		{syncs.Failed, syncs.RunSucceeded, syncs.Healthy},
		{syncs.Failed, syncs.RunFailed, syncs.Failed},
		{syncs.Failed, syncs.RunNotClaimed, syncs.Failed},
		{syncs.Disabled, syncs.RunSucceeded, syncs.Disabled},
		{syncs.Disabled, syncs.RunFailed, syncs.Disabled},
		{syncs.Disabled, syncs.RunNotClaimed, syncs.Disabled},
	} {
		before := syncs.Sync{ID: "a", Version: 7, Status: test.status, UpdatedAt: at.Add(-time.Hour)}
		want := before
		if test.want != test.status {
			want.Status, want.Version, want.UpdatedAt = test.want, 8, at
		}
		got, changed := before.AfterRun(test.result, at)
		if diff := cmp.Diff(want, got); diff != "" || changed != (test.want != test.status) {
			t.Errorf("%s after the result %d: changed %v: %s", test.status, test.result, changed, diff)
		}
	}
}
