package relay

import (
	"context"

	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// AgainSync publishes the last change of a sync again, from the sync as it is stored,
// and reconciles its schedules. Which fields changed is not known any more.
func (r *Relay) AgainSync(ctx context.Context, s syncs.Sync) error {
	e := event.OfChange(nil, &s)
	if s.Version > 1 {
		e = event.OfChange(&s, &s)
	}
	_, err := r.relay(ctx, []change{{event: e, workspace: s.Workspace, sync: s.ID, ends: s.Status == syncs.Disabled}})
	return err
}

// AgainRun publishes the last change of a run again, from the run as it is stored, and
// has it watched.
func (r *Relay) AgainRun(ctx context.Context, run runs.Run) error {
	var of *syncs.Sync
	if run.Status == runs.Queued {
		read, err := r.Runs.Syncs.Read(ctx, run.Workspace, run.SyncID)
		if err == nil {
			of = &read
		} else if !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	e, ok := event.OfTransition(run, of)
	if !ok {
		return nil
	}
	_, err := r.relay(ctx, []change{{event: e, workspace: run.Workspace, sync: run.SyncID, run: &run, scheduled: run.Time}})
	return err
}
