// Package runstest holds the conformance tests of package runs over a storage backend:
// Run tests the promises of runs.Store one by one, and Check those of runs.Service with
// random operations.
package runstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
)

// start returns the time at which the tests begin.
func start() time.Time { return time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC) }

func newKey(tb testing.TB) runs.Key {
	tb.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		tb.Fatal(err)
	}
	return runs.Key{Workspace: "acme-" + id.String(), SyncID: id.String(), Time: start()}
}

// queued returns a run that waits for an executor.
func queued(key runs.Key) runs.Run {
	return runs.Run{
		Key: key, Version: 1, Status: runs.Queued, Trigger: runs.BySchedule, Type: runs.General,
		DeadlineAt: start().Add(time.Hour), CreatedAt: start().Add(123 * time.Millisecond), UpdatedAt: start(),
		ExpiresAt: start().Add(30 * 24 * time.Hour), Transition: "queued",
	}
}

// inProgress returns a leased run with every field set that can be.
func inProgress(key runs.Key) runs.Run {
	r := queued(key)
	r.Status, r.Trigger, r.Type, r.Late, r.Attempt = runs.InProgress, runs.ByAPI, runs.Test, true, 1
	r.Executor, r.Lease = "worker-7", 5*time.Minute
	r.DeadlineAt, r.EndBy = start().Add(5*time.Minute), start().Add(24*time.Hour)
	r.StartedAt = start().Add(time.Millisecond)
	r.Counters = runs.Counters{
		TotalQueryRows: new(int64(10)), TotalRows: new(int64(0)), SkippedRows: new(int64(3)),
		SuccessfulRows: new(int64(1<<53 - 1)), FailedRows: new(int64(1)),
	}
	r.Transition = "started"
	return r
}

func ended(r runs.Run) runs.Run {
	r.Version++
	r.Status, r.FinishedAt, r.DeadlineAt, r.Reported, r.HasRecords = runs.Failed, start().Add(time.Minute), time.Time{}, true, true
	r.Error, r.ErrorCode, r.LogURL = "no route to host", "unreachable", "https://logs.example.com/1"
	r.CancelRequestedAt = start().Add(30 * time.Second)
	r.LateReport = &runs.LateReport{
		Fence: 1, Status: runs.Success, ReceivedAt: start().Add(time.Minute), Counters: runs.Counters{TotalRows: new(int64(5))},
		Error: "e", ErrorCode: "c", LogURL: "http://l.example.com",
	}
	r.Transition = "failed"
	return r
}

func openSlot(r runs.Run) *runs.SlotChange {
	return &runs.SlotChange{After: &runs.Slot{Workspace: r.Workspace, SyncID: r.SyncID, Version: 1, Open: r.Time}}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// wantKind checks the kind of an error.
func wantKind(tb testing.TB, err error, want fault.Kind) {
	tb.Helper()
	if !fault.Is(err, want) {
		tb.Errorf("got %v, want kind %v", err, want)
	}
}

func wantRun(tb testing.TB, b Backend, want runs.Run) {
	tb.Helper()
	got, err := b.Runs.Run(tb.Context(), want.Key)
	must(tb, err)
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Error(diff)
	}
}

// wantNoRun checks that no run exists at a key.
func wantNoRun(tb testing.TB, b Backend, key runs.Key) {
	tb.Helper()
	_, err := b.Runs.Run(tb.Context(), key)
	wantKind(tb, err, fault.NotFound)
}

