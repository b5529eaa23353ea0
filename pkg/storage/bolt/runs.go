package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// Runs is a runs.Store in the file of a Store.
type Runs struct {
	*Store
	Now func() time.Time // decides which runs have expired
}

var _ runs.Store = Runs{}

// runPrefix returns the prefix of the keys of all runs of a sync. The scheduled
// time follows, in a format that sorts chronologically.
func runPrefix(workspace, syncID string) []byte {
	return []byte(workspace + "#" + syncID + "\x00RUN#")
}

func runKey(key runs.Key) []byte {
	return append(runPrefix(key.Workspace, key.SyncID), stamp(key.Time)...)
}

func recordsKey(key runs.Key) []byte {
	return []byte(key.Workspace + "#" + key.SyncID + "\x00ROWS#" + stamp(key.Time))
}

// openPrefix begins the sort key of a slot.
const openPrefix = "OPEN#"

func slotPrefix(workspace string) []byte { return []byte(workspace + "\x00" + openPrefix) }

func slotKey(workspace, syncID string) []byte { return append(slotPrefix(workspace), syncID...) }

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// runRow is a run as it is stored, in JSON.
type runRow struct {
	Version           int64          `json:"version"`
	Status            string         `json:"status"`
	Trigger           string         `json:"trigger"`
	Type              string         `json:"type"`
	Late              bool           `json:"late,omitempty"`
	Attempt           int            `json:"attempt,omitempty"`
	Executor          string         `json:"executor,omitempty"`
	LeaseSeconds      int64          `json:"lease_seconds,omitempty"`
	DeadlineAt        time.Time      `json:"deadline_at,omitzero"`
	EndBy             time.Time      `json:"end_by,omitzero"`
	Counters          counterRow     `json:"counters,omitzero"`
	Error             string         `json:"error,omitempty"`
	ErrorCode         string         `json:"error_code,omitempty"`
	LogURL            string         `json:"log_url,omitempty"`
	CreatedAt         time.Time      `json:"created_at"`
	UpdatedAt         time.Time      `json:"updated_at"`
	StartedAt         time.Time      `json:"started_at,omitzero"`
	FinishedAt        time.Time      `json:"finished_at,omitzero"`
	CancelRequestedAt time.Time      `json:"cancel_requested_at,omitzero"`
	Reported          bool           `json:"reported,omitempty"`
	LateReport        *lateReportRow `json:"late_report,omitempty"`
	HasRecords        bool           `json:"has_records,omitempty"`
	ExpiresAt         time.Time      `json:"expires_at"`
	Transition        string         `json:"transition,omitempty"`
}

type counterRow struct {
	TotalQueryRows *int64 `json:"total_query_rows,omitempty"`
	TotalRows      *int64 `json:"total_rows,omitempty"`
	SkippedRows    *int64 `json:"skipped_rows,omitempty"`
	SuccessfulRows *int64 `json:"successful_rows,omitempty"`
	FailedRows     *int64 `json:"failed_rows,omitempty"`
}

type lateReportRow struct {
	Fence      int64      `json:"fence"`
	Status     string     `json:"status"`
	ReceivedAt time.Time  `json:"received_at"`
	Counters   counterRow `json:"counters,omitzero"`
	Error      string     `json:"error,omitempty"`
	ErrorCode  string     `json:"error_code,omitempty"`
	LogURL     string     `json:"log_url,omitempty"`
}

type slotRow struct {
	Version int64     `json:"version"`
	Open    time.Time `json:"open"`
	Waiting time.Time `json:"waiting,omitzero"`
}

func (row slotRow) slot(workspace, syncID string) runs.Slot {
	return runs.Slot{Workspace: workspace, SyncID: syncID, Version: row.Version, Open: row.Open, Waiting: row.Waiting}
}

// recordsRow is the failed rows of a run.
type recordsRow struct {
	ExpiresAt time.Time   `json:"expires_at"`
	Records   []recordRow `json:"records"`
}

type recordRow struct {
	PrimaryKey string `json:"primary_key"`
	Action     string `json:"action,omitempty"`
	Error      string `json:"error,omitempty"`
}

