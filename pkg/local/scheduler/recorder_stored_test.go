package scheduler_test

import (
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// spoil puts a value in the place of a row, as another version or another program may,
// and restarts the recorder.
func (h *recorderHarness) spoil(key, value string) {
	h.t.Helper()
	if err := h.store.Close(); err != nil {
		h.t.Fatal(err)
	}
	db, err := bbolt.Open(h.path, 0o600, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		rows := tx.Bucket([]byte("syncplane"))
		if rows.Get([]byte(key)) == nil {
			h.t.Errorf("there is no row %q", key)
		}
		return rows.Put([]byte(key), []byte(value))
	})
	if err != nil {
		h.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.open()
}

// runRow returns the key of the row of a run.
func runRow(key runs.Key) string {
	return key.Workspace + "#" + key.SyncID + "\x00RUN#" + key.Time.Format(time.RFC3339)
}

// TestRecorderUnreadable checks that a sync, a run and a slot that cannot be read stop
// the runs of no other sync, neither before nor after a restart.
func TestRecorderUnreadable(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(h *recorderHarness, s syncs.Sync, open runs.Key){
		"a sync": func(h *recorderHarness, s syncs.Sync, _ runs.Key) { h.spoil(s.Workspace+"\x00SYNC#"+s.ID, `{"id":1}`) },
		"a run":  func(h *recorderHarness, _ syncs.Sync, open runs.Key) { h.spoil(runRow(open), `{"version":"x"}`) },
		"a run without a version": func(h *recorderHarness, _ syncs.Sync, open runs.Key) {
			h.spoil(runRow(open), `{}`)
		},
		"a slot": func(h *recorderHarness, s syncs.Sync, _ runs.Key) {
			h.spoil(s.Workspace+"\x00OPEN#"+s.ID, `{"open":"yesterday"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newRecorder(t)
			bad, good := h.sync(), h.sync()
			open, other := h.due(bad, false), h.due(good, false)
			h.step()
			h.want(open, "queued")
			spoil(h, bad, open)
			h.step() // reads the slots

			h.now = h.now.Add(runs.ClaimWithin) // the deadline of both
			h.step()
			h.want(other, "failed not_claimed")
			h.due(bad, false)
			next := h.due(good, false)
			h.step()
			h.want(next, "queued")
			h.restart()
			h.now = h.now.Add(runs.ClaimWithin)
			h.step()
			h.want(next, "failed not_claimed")
		})
	}
}

// TestRecorderAfterRetention checks that a sync runs again whose open run was stored so
// long ago that it has expired: the machine was off.
func TestRecorderAfterRetention(t *testing.T) {
	t.Parallel()
	h := newRecorder(t)
	s := h.sync()
	h.due(s, false)
	h.step()
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.now = h.now.Add(runs.DefaultRetention().Runs + time.Hour)
	h.step()
	next := h.due(s, false)
	h.step()
	h.want(next, "queued")
}

// TestRecorderClockSetBack checks that a run whose executor died while the clock was
// ahead continues with the corrected clock, without an event that wakes the recorder.
func TestRecorderClockSetBack(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		h := newRecorder(t)
		key := h.due(h.sync(), false)
		h.step()
		h.claim(key)
		h.step()
		h.now = h.now.Add(-2 * time.Hour)
		if restarts {
			h.restart()
		}
		if wait := h.step(); wait > time.Minute {
			t.Errorf("restarts %t: waits %v", restarts, wait)
		}
		h.now = h.now.Add(time.Minute)
		h.step()
		h.want(key, "queued")
		h.now = h.now.Add(runs.ClaimWithin)
		h.step()
		h.want(key, "failed not_claimed")
	}
}

// TestRecorderUnreadableLease checks that a lease that ends stops the runs of no other
// sync, although its sync cannot be read: the event that the run is queued again has the
// sync.
func TestRecorderUnreadableLease(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"no JSON": "{", "another type": `{"id":1}`, "no version": `{}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newRecorder(t)
			bad, good := h.sync(), h.sync()
			taken, other := h.due(bad, false), h.due(good, false)
			h.step()
			h.claim(taken)
			h.claim(other)
			h.step()
			h.spoil(bad.Workspace+"\x00SYNC#"+bad.ID, value)
			h.now = h.now.Add(time.Minute)
			h.step()
			h.want(other, "queued")
			h.due(bad, false)
			h.now = h.now.Add(runs.ClaimWithin)
			h.step()
			h.want(other, "failed not_claimed")
		})
	}
}