// Run tests the promises of runs.Store.
func Run(t *testing.T, open func(t *testing.T) Backend) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b Backend)
	}{
		{"a run is read as it was committed", testRead},
		{"a version is written only over the one before", testVersions},
		{"a change is atomic", testAtomic},
		{"a slot is replaced only if it has not changed", testSlots},
		{"the slots of a workspace are listed by sync", testListSlots},
		{"runs are listed newest first", testList},
		{"an expired run does not exist", testExpiry},
		{"an idempotency key replays its answer until it expires", testOnce},
		{"a heartbeat extends only a live lease", testHeartbeat},
		{"the status of a sync changes with its run", testSync},
		{"no run is executed after a newer one", testFencesGrow},
		{"a run that is not recorded is claimed at a time of the schedule", testClaimAhead},
		{"a run that has expired does not stop its sync", testLost},
		{"runs continue with a clock that was set back", testSetBack},
		{"a clock that was far ahead leaves no run without its slot", testFarAhead},
		{"a run does not end before it starts", testSkew},
		{"a clock that is not set ends no lease", testUnset},
		{"a cancelled context is Unavailable", testCancelled},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

func testRead(t *testing.T, b Backend) {
	ctx, key := t.Context(), newKey(t)
	wantNoRun(t, b, key)
	r := queued(key)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}, Slot: openSlot(r)}))
	wantRun(t, b, r)
	claimed := inProgress(key)
	claimed.Version = 2
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{claimed}}))
	wantRun(t, b, claimed)
	done := ended(claimed)
	records := []runs.Record{{PrimaryKey: "7", Action: "update", Error: "invalid email"}, {PrimaryKey: "é"}}
	slot, ok, err := b.Runs.Slot(ctx, key.Workspace, key.SyncID)
	if err != nil || !ok {
		t.Fatalf("got %v, %v", ok, err)
	}
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{done}, Slot: &runs.SlotChange{Before: &slot}, Records: records}))
	wantRun(t, b, done)
	got, err := b.Runs.Records(ctx, key)
	must(t, err)
	if diff := cmp.Diff(records, got); diff != "" {
		t.Error(diff)
	}
	other := key
	other.Time = key.Time.Add(time.Second)
	if got, err := b.Runs.Records(ctx, other); err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
	other.Workspace += "x"
	other.Time = key.Time
	wantNoRun(t, b, other)
	all, err := b.Runs.Batch(ctx, []runs.Key{key, other})
	must(t, err)
	if diff := cmp.Diff([]runs.Run{done}, all); diff != "" {
		t.Error(diff)
	}
}

func testVersions(t *testing.T, b Backend) {
	ctx, key := t.Context(), newKey(t)
	second := inProgress(key)
	second.Version = 2
	wantKind(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{second}}), fault.Conflict)
	wantNoRun(t, b, key)
	first := queued(key)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{first}}))
	other := first
	other.Trigger = runs.ByAPI
	wantKind(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{other}}), fault.Conflict)
	wantRun(t, b, first)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{second}}))
	late := second
	late.Executor = "another"
	wantKind(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{late}}), fault.Conflict)
	wantRun(t, b, second)
}

// testAtomic violates each precondition of a change in turn.
func testAtomic(t *testing.T, b Backend) {
	ctx := t.Context()
	once := func(at time.Time) *syncs.IdempotencyKey {
		return &syncs.IdempotencyKey{Key: "k", Fingerprint: "f", Now: at, Expires: at.Add(time.Hour)}
	}
	for name, violate := range map[string]func(t *testing.T, change *runs.Change){
		"the run exists": func(t *testing.T, change *runs.Change) {
			must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{change.Runs[1]}}))
		},
		"the slot exists": func(t *testing.T, change *runs.Change) {
			r := queued(change.Runs[0].Key)
			r.Time = r.Time.Add(time.Hour)
			must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}, Slot: openSlot(r)}))
		},
		"the sync has changed": func(_ *testing.T, change *runs.Change) { change.Sync.Version++ },
		"the key is used": func(t *testing.T, change *runs.Change) {
			r := queued(change.Runs[0].Key)
			r.Time = r.Time.Add(2 * time.Hour)
			must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}, IdempotencyKey: change.IdempotencyKey}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			sync := storagetest.NewSync(t)
			must(t, b.Syncs.Create(ctx, sync))
			key := runs.Key{Workspace: sync.Workspace, SyncID: sync.ID, Time: start()}
			next := key
			next.Time = start().Add(time.Minute)
			changed := sync
			changed.Version, changed.Status = 2, syncs.Healthy
			change := runs.Change{
				Runs: []runs.Run{queued(key), queued(next)}, Slot: openSlot(queued(key)), Sync: &changed,
				Records: []runs.Record{{PrimaryKey: "1"}}, IdempotencyKey: once(start()), Created: true,
			}
			violate(t, &change)
			wantKind(t, b.Runs.Commit(ctx, change), fault.Conflict)
			wantNoRun(t, b, key)
			if slot, ok, err := b.Runs.Slot(ctx, key.Workspace, key.SyncID); err != nil || ok && slot.Open.Equal(key.Time) {
				t.Errorf("got the slot %+v, %v", slot, err)
			}
			if got, err := b.Syncs.Read(ctx, sync.Workspace, sync.ID); err != nil || got != sync {
				t.Errorf("got the sync %+v, %v", got, err)
			}
			if run, _, ok, err := b.Runs.Replay(ctx, key.Workspace, *once(start())); err != nil || ok && run.Time.Equal(key.Time) {
				t.Errorf("the key replays %+v, %v", run, err)
			}
			if got, err := b.Runs.Records(ctx, key); err != nil || len(got) > 0 {
				t.Errorf("got the rows %v, %v", got, err)
			}
		})
	}
}