// triggerIdempotencyRow is the idempotency record of a trigger. It has the
// fingerprint and the expiry under the same names as that of a create.
type triggerIdempotencyRow struct {
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
	SyncID      string    `json:"run_sync_id"`
	Time        time.Time `json:"run_time"`
	Created     bool      `json:"run_created"`
	Run         runRow    `json:"run"`
}

func runRowOf(r runs.Run) runRow {
	row := runRow{
		Version: r.Version, Status: string(r.Status), Trigger: string(r.Trigger), Type: string(r.Type), Late: r.Late,
		Attempt: r.Attempt, Executor: r.Executor, LeaseSeconds: int64(r.Lease / time.Second),
		DeadlineAt: r.DeadlineAt, EndBy: r.EndBy, Counters: counterRow(r.Counters),
		Error: r.Error, ErrorCode: r.ErrorCode, LogURL: r.LogURL,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		CancelRequestedAt: r.CancelRequestedAt, Reported: r.Reported, HasRecords: r.HasRecords,
		ExpiresAt: r.ExpiresAt, Transition: r.Transition,
	}
	if l := r.LateReport; l != nil {
		row.LateReport = &lateReportRow{
			Fence: l.Fence, Status: string(l.Status), ReceivedAt: l.ReceivedAt, Counters: counterRow(l.Counters),
			Error: l.Error, ErrorCode: l.ErrorCode, LogURL: l.LogURL,
		}
	}
	return row
}

func (row runRow) run(key runs.Key) runs.Run {
	r := runs.Run{
		Key: key, Version: row.Version, Status: runs.Status(row.Status), Trigger: runs.Trigger(row.Trigger),
		Type: runs.Type(row.Type), Late: row.Late,
		Attempt: row.Attempt, Executor: row.Executor, Lease: time.Duration(row.LeaseSeconds) * time.Second,
		DeadlineAt: row.DeadlineAt, EndBy: row.EndBy, Counters: runs.Counters(row.Counters),
		Error: row.Error, ErrorCode: row.ErrorCode, LogURL: row.LogURL,
		CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt, StartedAt: row.StartedAt, FinishedAt: row.FinishedAt,
		CancelRequestedAt: row.CancelRequestedAt, Reported: row.Reported, HasRecords: row.HasRecords,
		ExpiresAt: row.ExpiresAt, Transition: row.Transition,
	}
	if l := row.LateReport; l != nil {
		r.LateReport = &runs.LateReport{
			Fence: l.Fence, Status: runs.Status(l.Status), ReceivedAt: l.ReceivedAt, Counters: runs.Counters(l.Counters),
			Error: l.Error, ErrorCode: l.ErrorCode, LogURL: l.LogURL,
		}
	}
	return r
}

// decodeRun decodes a row with its time, as it is in the key.
func decodeRun(workspace, syncID, at string, value []byte) (runs.Run, error) {
	when, err := time.Parse(time.RFC3339, at)
	if err != nil {
		return runs.Run{}, err
	}
	var row runRow
	if err := json.Unmarshal(value, &row); err != nil {
		return runs.Run{}, err
	}
	r := row.run(runs.Key{Workspace: workspace, SyncID: syncID, Time: when})
	return r, r.CheckStored()
}

// run reads a run that has not expired.
func (t *tx) run(key runs.Key, now time.Time) (runs.Run, bool, error) {
	var row runRow
	found, err := t.read(runKey(key), &row)
	if err != nil {
		return runs.Run{}, false, fmt.Errorf("%w: %w", runs.ErrUnreadable, err)
	}
	if !found {
		return runs.Run{}, false, nil
	}
	r := row.run(key)
	if err := r.CheckStored(); err != nil {
		return runs.Run{}, false, fmt.Errorf("the row %q: %w", runKey(key), err)
	}
	return r, !r.Expired(now), nil
}

