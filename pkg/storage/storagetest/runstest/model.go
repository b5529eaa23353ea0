package runstest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// Backend is a storage backend under test. Runs and Syncs are the stores of the service
// under test. Truth reads the same data without injected faults.
type Backend struct {
	Runs  runs.Store
	Syncs syncs.Store
	Truth runs.Store
	Clock *Clock
}

// Clock is a fake time source.
type Clock struct{ now time.Time }

// NewClock returns a Clock at a fixed time.
func NewClock() *Clock {
	return &Clock{time.Date(2026, time.November, 24, 6, 0, 0, 0, time.UTC)}
}

// Now returns the time of c.
func (c *Clock) Now() time.Time { return c.now }

// Advance moves c forward by d.
func (c *Clock) Advance(d time.Duration) { c.now = c.now.Add(d) }

// Figures counts what models have done.
type Figures struct {
	Sequences  int64 // of operations
	Operations int64
	Runs       int64
	Claims     int64
	Reports    int64 // that were accepted
	Late       int64 // reports that were refused
	Lost       int64 // calls that were repeated, because the store was unavailable
}

// Model runs random operations on one sync in random interleavings, and checks the
// invariants after every commit. Executors crash, hang and report late; messages are
// duplicated, late and reordered.
type Model struct {
	t       *rapid.T
	backend Backend
	service *runs.Service
	syncs   *syncs.Service
	who     auth.Caller
	sync    syncs.Sync
	status  syncs.Status // that the sync must have
	deleted bool
	depth   int // of nested operations

	known     []runs.Key            // runs that a message or a response has named
	leases    []lease               // that executors hold, or held
	triggers  []promise             // the responses to triggers
	last      map[int64]runs.Run    // by time: each run as it was last observed
	started   map[int64][]time.Time // by time: the start of each attempt
	topFence  int64
	accepted  map[int64]int64 // by time: the fence of the accepted report
	processed int64
	keys      int
	Figures   Figures
}

type lease struct {
	key      runs.Key
	fence    int64
	executor string
}

type promise struct {
	key runs.Key
	at  time.Time
}

// Check returns the property for rapid.Check: it runs a Model, adds its figures to
// figures, and fails if an invariant does not hold.
func Check(open func(t *rapid.T) Backend, figures *Figures) func(t *rapid.T) {
	return func(t *rapid.T) {
		m := newModel(t, open(t))
		steps := rapid.IntRange(5, 60).Draw(t, "steps")
		for range steps {
			m.step()
			m.verify()
		}
		m.drain()
		figures.Sequences++
		figures.Operations += m.Figures.Operations
		figures.Runs += int64(len(m.last))
		figures.Claims += m.Figures.Claims
		figures.Reports += m.Figures.Reports
		figures.Late += m.Figures.Late
		figures.Lost += m.Figures.Lost
	}
}

func newModel(t *rapid.T, backend Backend) *Model {
	m := &Model{
		t: t, backend: backend,
		last: map[int64]runs.Run{}, started: map[int64][]time.Time{}, accepted: map[int64]int64{},
	}
	m.syncs = &syncs.Service{
		Store: backend.Syncs, Now: backend.Clock.Now,
		NewID: func() (string, error) { id, err := uuid.NewV7(); return id.String(), err },
	}
	m.who = auth.Caller{Workspace: "w-" + uuid.NewString(), Scopes: []string{
		string(auth.ReadSyncs), string(auth.WriteSyncs), string(auth.ExecuteRuns),
	}}
	m.status = syncs.Pending
	m.service = &runs.Service{
		Store: interleaved{m, backend.Runs}, Syncs: backend.Syncs, Now: backend.Clock.Now, Retention: runs.DefaultRetention(),
	}
	err := m.insist(func(ctx context.Context) error {
		var err error
		m.sync, err = m.syncs.Create(ctx, m.who, draft())
		return err
	})
	if err != nil {
		t.Fatalf("create a sync: %v", err)
	}
	return m
}

func draft() syncs.Draft {
	return syncs.Draft{
		SourceID: new(int64(1)), DestinationID: new(int64(2)), ModelID: new(int64(3)),
		ScheduleType: new("automated"), Configuration: new("{}"), StreamName: new("contacts"),
		SyncMode: new("full_refresh"), SyncInterval: new(int64(1)), SyncIntervalUnit: new("minutes"),
	}
}

// insist repeats an operation while it is unavailable or throttled, as a client does.
func (m *Model) insist(do func(ctx context.Context) error) error {
	for range 200 {
		err := do(context.Background())
		if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Throttled) {
			return err
		}
		m.Figures.Lost++
	}
	m.t.Fatalf("the store is still unavailable")
	return nil
}

