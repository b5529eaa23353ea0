package scheduler_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// createMany stores n syncs that run every minute, in few commits.
func (r *harness) createMany(n int) []syncs.Sync {
	r.t.Helper()
	list := make([]syncs.Sync, n)
	var group sync.WaitGroup
	for i := range list {
		list[i] = r.sync(1, "")
		group.Go(func() {
			if err := r.store.Create(r.t.Context(), list[i]); err != nil {
				r.t.Error(err)
			}
		})
	}
	group.Wait()
	return list
}

// edited returns the next version of s.
func edited(s syncs.Sync, now time.Time, edit func(*syncs.Sync)) syncs.Sync {
	s.Version++
	s.UpdatedAt = now
	edit(&s)
	return s
}

// TestChangedInTheSecond pauses, deletes and reschedules syncs in the second in
// which they are due, while others write: after the event of the change there is
// none of a run that was due before, and what was not changed runs once.
func TestChangedInTheSecond(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	const each, kinds, workers = 40, 4, 4
	change := func(kind int, s syncs.Sync) (err error) {
		ctx := t.Context()
		pause := func(s *syncs.Sync) { s.Status = syncs.Disabled }
		switch kind {
		case 1:
			err = r.store.Replace(ctx, edited(s, r.now, pause))
		case 2:
			err = r.store.Delete(ctx, s)
		case 3: // its first run is an hour from now
			err = r.store.Replace(ctx, edited(s, r.now, func(s *syncs.Sync) { s.SyncInterval, s.ScheduledAt = 60, r.now }))
		}
		return err
	}
	for range 2 {
		list := r.createMany(each * kinds)
		kind := map[string]int{}
		for i, s := range list {
			kind[s.ID] = i % kinds
		}
		r.stepOnly()
		after, _ := r.store.Head()
		r.now = r.now.Add(time.Minute)

		done, stop, acknowledged := make(chan struct{}), make(chan struct{}), make(chan struct{})
		now := r.now
		r.scheduler.Now = func() time.Time { // whenever the scheduler reads the time, other goroutines make changes
			for range 2 * workers {
				select {
				case <-acknowledged:
				case <-done:
				}
			}
			return now
		}
		var changers, others sync.WaitGroup
		for i := range workers {
			changers.Go(func() {
				for n := i; n < len(list); n += workers {
					if kind[list[n].ID] == 0 {
						continue
					}
					if err := change(kind[list[n].ID], list[n]); err != nil {
						t.Error(err)
					}
					select {
					case acknowledged <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 2 { // simultaneous writers of other syncs
			s := r.sync(60, "")
			prefix := s.ID[:24]
			s.Workspace = "other"
			others.Go(func() {
				for range 300 {
					select {
					case <-stop:
						return
					default:
					}
					s.ID = prefix + uuid.NewString()[24:]
					if err := r.store.Create(t.Context(), s); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		go func() { changers.Wait(); close(done) }()
		r.stepOnly()
		<-done
		close(stop)
		others.Wait()
		r.stepOnly()

		changed, runs := map[string]bool{}, map[string]int{}
		for {
			entries, err := r.store.Events(after, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				after = e.Sequence
				switch {
				case e.Workspace != "acme":
				case e.Kind == event.Due && changed[e.Subject]:
					t.Errorf("%s started after the change %d", e.ID, kind[e.Subject])
				case e.Kind == event.Due:
					runs[e.Subject]++
				default:
					changed[e.Subject] = true
				}
			}
		}
		for id, kind := range kind {
			if n := runs[id]; n > 1 || kind == 0 && n != 1 {
				t.Errorf("%s started %d times (change %d)", id, n, kind)
			}
		}
		var deleted sync.WaitGroup
		for _, s := range list { // so that each round has its own; at once, so that there are few commits
			deleted.Go(func() {
				if s, err := r.store.Read(t.Context(), s.Workspace, s.ID); err == nil {
					if err := r.store.Delete(t.Context(), s); err != nil {
						t.Error(err)
					}
				}
			})
		}
		deleted.Wait()
	}
}