func testSlots(t *testing.T, b Backend) {
	ctx, key := t.Context(), newKey(t)
	first := queued(key)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{first}, Slot: openSlot(first)}))
	read := func() runs.Slot {
		t.Helper()
		slot, ok, err := b.Runs.Slot(ctx, key.Workspace, key.SyncID)
		if err != nil || !ok {
			t.Fatalf("got %v, %v", ok, err)
		}
		return slot
	}
	old := read()
	with := old
	with.Version++
	with.Waiting = key.Time.Add(time.Minute)
	waiting := queued(key)
	waiting.Time = with.Waiting
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{waiting}, Slot: &runs.SlotChange{Before: &old, After: &with}}))
	if diff := cmp.Diff(with, read()); diff != "" {
		t.Error(diff)
	}
	done := ended(first)
	wantKind(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{done}, Slot: &runs.SlotChange{Before: &old}}), fault.Conflict)
	wantRun(t, b, first)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{done}, Slot: &runs.SlotChange{Before: &with}}))
	if _, ok, err := b.Runs.Slot(ctx, key.Workspace, key.SyncID); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	// A slot that was freed and taken again has the same version as before.
	third := queued(key)
	third.Time = key.Time.Add(time.Hour)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{third}, Slot: openSlot(third)}))
	fourth := queued(key)
	fourth.Time = key.Time.Add(2 * time.Hour)
	wantKind(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{fourth}, Slot: &runs.SlotChange{Before: &old, After: &with}}), fault.Conflict)
	wantNoRun(t, b, fourth.Key)
}

func testListSlots(t *testing.T, b Backend) {
	ctx, key := t.Context(), newKey(t)
	var want []string
	for range 5 {
		r := queued(newKey(t))
		r.Workspace = key.Workspace
		must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}, Slot: openSlot(r)}))
		want = append(want, r.SyncID)
	}
	other := queued(newKey(t))
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{other}, Slot: openSlot(other)}))
	var got []string
	for after, more := "", true; more; {
		var slots []runs.Slot
		var err error
		slots, more, err = b.Runs.Slots(ctx, key.Workspace, after, 2)
		must(t, err)
		for _, slot := range slots {
			got = append(got, slot.SyncID)
			after = slot.SyncID
		}
		if more && len(slots) == 0 {
			t.Fatal("an empty page has a next one")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func testList(t *testing.T, b Backend) {
	ctx, key := t.Context(), newKey(t)
	var want []string
	for i := range 5 {
		r := queued(key)
		r.Time = key.Time.Add(time.Duration(i) * time.Second)
		must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}}))
		want = append([]string{r.Time.String()}, want...)
	}
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{queued(newKey(t))}}))
	var got []string
	for before, more := (time.Time{}), true; more; {
		var page []runs.Run
		var err error
		page, more, err = b.Runs.Runs(ctx, key.Workspace, key.SyncID, before, 2)
		must(t, err)
		if len(page) > 2 || more && len(page) == 0 {
			t.Fatalf("got a page of %d, more %v", len(page), more)
		}
		for _, r := range page {
			got = append(got, r.Time.String())
			before = r.Time
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func testExpiry(t *testing.T, b Backend) {
	ctx, key := t.Context(), newKey(t)
	r := ended(inProgress(key))
	r.Version = 1
	r.ExpiresAt = start().Add(time.Minute)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}}))
	b.Clock.Advance(time.Minute - time.Millisecond)
	wantRun(t, b, r)
	b.Clock.Advance(time.Millisecond)
	wantNoRun(t, b, key)
	if list, _, err := b.Runs.Runs(ctx, key.Workspace, key.SyncID, time.Time{}, 10); err != nil || len(list) > 0 {
		t.Errorf("got %v, %v", list, err)
	}
	if list, err := b.Runs.Batch(ctx, []runs.Key{key}); err != nil || len(list) > 0 {
		t.Errorf("got %v, %v", list, err)
	}
	_, _, err := b.Runs.Heartbeat(ctx, key, runs.Beat{Fence: r.Fence() + 1, Lease: time.Minute, Now: b.Clock.Now()})
	wantKind(t, err, fault.NotFound)
	next := queued(key)
	next.ExpiresAt = b.Clock.Now().Add(time.Minute)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{next}}))
	wantRun(t, b, next)

	b.Clock.Advance(time.Hour) // it is open, so it has not expired
	wantRun(t, b, next)
	if err := b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{queued(key)}}); !errors.Is(err, runs.ErrStale) {
		t.Errorf("a run in place of one that is open: got %v", err)
	}
}