// interleaved is a Store that sometimes runs other operations before a commit, so that
// the commit is based on outdated reads.
type interleaved struct {
	m *Model
	runs.Store
}

// Commit sometimes runs other operations first.
func (s interleaved) Commit(ctx context.Context, change runs.Change) error {
	s.m.interrupt()
	err := s.Store.Commit(ctx, change)
	s.m.observe()
	return err
}

// Heartbeat sometimes runs other operations first.
func (s interleaved) Heartbeat(ctx context.Context, key runs.Key, beat runs.Beat) (runs.Run, bool, error) {
	s.m.interrupt()
	run, ok, err := s.Store.Heartbeat(ctx, key, beat)
	s.m.observe()
	return run, ok, err
}

func (m *Model) interrupt() {
	if m.depth == 2 || rapid.IntRange(0, 9).Draw(m.t, "interrupt") < 8 {
		return
	}
	m.depth++
	for range rapid.IntRange(1, 4).Draw(m.t, "operations between") {
		m.step()
	}
	m.depth--
}

func (m *Model) step() {
	m.Figures.Operations++
	switch rapid.SampledFrom([]string{
		"advance", "lapse", "due", "due", "trigger", "claim", "claim", "claim", "heartbeat", "long", "finish", "finish",
		"execute", "execute", "execute",
		"cancel", "force", "expire", "enable", "stop", "delete",
	}).Draw(m.t, "operation") {
	case "advance":
		m.advance()
	case "lapse":
		m.lapse()
	case "due":
		m.due()
	case "trigger":
		m.trigger()
	case "claim":
		m.claim()
	case "execute":
		m.execute()
	case "heartbeat":
		m.heartbeat()
	case "long":
		m.backend.Clock.Advance(runs.MaxLease - 30*time.Minute)
		m.heartbeat()
	case "finish":
		m.finish()
	case "cancel":
		m.cancel(false)
	case "force":
		m.cancel(true)
	case "expire":
		m.expire()
	case "enable":
		m.enable()
	case "stop":
		m.stop()
	case "delete":
		if rapid.IntRange(0, 9).Draw(m.t, "really") == 0 {
			m.delete()
		}
	}
}

func (m *Model) advance() {
	m.backend.Clock.Advance(rapid.SampledFrom([]time.Duration{
		time.Millisecond, time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, time.Hour, 13 * time.Hour, 25 * time.Hour,
	}).Draw(m.t, "time"))
}

// lapse moves the time to the deadline of the open run, as if its executor had crashed.
func (m *Model) lapse() {
	for _, run := range m.all() {
		if run.DeadlineAt.After(m.backend.Clock.now) {
			m.backend.Clock.now = run.DeadlineAt
		}
	}
}

// due delivers a sync.due event: the current one, an old one or a duplicate.
func (m *Model) due() {
	key := runs.Key{Workspace: m.who.Workspace, SyncID: m.sync.ID}
	back := time.Duration(rapid.IntRange(0, 4).Draw(m.t, "back")) * time.Minute
	key.Time = m.backend.Clock.Now().Truncate(time.Minute).Add(-back)
	var run runs.Run
	var created bool
	err := m.insist(func(ctx context.Context) (err error) {
		run, created, err = m.service.Due(ctx, key, false)
		return err
	})
	m.fine(err)
	if created || !run.Time.IsZero() {
		m.know(key)
	}
}

func (m *Model) trigger() {
	in := runs.TriggerRequest{SyncID: m.sync.ID, Type: rapid.SampledFrom([]runs.Type{runs.General, runs.General, runs.Test}).Draw(m.t, "type"), Trigger: runs.ByAPI}
	at := m.backend.Clock.Now()
	fresh := true
	if rapid.Bool().Draw(m.t, "with a key") {
		if m.keys == 0 || rapid.Bool().Draw(m.t, "new key") {
			m.keys++
		} else {
			fresh = false
		}
		in.Type = runs.General
		in.IdempotencyKey = &syncs.IdempotencyKey{Key: fmt.Sprint("k", m.keys), Fingerprint: "f", Now: at, Expires: at.Add(24 * time.Hour)}
	}
	var out runs.Triggered
	err := m.insist(func(ctx context.Context) (err error) {
		out, err = m.service.Trigger(ctx, m.who, in)
		return err
	})
	m.fine(err)
	if err == nil {
		m.know(out.Run.Key)
		if fresh && !out.Replayed {
			m.triggers = append(m.triggers, promise{out.Run.Key, at})
		}
	}
}