// Run reads one run.
func (st Runs) Run(ctx context.Context, key runs.Key) (run runs.Run, err error) {
	err = st.read(ctx, func(tx *tx) error {
		found := false
		if run, found, err = tx.run(key, st.Now()); err == nil && !found {
			err = runs.ErrNotFound
		}
		return err
	})
	return run, err
}

// Batch reads several runs.
func (st Runs) Batch(ctx context.Context, keys []runs.Key) (list []runs.Run, err error) {
	err = st.read(ctx, func(tx *tx) error {
		for _, key := range keys {
			r, found, err := tx.run(key, st.Now())
			if err != nil {
				st.unreadableRun(ctx, err)
				continue
			}
			if found {
				list = append(list, r)
			}
		}
		return nil
	})
	return list, err
}

// Runs reads backwards through the keys of the sync.
func (st Runs) Runs(ctx context.Context, workspace, syncID string, before time.Time, limit int) (list []runs.Run, more bool, err error) {
	prefix := runPrefix(workspace, syncID)
	end := append(bytes.Clone(prefix), '~') // after every time
	if !before.IsZero() {
		end = runKey(runs.Key{Workspace: workspace, SyncID: syncID, Time: before})
	}
	now := st.Now()
	err = st.read(ctx, func(tx *tx) error {
		cursor := tx.all.Cursor()
		var key, value []byte
		if found, _ := cursor.Seek(end); found == nil {
			key, value = cursor.Last()
		} else {
			key, value = cursor.Prev()
		}
		for ; bytes.HasPrefix(key, prefix); key, value = cursor.Prev() {
			if len(list) == limit {
				more = true
				return nil
			}
			r, err := decodeRun(workspace, syncID, string(key[len(prefix):]), value)
			if err != nil {
				st.unreadableRun(ctx, fmt.Errorf("decode the row %q: %w", key, err))
				continue
			}
			if !r.Expired(now) {
				list = append(list, r)
			}
		}
		return nil
	})
	return list, more, err
}

func (t *tx) slot(workspace, syncID string) (runs.Slot, bool, error) {
	var row slotRow
	found, err := t.read(slotKey(workspace, syncID), &row)
	if err != nil {
		return runs.Slot{}, false, fmt.Errorf("%w: %w", runs.ErrUnreadable, err)
	}
	return row.slot(workspace, syncID), found, nil
}

// Slot reads the slot of a sync.
func (st Runs) Slot(ctx context.Context, workspace, syncID string) (slot runs.Slot, ok bool, err error) {
	err = st.read(ctx, func(tx *tx) error {
		slot, ok, err = tx.slot(workspace, syncID)
		return err
	})
	return slot, ok, err
}

// Slots reads through the slots of a workspace.
func (st Runs) Slots(ctx context.Context, workspace, after string, limit int) (slots []runs.Slot, more bool, err error) {
	prefix := slotPrefix(workspace)
	start := prefix
	if after != "" {
		start = append(slotKey(workspace, after), 0)
	}
	err = st.read(ctx, func(tx *tx) error {
		cursor := tx.all.Cursor()
		for key, value := cursor.Seek(start); bytes.HasPrefix(key, prefix); key, value = cursor.Next() {
			if len(slots) == limit {
				more = true
				return nil
			}
			var row slotRow
			if err := json.Unmarshal(value, &row); err != nil {
				st.unreadableRun(ctx, fmt.Errorf("decode the row %q: %w", key, err))
				continue
			}
			slots = append(slots, row.slot(workspace, string(key[len(prefix):])))
		}
		return nil
	})
	return slots, more, err
}

// unreadableRun logs that the row of a run or a slot is left out because it cannot be
// read.
func (st Runs) unreadableRun(ctx context.Context, err error) {
	if st.Log != nil {
		st.Log.LogAttrs(ctx, slog.LevelError, "unreadable run", slog.String("error", err.Error()))
	}
}

