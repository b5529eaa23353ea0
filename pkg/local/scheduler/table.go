package scheduler

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"time"

	"github.com/google/uuid"

	"syncplane/pkg/schedule"
)

// run is the next run of a sync. There may be millions, so it is small and has no
// pointers for the garbage collector to follow; a table holds what it refers to.
type run struct {
	key       key
	version   int64 // of the sync that has the schedule
	at        int64 // seconds since 1970
	previous  int64 // scheduled time of the run before it, 0 if unknown
	anchor    int64 // of an interval, seconds since 1970
	when      uint32
	workspace uint32
	index     uint32 // in the queue
	cron      bool   // when is an index of table.crons, otherwise the minutes of an interval
	late      bool
}

// key is the ID of a sync: the bytes of a UUID, or, for another text, zeros and an index
// of table.names. The services create UUIDs, which have a version that is not 0.
type key [16]byte

// parseKey returns the key of an ID that is the canonical text of a UUID.
func parseKey(id string) (k key, ok bool) {
	parsed, err := uuid.Parse(id)
	return key(parsed), err == nil && parsed.Version() != 0 && parsed.String() == id
}

func (k key) named() bool { return k[6]>>4 == 0 }

func (k key) name() uint32 { return binary.BigEndian.Uint32(k[12:]) }

// hash returns a number with random lower bits. The last eight bytes of a UUID of
// version 7 are random.
func (k key) hash() uint64 {
	const odd = 0x9e3779b97f4a7c15 // spreads the indices of names
	h := binary.BigEndian.Uint64(k[8:]) * odd
	return h ^ h>>32
}

// table holds the next run of every sync, in the order of their times.
type table struct {
	queue      queue
	slots      []*run // a hash table with linear probing; its length is a power of 2
	free       []*run
	names      interned[string]
	workspaces interned[string]
	crons      interned[schedule.Schedule]
}

// blockSize is how many runs are allocated at once.
const blockSize = 1024

// find returns the run of a sync, nil if there is none.
func (t *table) find(id string) *run {
	k, ok := t.known(id)
	if !ok || len(t.slots) == 0 {
		return nil
	}
	return t.slots[t.probe(k)]
}

// known returns the key of an ID. ok is false if no run can have it.
func (t *table) known(id string) (key, bool) {
	if k, ok := parseKey(id); ok {
		return k, true
	}
	index, ok := t.names.index[id]
	return nameKey(index), ok
}

func nameKey(index uint32) (k key) {
	binary.BigEndian.PutUint32(k[12:], index)
	return k
}

// probe returns the slot of a key, or the free one in which to put it.
func (t *table) probe(k key) int {
	mask := len(t.slots) - 1
	i := int(k.hash()) & mask //nolint:gosec // the upper bits do not matter
	for t.slots[i] != nil && t.slots[i].key != k {
		i = (i + 1) & mask
	}
	return i
}

// add adds the next run of a sync, which must not have one. The caller sets the rest of
// the run before it calls push.
func (t *table) add(workspace, id string, when schedule.Schedule) *run {
	if len(t.slots)*3 <= (t.len()+1)*4 { // at most three quarters are in use
		t.grow()
	}
	if len(t.free) == 0 {
		block := make([]run, blockSize)
		for i := range block {
			t.free = append(t.free, &block[i])
		}
	}
	r := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	*r = run{workspace: t.workspaces.take(workspace)}
	var ok bool
	if r.key, ok = parseKey(id); !ok {
		r.key = nameKey(t.names.take(id))
	}
	t.reschedule(r, when)
	t.slots[t.probe(r.key)] = r
	return r
}

// grow doubles the number of slots.
func (t *table) grow() {
	old := t.slots
	t.slots = make([]*run, max(blockSize, 2*len(old)))
	for _, r := range old {
		if r != nil {
			t.slots[t.probe(r.key)] = r
		}
	}
}

func (t *table) len() int { return len(t.queue.runs) }

// push puts an added run into the queue.
func (t *table) push(r *run) { t.queue.names = &t.names; heap.Push(&t.queue, r) }

// pushUnordered puts an added run at the end of the queue. The caller calls order.
func (t *table) pushUnordered(r *run) { t.queue.names = &t.names; t.queue.Push(r) }

// order orders the queue after the times of many runs have changed.
func (t *table) order() { heap.Init(&t.queue) }

// fix moves a run to its place after its time has changed.
func (t *table) fix(r *run) { heap.Fix(&t.queue, int(r.index)) }

// first returns the first run of the queue, nil if it is empty.
func (t *table) first() *run {
	if t.len() == 0 {
		return nil
	}
	return t.queue.runs[0]
}

// pop removes the first run from the queue. The run stays in the table.
func (t *table) pop() *run { return heap.Pop(&t.queue).(*run) } //nolint:forcetypeassert // the heap holds nothing else