func (m *Model) know(key runs.Key) { m.known = append(m.known, key) }

// some returns a run: often the open one, otherwise a known one, which may be old.
func (m *Model) some() (runs.Key, bool) {
	if rapid.IntRange(0, 2).Draw(m.t, "open") > 0 {
		slot, ok, err := m.backend.Truth.Slot(context.Background(), m.who.Workspace, m.sync.ID)
		if err != nil {
			m.t.Fatalf("read the slot: %v", err)
		}
		if ok {
			return runs.Key{Workspace: m.who.Workspace, SyncID: m.sync.ID, Time: slot.Open}, true
		}
	}
	if len(m.known) == 0 {
		return runs.Key{}, false
	}
	back := rapid.IntRange(0, min(5, len(m.known)-1)).Draw(m.t, "run")
	return m.known[len(m.known)-1-back], true
}

func (m *Model) claim() {
	key, ok := m.some()
	if rapid.IntRange(0, 9).Draw(m.t, "early") == 0 {
		key, ok = runs.Key{Workspace: m.who.Workspace, SyncID: m.sync.ID, Time: m.backend.Clock.Now().Truncate(time.Minute)}, true
	}
	if !ok {
		return
	}
	in := runs.ClaimRequest{
		Executor:     new(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(m.t, "executor")),
		LeaseSeconds: new(rapid.SampledFrom([]int64{30, 300, 43200}).Draw(m.t, "lease")),
	}
	var run runs.Run
	err := m.insist(func(ctx context.Context) (err error) {
		run, _, err = m.service.Claim(ctx, m.who, key, in)
		return err
	})
	m.fine(err)
	if err == nil {
		m.Figures.Claims++
		m.know(key)
		m.leases = append(m.leases, lease{key, run.Fence(), *in.Executor})
	}
}

// execute starts, claims and finishes a run, each of which another operation may prevent.
func (m *Model) execute() {
	if rapid.Bool().Draw(m.t, "by trigger") {
		m.trigger()
	} else {
		m.due()
	}
	m.claim()
	m.finish()
}

// held returns a lease that an executor was granted; it may have expired since.
func (m *Model) held() (lease, bool) {
	if len(m.leases) == 0 {
		return lease{}, false
	}
	back := max(rapid.IntRange(-4, min(4, len(m.leases)-1)).Draw(m.t, "lease"), 0) // often the last
	return m.leases[len(m.leases)-1-back], true
}

func (m *Model) heartbeat() {
	held, ok := m.held()
	if !ok {
		return
	}
	in := runs.HeartbeatRequest{Fence: &held.fence, Counters: runs.Counters{TotalRows: new(int64(7))}}
	if rapid.Bool().Draw(m.t, "other lease") {
		in.LeaseSeconds = new(int64(43200))
	}
	before := m.backend.Clock.Now()
	var run runs.Run
	err := m.insist(func(ctx context.Context) (err error) {
		run, err = m.service.Heartbeat(ctx, m.who, held.key, in)
		return err
	})
	m.fine(err)
	if err == nil && (run.Fence() != held.fence || !run.DeadlineAt.After(before)) {
		m.t.Fatalf("a heartbeat with fence %d extended %+v", held.fence, run)
	}
}

func (m *Model) finish() {
	held, ok := m.held()
	if !ok {
		return
	}
	in := runs.Report{
		Fence:    &held.fence,
		Status:   new(string(rapid.SampledFrom(runs.ReportStatuses()).Draw(m.t, "status"))),
		Counters: runs.Counters{TotalRows: new(int64(rapid.IntRange(0, 9).Draw(m.t, "rows")))},
	}
	var run runs.Run
	err := m.insist(func(ctx context.Context) (err error) {
		run, err = m.service.Finish(ctx, m.who, held.key, in)
		return err
	})
	m.fine(err)
	at := held.key.Time.Unix()
	if err != nil {
		if fault.Is(err, fault.Conflict) {
			m.Figures.Late++
			m.kept(held)
		}
		return
	}
	m.Figures.Reports++
	if run.Status != runs.Status(*in.Status) || run.Fence() != held.fence {
		m.t.Fatalf("the response to the report %+v is %+v", in, run)
	}
	if fence, done := m.accepted[at]; done && fence != held.fence {
		m.t.Fatalf("run %d accepted reports with the fences %d and %d", at, fence, held.fence)
	}
	m.accepted[at] = held.fence
}

// kept checks that a report that was refused is stored on the run, unless a later one
// replaced it.
func (m *Model) kept(held lease) {
	if m.depth > 0 {
		return // another report may have replaced it
	}
	run, err := m.backend.Truth.Run(context.Background(), held.key)
	if fault.Is(err, fault.NotFound) {
		return // expired
	}
	if err != nil || run.LateReport == nil {
		m.t.Fatalf("a late report is not stored: %+v, %v", run, err)
	}
}

