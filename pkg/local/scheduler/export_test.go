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
type Table struct {
	table
	texts map[key]string // of the keys that are UUIDs
}

// Row is a run.
type Row struct {
	Workspace string
	When      schedule.Schedule
	At        int64
}

// NewTable returns an empty table.
func NewTable() *Table { return &Table{texts: map[key]string{}} }

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

// Rows yields all runs that can be found, by ID.
func (t *Table) Rows() iter.Seq2[string, Row] {
	return func(yield func(string, Row) bool) {
		for _, r := range t.queue.runs {
			if id, ok := t.found(r); ok && !yield(id, Row{t.workspace(r), t.when(r), r.at}) {
				return
			}
		}
	}
}

// found returns the ID of a run and whether find returns the run for it. It converts
// between a UUID and its text once.
func (t *Table) found(r *run) (id string, ok bool) {
	if r.key.named() {
		id = t.id(r)
		return id, t.find(id) == r
	}
	if id, ok = t.texts[r.key]; !ok {
		id = t.id(r)
		if t.find(id) != r {
			return id, false
		}
		t.texts[r.key] = id
	}
	return id, t.slots[t.probe(r.key)] == r
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