func testOnce(t *testing.T, b Backend) {
	ctx, key := t.Context(), newKey(t)
	at := start()
	once := syncs.IdempotencyKey{Key: "a key", Fingerprint: "f", Now: at, Expires: at.Add(time.Hour)}
	if _, _, ok, err := b.Runs.Replay(ctx, key.Workspace, once); ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	first := queued(key)
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{first}, IdempotencyKey: &once, Created: true}))
	claimed := inProgress(key)
	claimed.Version = 2
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{claimed}}))
	got, created, ok, err := b.Runs.Replay(ctx, key.Workspace, once)
	must(t, err)
	got.Transition = first.Transition // not stored, as a replay causes no event
	if diff := cmp.Diff(first, got); diff != "" || !created || !ok {
		t.Errorf("created %v, ok %v: %s", created, ok, diff)
	}
	other := once
	other.Fingerprint = "g"
	_, _, _, err = b.Runs.Replay(ctx, key.Workspace, other)
	wantKind(t, err, fault.Invalid)
	if _, _, ok, err := b.Runs.Replay(ctx, key.Workspace+"x", once); ok || err != nil {
		t.Errorf("another workspace: got %v, %v", ok, err)
	}
	// A key that a create has used belongs to another request.
	sync := storagetest.NewSync(t)
	sync.Workspace = key.Workspace
	taken := syncs.IdempotencyKey{Key: "of a create", Fingerprint: "c", Now: at, Expires: at.Add(time.Hour)}
	_, err = b.Syncs.CreateOnce(ctx, sync, taken)
	must(t, err)
	taken.Fingerprint = "f"
	_, _, _, err = b.Runs.Replay(ctx, key.Workspace, taken)
	wantKind(t, err, fault.Invalid)
	// An answer without a new run.
	answer := claimed
	second := once
	second.Key = "another key"
	must(t, b.Runs.Commit(ctx, runs.Change{IdempotencyKey: &second, Answer: &answer}))
	if got, created, ok, err := b.Runs.Replay(ctx, key.Workspace, second); err != nil || !ok || created || got.Status != runs.InProgress {
		t.Errorf("got %+v, created %v, ok %v, %v", got, created, ok, err)
	}
	// An expired key.
	once.Now = once.Expires
	if _, _, ok, err := b.Runs.Replay(ctx, key.Workspace, once); ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	once.Expires = once.Now.Add(time.Hour)
	must(t, b.Runs.Commit(ctx, runs.Change{IdempotencyKey: &once, Answer: &answer}))
}

func testHeartbeat(t *testing.T, b Backend) {
	ctx := t.Context()
	now := start().Add(time.Minute)
	for name, test := range map[string]struct {
		edit func(r *runs.Run)
		beat runs.Beat
		ok   bool
		want func(r *runs.Run)
	}{
		"alive": {
			func(*runs.Run) {},
			runs.Beat{Lease: 10 * time.Minute, Counters: runs.Counters{TotalRows: new(int64(9))}},
			true,
			func(r *runs.Run) {
				r.Lease, r.DeadlineAt, r.TotalRows = 10*time.Minute, now.Add(10*time.Minute), new(int64(9))
			},
		},
		"with the lease of the claim": {
			func(*runs.Run) {},
			runs.Beat{},
			true,
			func(r *runs.Run) { r.DeadlineAt = now.Add(5 * time.Minute) },
		},
		"another attempt": {func(r *runs.Run) { r.Attempt = 2 }, runs.Beat{Lease: time.Minute}, false, nil},
		"at the deadline": {func(r *runs.Run) { r.DeadlineAt = now }, runs.Beat{Lease: time.Minute}, false, nil},
		"just before the deadline": {
			func(r *runs.Run) { r.DeadlineAt = now.Add(time.Millisecond) },
			runs.Beat{Lease: time.Minute},
			true,
			func(r *runs.Run) { r.Lease, r.DeadlineAt = time.Minute, now.Add(time.Minute) },
		},
		"queued":             {func(r *runs.Run) { r.Status = runs.Queued }, runs.Beat{Lease: time.Minute}, false, nil},
		"ended":              {func(r *runs.Run) { r.Status = runs.Success }, runs.Beat{Lease: time.Minute}, false, nil},
		"a cancel requested": {func(r *runs.Run) { r.CancelRequestedAt = now }, runs.Beat{Lease: time.Minute}, false, nil},
		"beyond its end":     {func(r *runs.Run) { r.EndBy = now.Add(time.Minute - time.Millisecond) }, runs.Beat{Lease: time.Minute}, false, nil},
		"until its end": {
			func(r *runs.Run) { r.EndBy = now.Add(time.Minute) },
			runs.Beat{Lease: time.Minute},
			true,
			func(r *runs.Run) { r.Lease, r.DeadlineAt = time.Minute, now.Add(time.Minute) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := inProgress(newKey(t))
			test.edit(&r)
			must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}}))
			test.beat.Fence, test.beat.Now = r.Time.Unix()*1000+1, now
			got, ok, err := b.Runs.Heartbeat(ctx, r.Key, test.beat)
			must(t, err)
			want := r
			if test.ok {
				want.Version, want.UpdatedAt, want.Transition = 2, now, ""
				test.want(&want)
			}
			if diff := cmp.Diff(want, got); diff != "" || ok != test.ok {
				t.Errorf("ok %v: %s", ok, diff)
			}
			wantRun(t, b, want)
		})
	}
	_, _, err := b.Runs.Heartbeat(ctx, newKey(t), runs.Beat{Fence: start().Unix()*1000 + 1, Lease: time.Minute, Now: now})
	wantKind(t, err, fault.NotFound)
}

