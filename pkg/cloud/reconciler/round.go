package reconciler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/syncs"
)

// The bounds of a Round. Our own choices; docs/benchmarks.md shows the arithmetic.
const (
	maxWindow = 500_000          // schedules in one window, some 130 bytes each
	minWindow = 1000             //
	fullBelow = 50_000           // a stack with fewer schedules compares all in full
	fullDays  = 28               // in a larger one, each sync is compared in full once in so many days
	settled   = 25 * time.Hour   // a schedule that changed so long after its sync was not changed by the relay
	stopAhead = 20 * time.Second // of the deadline, to store the checkpoint; but at most a fifth of the time
	listShare = 0.4              // of the time for a window, in which its schedules are listed

	// timeDigits is the length of the time in the text of a UUID of version 7.
	timeDigits = 13
)

// RangeTable lists the syncs of a stack by their IDs.
type RangeTable interface {
	// Between yields every sync with an ID from from on and before to, in any order;
	// without an end if to is "". It ends after the first error. If rows cannot be
	// read, the last error is a syncs.ErrUnreadable. The fields that do not decide
	// when a sync runs may be empty.
	Between(ctx context.Context, from, to string) iter.Seq2[syncs.Sync, error]
}

// Checkpoint is how far a Round is. Every ID before Position has been reconciled.
type Checkpoint struct {
	Version  int64 // increases with each Save
	Running  bool  // a round has started and has not ended
	Position string
	Window   int // schedules in the next window at most; 0 is the default
}

// Checkpoints stores the checkpoint of a stack.
type Checkpoints interface {
	// LoadCheckpoint returns the stored checkpoint, the zero Checkpoint if there is
	// none.
	LoadCheckpoint(ctx context.Context) (Checkpoint, error)

	// SaveCheckpoint stores c if the stored one has the version before that of c.
	// Otherwise it returns ErrOvertaken.
	SaveCheckpoint(ctx context.Context, c Checkpoint) error
}

// ErrOvertaken is returned if another Round has stored a checkpoint.
var ErrOvertaken = errors.New("another round has continued from the same checkpoint")

// Round reconciles the schedules of all syncs in windows of IDs, each with one pass over
// the pages of ListSchedules and one over the table. It stores a checkpoint after each
// window, and ends before the deadline of its context; the next call continues there.
//
// A page shows whether a schedule exists, whether it is enabled and when it was changed.
// Round compares a sync in full, with GetSchedule, if that does not match, if the
// schedule was changed before the sync or long after it, and once in fullDays days in
// any case. Every change is decided by Reconcile on what is stored then, so that
// concurrent changes and concurrent rounds are harmless.
type Round struct {
	Reconciler  *Reconciler
	Table       RangeTable
	Checkpoints Checkpoints
	Window      int // schedules in one window at most; 0 is the default
	Full        int // with fewer schedules all are compared in full; 0 is the default
}

// Run begins a round, or continues with the one that has not ended. With resume it only
// does the latter. onRepair is called with the ID of each sync whose schedules
// differed, never concurrently. The report counts what this call has done; Unfinished
// is set if the round has not ended, and Ended if it has ended in this call. If another
// call has stored a checkpoint in the meantime, this one leaves the rest to it.
func (r *Round) Run(ctx context.Context, resume bool, onRepair func(id string)) (Report, error) {
	report, err := r.run(ctx, resume, onRepair)
	if errors.Is(err, ErrOvertaken) {
		report.Unfinished, err = true, nil
	}
	return report, err
}

func (r *Round) run(ctx context.Context, resume bool, onRepair func(id string)) (Report, error) {
	var report Report
	c, err := r.Checkpoints.LoadCheckpoint(ctx)
	if err != nil || resume && !c.Running {
		return report, err
	}
	if !c.Running {
		c.Running, c.Position = true, ""
		if err := r.save(ctx, &c); err != nil {
			return report, err
		}
	}
	working := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		working, cancel = context.WithDeadline(ctx, deadline.Add(-min(stopAhead, time.Until(deadline)/5)))
		defer cancel()
	}
	var unreadable []error
	for c.Running {
		w, err := r.window(working, c, &report, onRepair)
		switch {
		case errors.Is(err, syncs.ErrUnreadable): // the others of the window are done
			unreadable = append(unreadable, err)
		case err != nil && working.Err() != nil && ctx.Err() == nil: // out of time
			report.Unfinished = true
			c.Window = max(minWindow, w.count/2) // so that the next window fits
			return report, errors.Join(append(unreadable, r.save(ctx, &c))...)
		case err != nil:
			return report, errors.Join(append(unreadable, err)...)
		}
		c.Position, c.Running = w.to, w.to != ""
		c.Window = min(r.most(), 2*c.Window)
		if err := r.save(ctx, &c); err != nil {
			return report, errors.Join(append(unreadable, err)...)
		}
	}
	report.Ended = true
	return report, errors.Join(unreadable...)
}

