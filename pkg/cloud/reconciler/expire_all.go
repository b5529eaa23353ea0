package reconciler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"golang.org/x/sync/errgroup"

	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// Slots lists the open runs of a stack.
type Slots interface {
	// AllSlots yields the slot of every sync that has one, and ends after the first
	// error. If rows cannot be read, the last error is a runs.ErrUnreadable.
	AllSlots(ctx context.Context) iter.Seq2[runs.Slot, error]
}

// ExpireAll stores what time has changed of all open runs, and stops the runs of
// syncs that are paused or deleted. It does what a lost message of the watch queue
// leaves undone. onExpire is called with the ID of the sync of each run that time had
// changed, never concurrently; expired counts them. Runs that cannot be read are left
// as they are, and the returned error names them.
func ExpireAll(ctx context.Context, slots Slots, service *runs.Service, onExpire func(syncID string)) (expired int, err error) {
	return forEachSlot(ctx, slots, onExpire, func(ctx context.Context, slot runs.Slot) (bool, error) {
		return expire(ctx, service, slot)
	})
}

// FindExpired reports the runs that ExpireAll would change because of their time, and
// changes nothing.
func FindExpired(ctx context.Context, slots Slots, service *runs.Service, onExpired func(syncID string)) (expired int, err error) {
	return forEachSlot(ctx, slots, onExpired, func(ctx context.Context, slot runs.Slot) (bool, error) {
		stored, err := service.Store.Run(ctx, runs.Key{Workspace: slot.Workspace, SyncID: slot.SyncID, Time: slot.Open})
		if fault.Is(err, fault.NotFound) {
			return false, dangling(ctx, service, slot)
		}
		_, steps := stored.At(service.Now())
		return err == nil && steps > 0, err
	})
}

// forEachSlot calls handle for each slot, and onChange for those for which it returned
// true, which it counts.
func forEachSlot(ctx context.Context, slots Slots, onChange func(syncID string), handle func(context.Context, runs.Slot) (bool, error)) (changes int, err error) {
	var mu sync.Mutex
	var unreadable []error // these do not stop the others
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrent)
	for slot, failure := range slots.AllSlots(grouped) {
		if failure != nil {
			err = failure
			break
		}
		group.Go(func() error {
			changed, err := handle(grouped, slot)
			mu.Lock()
			defer mu.Unlock()
			if changed {
				changes++
				onChange(slot.SyncID)
			}
			if errors.Is(err, syncs.ErrUnreadable) || errors.Is(err, runs.ErrUnreadable) {
				unreadable = append(unreadable, err)
				return nil
			}
			return err
		})
	}
	if failure := group.Wait(); failure != nil {
		return changes, failure // the scan was only canceled by it
	}
	return changes, errors.Join(append(unreadable, err)...)
}

// expire stores what time has changed of the run in a slot, and stops it if its sync
// is paused or deleted. changed reports whether time had changed it.
func expire(ctx context.Context, service *runs.Service, slot runs.Slot) (changed bool, err error) {
	stored, err := service.Store.Run(ctx, runs.Key{Workspace: slot.Workspace, SyncID: slot.SyncID, Time: slot.Open})
	if fault.Is(err, fault.NotFound) {
		return false, dangling(ctx, service, slot)
	}
	if err != nil {
		return false, err
	}
	if _, steps := stored.At(service.Now()); steps > 0 {
		if _, _, err := service.Expire(ctx, slot.Workspace, slot.SyncID); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, service.Stop(ctx, slot.Workspace, slot.SyncID)
}

// dangling returns a runs.ErrUnreadable if a slot whose run does not exist is still
// there.
func dangling(ctx context.Context, service *runs.Service, slot runs.Slot) error {
	now, open, err := service.Store.Slot(ctx, slot.Workspace, slot.SyncID)
	if err == nil && open && now.Version == slot.Version {
		err = fmt.Errorf("%w: the open run of sync %s in workspace %s does not exist", runs.ErrUnreadable, slot.SyncID, slot.Workspace)
	}
	return err
}
