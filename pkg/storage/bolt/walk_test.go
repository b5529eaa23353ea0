package bolt_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/ratelimit"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// TestWalk checks that All, Schedules and AllSlots yield every row of their kind once,
// in the order of the keys, with other rows between them and over several read
// transactions.
func TestWalk(t *testing.T) {
	t.Parallel()
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	t.Cleanup(func() { closeStore(t, store) })
	store.SetChunk(60)
	now := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	all := bolt.Runs{Store: store, Now: func() time.Time { return now }}
	// Bytes before and after those that end a workspace and a sync in a key.
	workspaces := []string{"a", "a\x01", "a!", "a!b", "a\"", "a$", "a0", "ab", "b", "OPEN", "SYNC"}
	want := map[string]syncs.Sync{}
	var slots []string
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(256)
	for i := range 132 { // of which half are in one workspace
		s := storagetest.NewSync(t)
		s.Workspace = workspaces[i%len(workspaces)]
		if i%2 == 0 {
			s.Workspace = "a"
		}
		if i%3 == 0 {
			s.CronExpression = ""
		}
		want[s.Workspace+"/"+s.ID] = s
		group.Go(func() error { return store.Create(ctx, s) })
		if i%6 > 0 {
			continue
		}
		slots = append(slots, s.Workspace+"/"+s.ID)
		group.Go(func() error {
			for n := range 3 {
				run := runs.Run{
					Key: runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: now.Add(time.Duration(n) * time.Second)}, Version: 1,
					Status: runs.Success, ExpiresAt: now.Add(time.Hour),
				}
				change := runs.Change{Runs: []runs.Run{run}}
				if n == 2 {
					change.Slot = &runs.SlotChange{After: &runs.Slot{Workspace: s.Workspace, SyncID: s.ID, Version: 1, Open: run.Time}}
				}
				if err := all.Commit(ctx, change); err != nil {
					return err
				}
			}
			key := storagetest.NewIdempotencyKey(fmt.Sprint("key ", i))
			other := s
			other.ID = s.ID[:len(s.ID)-1] + "x" // is deleted again
			if _, err := store.CreateOnce(ctx, other, key); err != nil {
				return err
			}
			if err := store.Delete(ctx, other); err != nil {
				return err
			}
			_, _, err := store.Take(ctx, s.Workspace, ratelimit.Policy{Quota: 5000, Window: time.Minute}, now)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	order := func(walk func(yield func(workspace, id string))) (got []string) {
		walk(func(workspace, id string) { got = append(got, workspace+"\x00"+id) })
		if !slices.IsSorted(got) {
			t.Error("the keys are not in order")
		}
		return got
	}
	for name, walk := range map[string]func(yield func(workspace, id string)){
		"All": func(yield func(workspace, id string)) {
			for s, err := range store.All() {
				if err != nil || s != want[s.Workspace+"/"+s.ID] {
					t.Fatalf("got %+v, %v", s, err)
				}
				yield(s.Workspace, s.ID)
			}
		},
		"Schedules": func(yield func(workspace, id string)) {
			for s, err := range store.Schedules() {
				stored := want[s.Workspace+"/"+s.ID]
				when, err2 := s.Schedule()
				expected, err3 := stored.Schedule()
				if err != nil || err2 != nil || err3 != nil || when != expected || s.Version != stored.Version || s.Status != stored.Status ||
					!s.ScheduledAt.Equal(stored.ScheduledAt) || !s.UpdatedAt.Equal(stored.UpdatedAt) {
					t.Fatalf("got %+v, want %+v; %v, %v, %v", s, stored, err, err2, err3)
				}
				yield(s.Workspace, s.ID)
			}
		},
	} {
		if got := order(walk); len(got) != len(want) {
			t.Errorf("%s yields %d syncs, want %d", name, len(got), len(want))
		}
	}
	var got []string
	for slot, err := range all.AllSlots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, slot.Workspace+"/"+slot.SyncID)
	}
	slices.Sort(got)
	slices.Sort(slots)
	if diff := cmp.Diff(slots, got); diff != "" {
		t.Error(diff)
	}
	count := 0
	for _, err := range store.All() {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 75 {
			break
		}
	}
	if count != 75 {
		t.Errorf("the loop ended after %d syncs", count)
	}
}