func (r *Round) save(ctx context.Context, c *Checkpoint) error {
	c.Version++
	return r.Checkpoints.SaveCheckpoint(ctx, *c)
}

func (r *Round) most() int {
	if r.Window > 0 {
		return r.Window
	}
	return maxWindow
}

// window is a range of IDs with the schedules in it.
type window struct {
	from, to string // IDs from from on and before to; "" has no bound
	count    int    // schedules
	all      map[string]*summary
	whole    bool // the window holds all schedules of the stack
}

// summary is what ListSchedules shows of the schedules of one sync.
type summary struct {
	name    string // of one of them
	states  [2]types.ScheduleState
	changed [2]time.Time // zero if it is unknown
	seen    bool         // the sync exists
}

// window reconciles the next window after a checkpoint.
func (r *Round) window(ctx context.Context, c Checkpoint, report *Report, onRepair func(id string)) (window, error) {
	most := r.most()
	if c.Window > 0 {
		most = min(most, c.Window)
	}
	w, err := r.list(ctx, c.Position, most)
	if err != nil {
		return w, err
	}
	full := w.whole && w.count < cmp.Or(r.Full, fullBelow)
	var mu sync.Mutex
	var unreadable []error // these do not stop the others
	handle := func(workspace, id string, counter *int) func() error {
		return func() error {
			repaired, err := r.Reconciler.Reconcile(ctx, workspace, id)
			mu.Lock()
			defer mu.Unlock()
			if repaired {
				*counter++
				onRepair(id)
			}
			if errors.Is(err, syncs.ErrUnreadable) {
				unreadable = append(unreadable, err)
				return nil
			}
			return err
		}
	}
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrent)
	var failure error
	for s, err := range r.Table.Between(grouped, w.from, w.to) {
		if errors.Is(err, syncs.ErrUnreadable) {
			mu.Lock()
			unreadable = append(unreadable, err)
			mu.Unlock()
			continue
		}
		if err != nil {
			failure = err
			break
		}
		report.Syncs++
		known := w.all[s.ID]
		if known != nil {
			known.seen = true
		}
		if full || r.suspicious(&s, known) {
			group.Go(handle(s.Workspace, s.ID, &report.Repaired))
		}
	}
	if err := group.Wait(); err != nil {
		return w, err
	}
	if failure != nil {
		return w, failure
	}
	if err := r.removeOrphans(ctx, w, report, handle); err != nil {
		return w, err
	}
	return w, errors.Join(unreadable...)
}

// removeOrphans reconciles the IDs that have schedules and no sync in the table. A sync
// of which that is not true any more keeps its schedules.
func (r *Round) removeOrphans(ctx context.Context, w window, report *Report, handle func(workspace, id string, counter *int) func() error) error {
	group, grouped := errgroup.WithContext(ctx)
	group.SetLimit(maxConcurrent)
	for id, known := range w.all {
		if known.seen {
			continue
		}
		group.Go(func() error {
			workspace, err := r.Reconciler.workspaceOf(grouped, known.name)
			if err != nil {
				return err
			}
			return handle(workspace, id, &report.Removed)()
		})
	}
	return group.Wait()
}

// suspicious reports whether the schedules of a sync must be compared in full.
func (r *Round) suspicious(s *syncs.Sync, known *summary) bool {
	when, err := s.Schedule()
	if err != nil || known == nil {
		return true // Reconcile reports the error
	}
	state := types.ScheduleStateEnabled
	if s.Status == syncs.Disabled {
		state = types.ScheduleStateDisabled
	}
	for i := range known.states {
		switch wanted := i < len(Expressions(when)); {
		case wanted != (known.states[i] != ""):
			return true
		case !wanted:
		case known.states[i] != state, known.changed[i].IsZero(),
			known.changed[i].Before(s.ScheduledAt.Truncate(time.Second)), known.changed[i].After(s.ScheduledAt.Add(settled)):
			return true
		}
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(s.ID))
	day := r.Reconciler.Now().Unix() / int64(24*time.Hour/time.Second)
	return int64(hash.Sum32()%fullDays) == day%fullDays
}