func (m *Model) cancel(force bool) {
	key, ok := m.some()
	if !ok {
		return
	}
	err := m.insist(func(ctx context.Context) (err error) {
		_, _, err = m.service.Cancel(ctx, m.who, key, force)
		return err
	})
	m.fine(err)
}

func (m *Model) expire() {
	m.fine(m.insist(func(ctx context.Context) error {
		_, _, err := m.service.Expire(ctx, m.who.Workspace, m.sync.ID)
		return err
	}))
}

func (m *Model) stop() {
	m.fine(m.insist(func(ctx context.Context) error {
		return m.service.Stop(ctx, m.who.Workspace, m.sync.ID)
	}))
}

// enable pauses or resumes the sync. A pause is followed by a Stop, as its event
// causes.
func (m *Model) enable() {
	enable := rapid.IntRange(0, 3).Draw(m.t, "enable") > 0
	if m.deleted {
		return
	}
	change := m.syncs.Pause
	if enable {
		change = m.syncs.Resume
	}
	m.fine(m.insist(func(ctx context.Context) error {
		_, err := change(ctx, m.who, m.sync.ID, syncs.Precondition{})
		return err
	}))
	switch {
	case !enable:
		m.status = syncs.Disabled
		m.stop()
	case m.status == syncs.Disabled:
		m.status = syncs.Pending
	}
}

func (m *Model) delete() {
	m.fine(m.insist(func(ctx context.Context) error {
		return m.syncs.Delete(ctx, m.who, m.sync.ID, syncs.Precondition{})
	}))
	m.deleted = true
	m.stop()
}

// fine fails the test for an error that a client must not get. Conflict and NotFound are
// regular responses.
func (m *Model) fine(err error) {
	if err == nil {
		return
	}
	kind := fault.KindOf(err)
	if kind != fault.NotFound && kind != fault.Conflict {
		m.t.Fatalf("an operation ends with %v (%v)", err, kind)
	}
	if m.depth == 0 && isOvertaken(err) {
		m.t.Fatalf("an operation without a concurrent one ends with %v", err)
	}
}

func isOvertaken(err error) bool { return errorCode(err) == "overtaken" }

// observe reads all runs after a commit, checks the invariants between the states before
// and after it, and returns the runs.
func (m *Model) observe() []runs.Run {
	m.processed++
	all := m.all()
	now := m.backend.Clock.Now()
	for _, run := range all {
		at := run.Time.Unix()
		before, seen := m.last[at]
		m.last[at] = run
		if seen && before.Status.Final() {
			m.unchanged(before, run)
		}
		if seen && before.Status != run.Status && !before.Status.Allows(run.Status) && !m.skips(before, run) {
			m.t.Fatalf("run %d went from %s to %s", at, before.Status, run.Status)
		}
		if run.Status.Final() && !before.Status.Final() {
			m.ended(run)
		}
		m.bounded(run)
		if run.Attempt > before.Attempt {
			if run.Fence() <= m.topFence {
				m.t.Fatalf("the fences of a sync do not grow: %d after %d", run.Fence(), m.topFence)
			}
			m.topFence = run.Fence()
			m.started[at] = append(m.started[at], now)
		}
		if run.Attempt > runs.MaxAttempts {
			m.t.Fatalf("run %d was claimed %d times", at, run.Attempt)
		}
	}
	m.slotAgrees(all)
	return all
}

// ended applies the end of a run to the status that its sync must have.
func (m *Model) ended(run runs.Run) {
	switch {
	case m.status == syncs.Disabled || run.Type == runs.Test:
	case run.Status == runs.Success:
		m.status = syncs.Healthy
	case run.Status == runs.Failed && (run.ErrorCode != runs.CodeNotClaimed || m.status == syncs.Healthy):
		m.status = syncs.Failed
	}
}

// bounded checks that the deadlines of a run end it within the time limits.
func (m *Model) bounded(run runs.Run) {
	var limit time.Time
	switch {
	case run.Status.Final() || run.Status == runs.Pending:
		return
	case !run.CancelRequestedAt.IsZero():
		limit = run.CancelRequestedAt.Add(runs.MaxLease)
	case run.StartedAt.IsZero():
		limit = run.UpdatedAt.Add(runs.ClaimWithin)
	default:
		limit = run.StartedAt.Add(runs.RunWithin)
	}
	if ended, _ := run.At(limit); !ended.Status.Final() {
		m.t.Fatalf("run %+v does not end by %v", run, limit)
	}
}

