package runstest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
)

// Spoiler makes stored rows unreadable for this version.
type Spoiler struct {
	Run  func(t *testing.T, key runs.Key)
	Slot func(t *testing.T, workspace, syncID string)
}

// Unreadable checks that a run or a slot that another version or another program wrote
// does not hide the others of its list, and is an error where it is read alone.
func Unreadable(t *testing.T, b Backend, spoil Spoiler) {
	ctx, key := t.Context(), newKey(t)
	var want []time.Time // newest first
	for i := range 6 {
		r := queued(key)
		r.Time = key.Time.Add(time.Duration(i) * time.Second)
		must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}}))
		if i%3 == 1 {
			want = append([]time.Time{r.Time}, want...)
			continue
		}
		spoil.Run(t, r.Key)
		if _, err := b.Runs.Run(ctx, r.Key); !errors.Is(err, runs.ErrUnreadable) || !fault.Is(err, fault.Internal) {
			t.Errorf("run %d: got %v, want ErrUnreadable", i, err)
		}
	}
	for _, limit := range []int{1, 2, 10} {
		var got []time.Time
		for before, more := (time.Time{}), true; more; {
			var page []runs.Run
			var err error
			page, more, err = b.Runs.Runs(ctx, key.Workspace, key.SyncID, before, limit)
			must(t, err)
			for _, r := range page {
				got, before = append(got, r.Time), r.Time
			}
			if more && len(page) == 0 {
				t.Fatal("an empty page has a next one")
			}
		}
		if !slices.EqualFunc(want, got, time.Time.Equal) {
			t.Errorf("limit %d: got the runs %v, want %v", limit, got, want)
		}
	}

	service := runs.Service{Store: b.Runs, Syncs: b.Syncs, Now: b.Clock.Now, Retention: runs.DefaultRetention()}
	var readable []string
	for i := range 6 {
		r := queued(newKey(t))
		r.Workspace = key.Workspace
		must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}, Slot: openSlot(r)}))
		switch i % 3 {
		case 0:
			spoil.Slot(t, r.Workspace, r.SyncID)
			if _, _, err := b.Runs.Slot(ctx, r.Workspace, r.SyncID); !errors.Is(err, runs.ErrUnreadable) {
				t.Errorf("slot %d: got %v, want ErrUnreadable", i, err)
			}
		case 1:
			spoil.Run(t, r.Key)
		case 2:
			readable = append(readable, r.SyncID)
		}
	}
	for _, size := range []int{1, 2, 100} {
		var got []string
		query := runs.OpenQuery{Size: size}
		for {
			page, err := service.Open(ctx, auth.Caller{Workspace: key.Workspace, Scopes: []string{string(auth.ReadSyncs)}}, query)
			must(t, err)
			for _, r := range page.Runs {
				got = append(got, r.SyncID)
			}
			if query.After = page.Next; page.Next == "" {
				break
			}
		}
		if !slices.Equal(readable, got) {
			t.Errorf("size %d: got the open runs of %v, want %v", size, got, readable)
		}
	}
}
