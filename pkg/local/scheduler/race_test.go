package scheduler_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/event"
	"syncplane/pkg/syncs"
)

// TestChangedAtTheLastMoment checks that a run does not start after a pause, a
// delete or another schedule was acknowledged, in whatever moment that was, and
// begins after a change of something else.
func TestChangedAtTheLastMoment(t *testing.T) {
	t.Parallel()
	type edit = func(*syncs.Sync)
	pause := func(s *syncs.Sync) { s.Status = syncs.Disabled }
	resume := func(s *syncs.Sync) { s.Status = syncs.Pending }
	rename := func(s *syncs.Sync) { s.StreamName = "else" }
	for name, test := range map[string]struct {
		edits []edit // nil deletes
		want  []string
		next  []string // a minute later
	}{
		"nothing":                         {nil, []string{"1 12:01:00", "2 12:01:00"}, []string{"1 12:02:00", "2 12:02:00"}},
		"paused":                          {[]edit{pause}, []string{"2 12:01:00"}, []string{"2 12:02:00"}},
		"deleted":                         {[]edit{nil}, []string{"2 12:01:00"}, []string{"2 12:02:00"}},
		"renamed, paused":                 {[]edit{rename, pause}, []string{"2 12:01:00"}, []string{"2 12:02:00"}},
		"renamed, deleted":                {[]edit{rename, nil}, []string{"2 12:01:00"}, []string{"2 12:02:00"}},
		"renamed":                         {[]edit{rename}, []string{"1 12:01:00", "2 12:01:00"}, []string{"1 12:02:00", "2 12:02:00"}},
		"resumed":                         {[]edit{pause, resume}, []string{"1 12:01:00", "2 12:01:00"}, []string{"1 12:02:00", "2 12:02:00"}},
		"another interval":                {[]edit{func(s *syncs.Sync) { s.SyncInterval, s.ScheduledAt = 2, s.UpdatedAt }}, []string{"2 12:01:00"}, []string{"2 12:02:00"}},
		"the same interval, counted anew": {[]edit{func(s *syncs.Sync) { s.ScheduledAt = s.UpdatedAt.Add(30 * time.Second) }}, []string{"2 12:01:00"}, []string{"2 12:02:00"}},
		"cron":                            {[]edit{func(s *syncs.Sync) { s.CronExpression = "2 12 * * *" }}, []string{"2 12:01:00"}, []string{"1 12:02:00", "2 12:02:00"}},
		"a schedule of another form":      {[]edit{func(s *syncs.Sync) { s.CronExpression = "@hourly" }}, []string{"2 12:01:00"}, []string{"2 12:02:00"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newHarness(t)
			s := r.create(1, "")
			r.create(1, "")
			r.want(0)
			r.now = r.now.Add(time.Minute)
			now, calls := r.scheduler.Now, 0
			r.scheduler.Now = func() time.Time {
				if calls++; calls != 2 { // the second time the clock has followed all changes
					return now()
				}
				for _, edit := range test.edits {
					if edit != nil {
						s = r.change(s, edit)
						continue
					}
					if err := r.store.Delete(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
				return now()
			}
			if diff := cmp.Diff(test.want, r.step()); diff != "" {
				t.Error(diff)
			}
			r.want(0)
			r.want(time.Minute, test.next...)
		})
	}
}

// TestNoRunAfterDelete checks the order of the feed while many syncs that are due
// are deleted and paused.
func TestNoRunAfterDelete(t *testing.T) {
	t.Parallel()
	r := newHarness(t)
	const many = 300
	var created, changed sync.WaitGroup
	all := make([]syncs.Sync, many)
	for i := range all {
		all[i] = r.sync(1, "")
		created.Go(func() {
			if err := r.store.Create(t.Context(), all[i]); err != nil {
				t.Error(err)
			}
		})
	}
	created.Wait()
	r.want(0)
	r.now = r.now.Add(time.Minute)
	for i, s := range all {
		changed.Go(func() {
			var err error
			if i%2 == 0 {
				err = r.store.Delete(t.Context(), s)
			} else {
				s.Version, s.Status = s.Version+1, syncs.Disabled
				err = r.store.Replace(t.Context(), s)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := r.scheduler.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	changed.Wait()
	entries, err := r.store.Events(0, 10*many)
	if err != nil {
		t.Fatal(err)
	}
	ended := map[string]bool{}
	for _, e := range entries {
		switch {
		case e.Kind == event.Due && ended[e.Subject]:
			t.Errorf("%s begins after it was deleted or paused", e.Subject)
		case e.Kind == event.Deleted, e.Kind == event.Updated:
			ended[e.Subject] = true
		}
	}
	if len(ended) != many {
		t.Errorf("%d syncs were changed", len(ended))
	}
}