func testSync(t *testing.T, b Backend) {
	ctx, sync := t.Context(), storagetest.NewSync(t)
	must(t, b.Syncs.Create(ctx, sync))
	r := queued(runs.Key{Workspace: sync.Workspace, SyncID: sync.ID, Time: start()})
	changed := sync
	changed.Version, changed.Status = 2, syncs.Failed
	must(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{r}, Sync: &changed}))
	if got, err := b.Syncs.Read(ctx, sync.Workspace, sync.ID); err != nil || got != changed {
		t.Errorf("got %+v, %v", got, err)
	}
	must(t, b.Syncs.Delete(ctx, changed))
	again := changed
	again.Version = 3
	next := queued(r.Key)
	next.Time = start().Add(time.Second)
	wantKind(t, b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{next}, Sync: &again}), fault.Conflict)
	wantNoRun(t, b, next.Key)
}

func testCancelled(t *testing.T, b Backend) {
	key := newKey(t)
	r := inProgress(key)
	once := storagetest.NewIdempotencyKey("k")
	once.Now, once.Expires = start(), start().Add(time.Hour)
	must(t, b.Runs.Commit(t.Context(), runs.Change{Runs: []runs.Run{r}, Slot: openSlot(r), IdempotencyKey: &once}))
	next := ended(r)
	closed := &runs.SlotChange{Before: openSlot(r).After}
	storagetest.WantRefused(t, map[string]func(ctx context.Context) error{
		"Run":   func(ctx context.Context) error { _, err := b.Runs.Run(ctx, key); return err },
		"Batch": func(ctx context.Context) error { _, err := b.Runs.Batch(ctx, []runs.Key{key}); return err },
		"Runs": func(ctx context.Context) error {
			_, _, err := b.Runs.Runs(ctx, key.Workspace, key.SyncID, time.Time{}, 10)
			return err
		},
		"Slot":    func(ctx context.Context) error { _, _, err := b.Runs.Slot(ctx, key.Workspace, key.SyncID); return err },
		"Slots":   func(ctx context.Context) error { _, _, err := b.Runs.Slots(ctx, key.Workspace, "", 10); return err },
		"Records": func(ctx context.Context) error { _, err := b.Runs.Records(ctx, key); return err },
		"Replay":  func(ctx context.Context) error { _, _, _, err := b.Runs.Replay(ctx, key.Workspace, once); return err },
		"Commit of a run": func(ctx context.Context) error {
			return b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{next}})
		},
		"Commit of a run and its slot": func(ctx context.Context) error {
			return b.Runs.Commit(ctx, runs.Change{Runs: []runs.Run{next}, Slot: closed})
		},
		"Heartbeat": func(ctx context.Context) error {
			_, _, err := b.Runs.Heartbeat(ctx, key, runs.Beat{Fence: r.Fence(), Lease: 10 * time.Minute, Now: start()})
			return err
		},
	})
	wantRun(t, b, r)
	slot, ok, err := b.Runs.Slot(t.Context(), key.Workspace, key.SyncID)
	if diff := cmp.Diff(*openSlot(r).After, slot); diff != "" || !ok || err != nil {
		t.Errorf("the slot: %t, %v, %s", ok, err, diff)
	}
}