// AllSlots yields the slot of every sync that has one, and ends after the first
// error. Rows that cannot be read are left out. It seeks from workspace to workspace, so
// other rows are not read. The loop body must not write to the store.
func (st Runs) AllSlots(ctx context.Context) iter.Seq2[runs.Slot, error] {
	return walkAll(ctx, st.Store, openPrefix, func(workspace, id string, value []byte) (runs.Slot, bool, error) {
		var row slotRow
		if err := json.Unmarshal(value, &row); err != nil {
			st.unreadableRun(ctx, fmt.Errorf("decode the slot of sync %s: %w", id, err))
			return runs.Slot{}, false, nil
		}
		return row.slot(workspace, id), true, nil
	})
}

// Records reads the failed rows of a run.
func (st Runs) Records(ctx context.Context, key runs.Key) (records []runs.Record, err error) {
	err = st.read(ctx, func(tx *tx) error {
		var row recordsRow
		if _, err := tx.read(recordsKey(key), &row); err != nil {
			return err
		}
		for _, r := range row.Records {
			records = append(records, runs.Record(r))
		}
		return nil
	})
	return records, err
}

// Replay reads the idempotency record of a trigger.
func (st Runs) Replay(ctx context.Context, workspace string, key syncs.IdempotencyKey) (run runs.Run, created, ok bool, err error) {
	err = st.read(ctx, func(tx *tx) error {
		known, found, err := tx.replay(workspace, key)
		if err != nil || !found {
			return err
		}
		run, created, ok = known.Run.run(runs.Key{Workspace: workspace, SyncID: known.SyncID, Time: known.Time}), known.Created, true
		return nil
	})
	return run, created, ok, err
}

// replay reads an idempotency record that has not expired.
func (t *tx) replay(workspace string, key syncs.IdempotencyKey) (known triggerIdempotencyRow, found bool, err error) {
	found, err = t.read(idempotencyKeyOf(workspace, key.Key), &known)
	switch {
	case err != nil || !found || !known.Expires.After(key.Now):
		return triggerIdempotencyRow{}, false, err
	case known.Fingerprint != key.Fingerprint:
		return triggerIdempotencyRow{}, false, syncs.ErrKeyReused
	}
	return known, true, nil
}

// Commit applies a change and appends its events to the feed, in one commit.
func (st Runs) Commit(ctx context.Context, change runs.Change) error {
	return st.write(ctx, func(tx *tx) error {
		if err := tx.checkChange(change, st.Now()); err != nil {
			return err
		}
		return tx.applyChange(change, st.Now())
	})
}

// checkChange returns runs.ErrStale if a row that the change replaces is not the
// one that it was computed from.
func (t *tx) checkChange(change runs.Change, now time.Time) error {
	for _, r := range change.Runs {
		stored, found, err := t.run(r.Key, now)
		switch {
		case err != nil:
			return err
		case found != (r.Version > 1) || found && stored.Version != r.Version-1:
			return runs.ErrStale
		}
	}
	if c := change.Slot; c != nil {
		slot := c.After
		if slot == nil {
			slot = c.Before
		}
		stored, found, err := t.slot(slot.Workspace, slot.SyncID)
		switch {
		case err != nil:
			return err
		case found != (c.Before != nil) || found && (stored.Version != c.Before.Version || !stored.Open.Equal(c.Before.Open)):
			return runs.ErrStale
		}
	}
	if change.Sync != nil {
		_, err := t.expect(*change.Sync, change.Sync.Version-1)
		if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
			return runs.ErrStale
		}
		if err != nil {
			return err
		}
	}
	if change.IdempotencyKey != nil {
		_, found, err := t.replay(change.Answered().Workspace, *change.IdempotencyKey)
		if err != nil {
			return err
		}
		if found {
			return runs.ErrStale
		}
	}
	return nil
}

