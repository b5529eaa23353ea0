package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/syncs"
)

// Table is all syncs there are.
type Table interface {
	Each(ctx context.Context, visit func(syncs.Sync) error) error
}

// Report is what a repair found.
type Report struct {
	Syncs    int `json:"syncs"`    // that there are
	Repaired int `json:"repaired"` // of them, whose schedules were not what they say
	Removed  int `json:"removed"`  // schedules of no sync
}

// maxAtOnce is how many syncs are compared at the same time: a call of
// Scheduler takes some 10 ms, mostly of waiting. Our own choice; a hundred
// thousand syncs take some two minutes.
const maxAtOnce = 16

// Repair compares all syncs with all schedules and makes these what they are to
// be: for what the change feed lost. With dry it only tells. say is called with
// the ID of each sync whose schedules differ, one at a time. The schedules of a
// sync that cannot be read stay as they are, and the error in the end names it.
func (t *Timetable) Repair(ctx context.Context, table Table, dry bool, say func(id string)) (Report, error) {
	var report Report
	seen := map[string]bool{}
	var mu sync.Mutex
	var unreadable []error // what is no reason to stop
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(maxAtOnce)
	err := table.Each(grouped, func(s syncs.Sync) error {
		report.Syncs++
		seen[s.ID] = true
		group.Go(func() error {
			differs, err := t.repair(grouped, s.Workspace, s.ID, &s, dry)
			mu.Lock()
			defer mu.Unlock()
			if differs {
				report.Repaired++
				say(s.ID)
			}
			if errors.Is(err, syncs.ErrUnreadable) {
				unreadable = append(unreadable, err)
				return nil
			}
			return err
		})
		return nil
	})
	if failure := group.Wait(); failure != nil {
		err = failure // and what it stopped is no news
	}
	if errors.Is(err, syncs.ErrUnreadable) { // all others were visited
		unreadable = append(unreadable, err)
	} else if err != nil {
		return report, err
	}
	orphans, err := t.orphans(ctx, seen)
	if err != nil {
		return report, err
	}
	for id, name := range orphans {
		workspace, err := t.workspaceOf(ctx, name)
		if err != nil {
			return report, err
		}
		s, err := t.read(ctx, workspace, id) // it may have been made just now
		if errors.Is(err, syncs.ErrUnreadable) {
			continue // as above
		}
		if err != nil {
			return report, err
		}
		differs, err := t.repair(ctx, workspace, id, s, dry)
		if err != nil {
			return report, err
		}
		if differs {
			report.Removed++
			say(id)
		}
	}
	return report, errors.Join(unreadable...)
}

// orphans are the schedules of no sync that was seen: a name for each ID.
func (t *Timetable) orphans(ctx context.Context, seen map[string]bool) (map[string]string, error) {
	found := map[string]string{}
	pages := scheduler.NewListSchedulesPaginator(t.Client, &scheduler.ListSchedulesInput{GroupName: &t.Group})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the schedules: %w", err)
		}
		for _, summary := range page.Schedules {
			name := aws.ToString(summary.Name)
			if id, ok := idOf(name); ok && !seen[id] {
				found[id] = name
			}
		}
	}
	return found, nil
}

// repair reconciles one sync, or with dry tells whether that would do anything.
func (t *Timetable) repair(ctx context.Context, workspace, id string, s *syncs.Sync, dry bool) (differs bool, err error) {
	if !dry {
		return t.Reconcile(ctx, workspace, id)
	}
	actions, err := t.plan(ctx, id, s)
	return len(actions) > 0, err
}

// workspaceOf is the workspace in the event of a schedule, "" if there is none.
func (t *Timetable) workspaceOf(ctx context.Context, name string) (string, error) {
	there, err := t.get(ctx, name)
	if err != nil || there == nil || there.Target == nil {
		return "", err
	}
	var due struct {
		Workspace string `json:"workspace"`
	}
	if json.Unmarshal([]byte(aws.ToString(there.Target.Input)), &due) != nil {
		return "", nil //nolint:nilerr // somebody else wrote it
	}
	return due.Workspace, nil
}
