package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/syncs"
)

// Table lists all syncs of a stack.
type Table interface {
	// All yields every sync, and ends after the first error. If rows cannot be
	// read, the last error is a syncs.ErrUnreadable.
	All(ctx context.Context) iter.Seq2[syncs.Sync, error]
}

// Report counts what ReconcileAll, FindDrift or ExpireAll found.
type Report struct {
	Syncs    int `json:"syncs"`    // in the table
	Repaired int `json:"repaired"` // syncs whose schedules differed
	Removed  int `json:"removed"`  // IDs that had schedules and no sync
	Expired  int `json:"expired"`  // runs that time had ended; ExpireAll sets it

	Unfinished bool `json:"unfinished,omitempty"` // a later call of Round.Run continues
	Ended      bool `json:"ended,omitempty"`      // a Round has ended in this call
}

// maxConcurrent is how many syncs are compared at the same time. A call to
// Scheduler takes some 10 ms, mostly waiting. Our own choice; a hundred thousand
// syncs take some two minutes.
const maxConcurrent = 16

// ReconcileAll reconciles the schedules of all syncs and removes the schedules that
// belong to no sync. It repairs what a change missing from the stream leaves behind.
// onRepair is called with the ID of each sync whose schedules differed, never
// concurrently. The schedules of a sync that cannot be read, or whose schedule
// Scheduler refuses, stay as they are, and the returned error names the sync.
func (r *Reconciler) ReconcileAll(ctx context.Context, table Table, onRepair func(id string)) (Report, error) {
	return r.forEach(ctx, table, onRepair, func(ctx context.Context, workspace, id string, _ *syncs.Sync) (bool, error) {
		return r.Reconcile(ctx, workspace, id)
	})
}

// FindDrift reports what ReconcileAll would do, and changes nothing. onDrift is
// called with the ID of each sync whose schedules differ, never concurrently.
func (r *Reconciler) FindDrift(ctx context.Context, table Table, onDrift func(id string)) (Report, error) {
	return r.forEach(ctx, table, onDrift, func(ctx context.Context, _, id string, s *syncs.Sync) (bool, error) {
		actions, err := r.plan(ctx, id, s)
		return len(actions) > 0, err
	})
}

// refused reports whether Scheduler refused the schedule of one sync, because it is
// invalid or because there are too many.
func refused(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "ValidationException" || api.ErrorCode() == "ServiceQuotaExceededException")
}

// handler handles the schedules of one sync, nil if there is none, and reports
// whether they differed.
type handler func(ctx context.Context, workspace, id string, s *syncs.Sync) (differed bool, err error)

// forEach calls handle for each sync of the table, and then for each ID that has
// schedules and no sync.
func (r *Reconciler) forEach(ctx context.Context, table Table, onDrift func(id string), handle handler) (Report, error) {
	var report Report
	seen := map[string]bool{}
	var mu sync.Mutex
	var unreadable []error // these do not stop the others
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrent)
	var err error
	for s, failure := range table.All(grouped) {
		if failure != nil {
			err = failure
			break
		}
		report.Syncs++
		seen[s.ID] = true
		group.Go(func() error {
			differed, err := handle(grouped, s.Workspace, s.ID, &s)
			mu.Lock()
			defer mu.Unlock()
			if differed {
				report.Repaired++
				onDrift(s.ID)
			}
			if errors.Is(err, syncs.ErrUnreadable) || refused(err) {
				unreadable = append(unreadable, err)
				return nil
			}
			return err
		})
	}
	if failure := group.Wait(); failure != nil {
		err = failure // All was only canceled by it
	}
	if errors.Is(err, syncs.ErrUnreadable) { // All has yielded all other syncs
		unreadable = append(unreadable, err)
	} else if err != nil {
		return report, err
	}
	orphans, err := r.orphans(ctx, seen)
	if err != nil {
		return report, err
	}
	for id, name := range orphans {
		workspace, err := r.workspaceOf(ctx, name)
		if err != nil {
			return report, err
		}
		s, err := r.readSync(ctx, workspace, id) // it may be newer than the list of the syncs
		if errors.Is(err, syncs.ErrUnreadable) {
			continue // All has reported it
		}
		if err != nil {
			return report, err
		}
		differed, err := handle(ctx, workspace, id, s)
		if err != nil {
			return report, err
		}
		if differed {
			report.Removed++
			onDrift(id)
		}
	}
	return report, errors.Join(unreadable...)
}

// orphans returns the name of one schedule for each ID that is not in seen.
func (r *Reconciler) orphans(ctx context.Context, seen map[string]bool) (map[string]string, error) {
	found := map[string]string{}
	pages := scheduler.NewListSchedulesPaginator(r.Client, &scheduler.ListSchedulesInput{GroupName: &r.Group})
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

// workspaceOf returns the workspace in the event of a schedule, "" if there is
// none.
func (r *Reconciler) workspaceOf(ctx context.Context, name string) (string, error) {
	current, err := r.get(ctx, name)
	if err != nil || current == nil || current.Target == nil {
		return "", err
	}
	var due struct {
		Workspace string `json:"workspace"`
	}
	if json.Unmarshal([]byte(aws.ToString(current.Target.Input)), &due) != nil {
		return "", nil //nolint:nilerr // such a schedule was made by hand
	}
	return due.Workspace, nil
}