// list lists the schedules of the next window: those of up to about most, whose IDs are
// from position on. It lists the IDs with a common beginning at a time.
func (r *Round) list(ctx context.Context, position string, most int) (window, error) {
	w := window{from: position, all: map[string]*summary{}}
	soon := ctx
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		left := time.Until(deadline)
		soon, cancel = context.WithTimeout(ctx, time.Duration(float64(left)*listShare))
		defer cancel()
	}
	for beginning := position; ; {
		last, ascending, complete, err := r.listBeginning(ctx, soon, beginning, most, &w)
		switch {
		case err != nil:
			return w, err
		case complete:
			w.whole = beginning == ""
			if beginning = following(beginning); beginning == "" || w.count >= most || soon.Err() != nil {
				w.to = beginning
				return w, nil
			}
		case ascending && w.cut(last, beginning):
			return w, nil
		case len(w.all) > 0 && w.drop(beginning):
			w.to = beginning
			return w, nil
		default: // too many with this beginning, in no order
			beginning = deeper(beginning)
			w.from, w.count, w.all = beginning, 0, map[string]*summary{}
		}
	}
}

// listBeginning adds the schedules of the IDs with a beginning to w. complete is false if
// there are more than w may hold or than there is time for; last is then the last ID.
// ascending reports whether the IDs were in order.
func (r *Round) listBeginning(ctx, soon context.Context, beginning string, most int, w *window) (last string, ascending, complete bool, err error) {
	ascending = true
	in := &scheduler.ListSchedulesInput{GroupName: &r.Reconciler.Group}
	if beginning != "" {
		in.NamePrefix = aws.String(prefix + beginning)
	}
	pages := scheduler.NewListSchedulesPaginator(r.Reconciler.Client, in)
	for pages.HasMorePages() {
		if enough := w.count >= most || soon.Err() != nil; enough && last != "" {
			return last, ascending, false, nil
		}
		if err := r.Reconciler.wait(ctx, listCost); err != nil {
			return "", false, false, err
		}
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", false, false, fmt.Errorf("list the schedules: %w", err)
		}
		for i := range page.Schedules {
			id, ok := idOf(aws.ToString(page.Schedules[i].Name))
			if !ok || !strings.HasPrefix(id, beginning) {
				continue
			}
			ascending = ascending && id >= last
			last = id
			w.add(id, &page.Schedules[i])
		}
	}
	return last, ascending, true, nil
}

func (w *window) add(id string, s *types.ScheduleSummary) {
	known := w.all[id]
	if known == nil {
		known = &summary{}
		w.all[id] = known
	}
	i := 0
	if known.name = aws.ToString(s.Name); known.name == names(id)[1] {
		i = 1
	}
	known.states[i], known.changed[i] = s.State, aws.ToTime(s.LastModificationDate)
	w.count++
}

// cut ends a window before the last ID whose schedules were listed in order, at the
// beginning of its time. It returns false if no schedule of this beginning would remain.
func (w *window) cut(last, beginning string) bool {
	end := last
	if len(end) > timeDigits && len(beginning) < timeDigits {
		end = end[:timeDigits]
	}
	if end <= beginning {
		return false
	}
	before := w.count
	for id, known := range w.all {
		if id >= end {
			w.forget(id, known)
		}
	}
	w.to = end
	return w.count > 0 || before == 0
}

// drop removes the schedules with a beginning. It returns false if none remain.
func (w *window) drop(beginning string) bool {
	for id, known := range w.all {
		if strings.HasPrefix(id, beginning) {
			w.forget(id, known)
		}
	}
	return len(w.all) > 0
}

func (w *window) forget(id string, known *summary) {
	for _, state := range known.states {
		if state != "" {
			w.count--
		}
	}
	delete(w.all, id)
}

// digits are those of the text of a UUID, in order.
const digits = "0123456789abcdef"

// isDash reports whether the text of a UUID has a dash at an index.
func isDash(i int) bool { return i == 8 || i == 13 || i == 18 || i == 23 }

// following returns the next beginning of the same length or shorter, "" after the last.
func following(beginning string) string {
	for len(beginning) > 0 {
		last := len(beginning) - 1
		at := strings.IndexByte(digits, beginning[last])
		if beginning = beginning[:last]; at >= 0 && at+1 < len(digits) {
			return beginning + digits[at+1:at+2]
		}
	}
	return ""
}

// deeper returns the first beginning that is longer.
func deeper(beginning string) string {
	if isDash(len(beginning)) {
		beginning += "-"
	}
	return beginning + digits[:1]
}
