package bolt_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// TestBegin checks which runs a commit leaves out.
func TestBegin(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)
	renamed := func(s *syncs.Sync) { s.Version, s.StreamName = s.Version+1, "else" }
	for name, test := range map[string]struct {
		edit  func(*syncs.Sync) // nil deletes
		still bool
		begin bool
	}{
		"as it was":               {func(*syncs.Sync) {}, false, true},
		"changed and still due":   {renamed, true, true},
		"changed and not due":     {renamed, false, false},
		"paused":                  {func(s *syncs.Sync) { s.Version, s.Status = s.Version+1, syncs.Disabled }, true, false},
		"deleted":                 {nil, true, false},
		"changed ten times":       {func(s *syncs.Sync) { s.Version = 10 }, true, true},
		"unreadable":              {func(s *syncs.Sync) { s.Version = 0 }, true, false},
		"of a version that is 1…": {func(s *syncs.Sync) { s.Version = 12 }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
			defer closeStore(t, store)
			first, s, last := storagetest.NewSync(t), storagetest.NewSync(t), storagetest.NewSync(t)
			var runs []bolt.DueRun
			for _, known := range []syncs.Sync{first, s, last} {
				known.Workspace = first.Workspace
				if err := store.Create(t.Context(), known); err != nil {
					t.Fatal(err)
				}
				runs = append(runs, bolt.DueRun{
					Event: event.OfRun(&known, at, false), Version: known.Version, StillDue: func(now syncs.Sync) bool { return now.ID == s.ID && test.still },
				})
			}
			s.Workspace = first.Workspace
			if test.edit != nil {
				test.edit(&s)
				if err := store.SpoilSync(s); err != nil {
					t.Fatal(err)
				}
			} else if err := store.Delete(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			after, _ := store.Head()
			if err := store.StartRuns(t.Context(), runs, bolt.Progress{Second: 7, ID: "an ID", LatestRun: 8}); err != nil {
				t.Fatal(err)
			}
			entries, err := store.Events(after, 10)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range entries {
				got = append(got, e.Subject)
			}
			want := []string{first.ID, s.ID, last.ID}
			if !test.begin {
				want = []string{first.ID, last.ID}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if p, ok, err := store.Progress(); p != (bolt.Progress{Second: 7, ID: "an ID", LatestRun: 8}) || !ok || err != nil {
				t.Errorf("the progress is %v, %t, %v", p, ok, err)
			}
		})
	}
}