// remove removes a run from the table and the queue.
func (t *table) remove(r *run) {
	heap.Remove(&t.queue, int(r.index))
	t.workspaces.release(r.workspace)
	if r.cron {
		t.crons.release(r.when)
	}
	mask := len(t.slots) - 1
	hole := t.probe(r.key)
	t.slots[hole] = nil
	// Move the runs after it that would no longer be found.
	for i := (hole + 1) & mask; t.slots[i] != nil; i = (i + 1) & mask {
		moved := t.slots[i]
		t.slots[i] = nil
		t.slots[t.probe(moved.key)] = moved
	}
	if r.key.named() {
		t.names.release(r.key.name())
	}
	t.free = append(t.free, r)
}

// reschedule sets the schedule of a run.
func (t *table) reschedule(r *run, when schedule.Schedule) {
	if r.cron {
		t.crons.release(r.when)
	}
	if minutes, ok := when.Interval(); ok {
		r.cron, r.when, r.anchor = false, uint32(minutes), when.Anchor().Unix() //nolint:gosec // a sync with a longer interval is unreadable
	} else {
		r.cron, r.when, r.anchor = true, t.crons.take(when), 0
	}
}

// when returns the schedule of a run.
func (t *table) when(r *run) schedule.Schedule {
	if r.cron {
		return t.crons.values[r.when].value
	}
	return schedule.Every(int64(r.when), time.Unix(r.anchor, 0))
}

// id returns the ID of the sync of a run.
func (t *table) id(r *run) string { return textOf(r.key, &t.names) }

// workspace returns the workspace of the sync of a run.
func (t *table) workspace(r *run) string { return t.workspaces.values[r.workspace].value }

func textOf(k key, names *interned[string]) string {
	if k.named() {
		return names.values[k.name()].value
	}
	return uuid.UUID(k).String()
}

// next returns the first scheduled time of a run after a time, in seconds since 1970.
func (t *table) next(r *run, after time.Time) int64 {
	return t.when(r).From(after).Next(after).Unix()
}

// last returns the last scheduled time in (since, until]. ok is false if there is none.
func (t *table) last(r *run, since, until time.Time) (time.Time, bool) {
	return t.when(r).From(since).Last(since, until)
}

// interned numbers values that many runs share.
type interned[V comparable] struct {
	values []counted[V]
	index  map[V]uint32
	free   []uint32
}

// counted is a value with the number of its uses.
type counted[V comparable] struct {
	value V
	uses  int
}

// take returns the number of a value, which is valid until as many calls of release.
func (in *interned[V]) take(value V) uint32 {
	if i, ok := in.index[value]; ok {
		in.values[i].uses++
		return i
	}
	if in.index == nil {
		in.index = map[V]uint32{}
	}
	var i uint32
	if n := len(in.free); n > 0 {
		i, in.free = in.free[n-1], in.free[:n-1]
	} else {
		i = uint32(len(in.values)) //nolint:gosec // there is no memory for more
		in.values = append(in.values, counted[V]{})
	}
	in.values[i], in.index[value] = counted[V]{value, 1}, i
	return i
}

// release gives up one use of a number.
func (in *interned[V]) release(i uint32) {
	entry := &in.values[i]
	if entry.uses--; entry.uses == 0 {
		delete(in.index, entry.value)
		*entry = counted[V]{}
		in.free = append(in.free, i)
	}
}

// queue is a heap of runs, sorted by time, then by the ID of the sync.
type queue struct {
	runs  []*run
	names *interned[string]
}

func (q *queue) Len() int { return len(q.runs) }

func (q *queue) Less(i, j int) bool {
	x, y := q.runs[i], q.runs[j]
	if x.at != y.at {
		return x.at < y.at
	}
	if x.key.named() || y.key.named() {
		return textOf(x.key, q.names) < textOf(y.key, q.names)
	}
	return bytes.Compare(x.key[:], y.key[:]) < 0 // as the texts
}

func (q *queue) Swap(i, j int) {
	q.runs[i], q.runs[j] = q.runs[j], q.runs[i]
	q.runs[i].index, q.runs[j].index = uint32(i), uint32(j) //nolint:gosec // there is no memory for more
}

// Push is heap.Interface's.
func (q *queue) Push(x any) {
	r := x.(*run)                 //nolint:forcetypeassert // the heap holds nothing else
	r.index = uint32(len(q.runs)) //nolint:gosec // there is no memory for more
	q.runs = append(q.runs, r)
}

// Pop is heap.Interface's.
func (q *queue) Pop() any {
	last := len(q.runs) - 1
	r := q.runs[last]
	q.runs[last] = nil
	q.runs = q.runs[:last]
	return r
}