// skips reports whether there may be states between two that were observed: the step of
// a nested operation is not always observed on its own.
func (m *Model) skips(before, after runs.Run) bool {
	return before.Status == runs.Pending && (after.Status == runs.InProgress || after.Status == runs.Failed) && after.Version > before.Version+1 ||
		before.Status == runs.InProgress && after.Version > before.Version+1
}

// unchanged checks that a final run does not change.
func (m *Model) unchanged(before, after runs.Run) {
	after.LateReport, after.Version, after.UpdatedAt, after.Transition = before.LateReport, before.Version, before.UpdatedAt, before.Transition
	if !same(before, after) {
		m.t.Fatalf("a final run changed\nfrom %+v\nto   %+v", before, after)
	}
}

func (m *Model) all() []runs.Run {
	all, more, err := m.backend.Truth.Runs(context.Background(), m.who.Workspace, m.sync.ID, time.Time{}, 1000)
	if err != nil || more {
		m.t.Fatalf("list the runs: more %v, %v", more, err)
	}
	return all
}

// slotAgrees checks that at most one run is open and at most one waits, and that the slot
// refers to them.
func (m *Model) slotAgrees(all []runs.Run) {
	var open, waiting []runs.Run
	for _, run := range all {
		switch run.Status {
		case runs.Queued, runs.InProgress:
			open = append(open, run)
		case runs.Pending:
			waiting = append(waiting, run)
		case runs.Success, runs.Failed, runs.Canceled, runs.Skipped:
		}
	}
	slot, ok, err := m.backend.Truth.Slot(context.Background(), m.who.Workspace, m.sync.ID)
	if err != nil {
		m.t.Fatalf("read the slot: %v", err)
	}
	agrees := len(open) <= 1 && len(waiting) <= 1 && ok == (len(open) == 1) && slot.Waiting.IsZero() == (len(waiting) == 0)
	if agrees && ok {
		agrees = slot.Open.Equal(open[0].Time) && (len(waiting) == 0 || slot.Waiting.Equal(waiting[0].Time))
	}
	if !agrees {
		m.t.Fatalf("the slot %+v (%v) does not agree with open %+v and waiting %+v", slot, ok, open, waiting)
	}
}

// verify checks the invariants that hold between two operations.
func (m *Model) verify() {
	m.agrees(m.observe())
	for _, p := range m.triggers {
		run, ok := m.last[p.key.Time.Unix()]
		attempts := m.started[p.key.Time.Unix()]
		executed := run.Reported || run.Status == runs.InProgress
		if ok && executed && attempts[len(attempts)-1].Before(p.at) {
			m.t.Fatalf("a trigger at %v got run %+v, whose last attempt started before it", p.at, run)
		}
	}
}

// agrees checks that the sync has the status that follows from its runs, and that no run
// waits for an executor while it is paused or deleted.
func (m *Model) agrees(all []runs.Run) {
	sync, err := m.backend.Syncs.Read(context.Background(), m.who.Workspace, m.sync.ID)
	switch {
	case err == nil && sync.Status != m.status:
		m.t.Fatalf("the sync is %s, want %s by its runs", sync.Status, m.status)
	case err != nil && (!m.deleted || !fault.Is(err, fault.NotFound)):
		if !fault.Is(err, fault.Unavailable) {
			m.t.Fatalf("read the sync: %v", err)
		}
	}
	if !m.deleted && m.status != syncs.Disabled {
		return
	}
	for _, run := range all {
		run, _ = run.At(m.backend.Clock.Now())
		if run.Status == runs.Pending || run.Status == runs.Queued && run.Attempt == 0 {
			m.t.Fatalf("a run waits though the sync is paused or deleted: %+v", run)
		}
	}
}

// drain checks that the deadlines end every run.
func (m *Model) drain() {
	m.depth = 2 // no nested operations
	limit := m.backend.Clock.Now().Add(2*(runs.RunWithin+runs.ClaimWithin) + time.Second)
	for {
		var open runs.Run
		var ok bool
		m.fine(m.insist(func(ctx context.Context) (err error) {
			open, ok, err = m.service.Expire(ctx, m.who.Workspace, m.sync.ID)
			return err
		}))
		m.verify()
		if !ok {
			return
		}
		if open.DeadlineAt.After(limit) {
			m.t.Fatalf("a run is open for too long: %+v", open)
		}
		m.backend.Clock.now = slices.MaxFunc([]time.Time{open.DeadlineAt, m.backend.Clock.now}, time.Time.Compare)
	}
}