// applyChange applies a change that was checked. A new run removes some that have expired.
func (t *tx) applyChange(change runs.Change, now time.Time) error {
	for _, r := range change.Runs {
		if err := t.putJSON(runKey(r.Key), runRowOf(r)); err != nil {
			return err
		}
		if r.Version == 1 {
			if err := errors.Join(t.removeExpired(now), t.expireAt(runKey(r.Key), r.ExpiresAt)); err != nil {
				return err
			}
		}
	}
	if c := change.Slot; c != nil && c.After == nil {
		if err := t.all.Delete(slotKey(c.Before.Workspace, c.Before.SyncID)); err != nil {
			return err
		}
	} else if c != nil {
		row := slotRow{Version: c.After.Version, Open: c.After.Open, Waiting: c.After.Waiting}
		if err := t.putJSON(slotKey(c.After.Workspace, c.After.SyncID), row); err != nil {
			return err
		}
	}
	if len(change.Records) > 0 {
		r := change.Runs[0]
		row := recordsRow{ExpiresAt: r.ExpiresAt, Records: make([]recordRow, 0, len(change.Records))}
		for _, record := range change.Records {
			row.Records = append(row.Records, recordRow(record))
		}
		if err := errors.Join(t.putJSON(recordsKey(r.Key), row), t.expireAt(recordsKey(r.Key), r.ExpiresAt)); err != nil {
			return err
		}
	}
	if change.Sync != nil {
		if err := t.changeStatus(*change.Sync); err != nil {
			return err
		}
	}
	if change.IdempotencyKey != nil {
		r, key := change.Answered(), idempotencyKeyOf(change.Answered().Workspace, change.IdempotencyKey.Key)
		record := triggerIdempotencyRow{
			Fingerprint: change.IdempotencyKey.Fingerprint, Expires: change.IdempotencyKey.Expires,
			SyncID: r.SyncID, Time: r.Time, Created: change.Created, Run: runRowOf(r),
		}
		if err := errors.Join(t.putJSON(key, record), t.expire(key, *change.IdempotencyKey)); err != nil {
			return err
		}
	}
	return t.appendTransitions(change.Runs)
}

// changeStatus writes a sync whose status a run has changed, and appends the event.
func (t *tx) changeStatus(s syncs.Sync) error {
	before, err := t.expect(s, s.Version-1)
	if err != nil {
		return err
	}
	value, err := encode(rowOf(s))
	if err != nil {
		return err
	}
	changed, err := encode(feedRowOf(event.OfChange(&before, &s)))
	if err != nil {
		return err
	}
	return errors.Join(t.put(keyOf(s.Workspace, s.ID), value), t.append(changed))
}

// published returns the sync for the event of a run, nil if it was deleted or cannot be
// read, so that its runs end all the same.
func (t *tx) published(r runs.Run) (*syncs.Sync, error) {
	s, err := t.sync(r.Workspace, r.SyncID)
	switch {
	case errors.Is(err, syncs.ErrNotFound), errors.Is(err, syncs.ErrUnreadable):
		return nil, nil //nolint:nilnil // as documented
	case err != nil:
		return nil, err
	}
	return &s, nil
}

// appendTransitions appends the events of the written runs to the feed.
func (t *tx) appendTransitions(written []runs.Run) error {
	for _, r := range written {
		if r.Transition == "" {
			continue
		}
		sync, err := t.published(r)
		if err != nil {
			return err
		}
		e, ok := event.OfTransition(r, sync)
		if !ok {
			continue
		}
		encoded, err := encode(feedRowOf(e))
		if err != nil {
			return err
		}
		if err := t.append(encoded); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) putJSON(key []byte, value any) error {
	encoded, err := encode(value)
	if err != nil {
		return err
	}
	return t.put(key, encoded)
}

// Heartbeat extends a lease.
func (st Runs) Heartbeat(ctx context.Context, key runs.Key, beat runs.Beat) (runs.Run, bool, error) {
	type result struct {
		run runs.Run
		ok  bool
	}
	beaten, err := writeResult(ctx, st.Store, func(tx *tx) (result, error) {
		stored, found, err := tx.run(key, beat.Now)
		switch {
		case err != nil:
			return result{}, err
		case !found:
			return result{}, runs.ErrNotFound
		}
		run, ok := stored.Beat(beat)
		if !ok {
			return result{stored, false}, nil
		}
		return result{run, true}, tx.putJSON(runKey(key), runRowOf(run))
	})
	return beaten.run, beaten.ok, err
}
