package scheduler

import (
	"iter"
	"unsafe"

	"syncplane/pkg/schedule"
)

// RunSize is the size of a run in bytes.
const RunSize = unsafe.Sizeof(run{})

// SetBatch sets how many runs are in one commit, and how many events are read at once, so
// that a test needs fewer syncs for several commits.
func (sch *Scheduler) SetBatch(runs int) { sch.batch = runs }

// Table is a table whose runs have IDs.
type Table struct{ table }

// Row is a run.
type Row struct {
	Workspace string
	When      schedule.Schedule
	At        int64
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{} }

// Add adds a run.
func (t *Table) Add(id string, row Row) {
	r := t.add(row.Workspace, id, row.When)
	r.at = row.At
	t.push(r)
}

// Change changes the time and the schedule of a run.
func (t *Table) Change(id string, row Row) {
	r := t.find(id)
	t.reschedule(r, row.When)
	r.at = row.At
	t.fix(r)
}

// Remove removes a run.
func (t *Table) Remove(id string) { t.remove(t.find(id)) }

// Rows yields all runs by ID.
func (t *Table) Rows() iter.Seq2[string, Row] {
	return func(yield func(string, Row) bool) {
		for _, r := range t.queue.runs {
			if id := t.id(r); t.find(id) == r && !yield(id, Row{t.workspace(r), t.when(r), r.at}) {
				return
			}
		}
	}
}

// Drain removes the runs in their order and returns their IDs.
func (t *Table) Drain() []string {
	var ids []string
	for t.first() != nil {
		r := t.pop()
		ids = append(ids, t.id(r))
	}
	return ids
}
