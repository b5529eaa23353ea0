package bolt

import (
	"context"
	"errors"

	"syncplane/pkg/fault"
)

// maxGroup is how many writes share one commit. A commit waits for the disk
// once, whatever is in it.
const maxGroup = 512

// write is one change that waits for its commit. apply may return a *fault.Error
// only before it changes anything: the rest of its group is still committed. Any
// other error rolls the group back, and the group is applied again without this
// write, so apply may be called more than once and must set all its results each
// time.
type write struct {
	apply  func(tx *tx) error
	result chan error
}

// write applies a change in the next commit and returns when the commit is on the
// disk. If ctx ends first, the change may still be committed.
func (st *Store) write(ctx context.Context, apply func(tx *tx) error) error {
	w := write{apply: apply, result: make(chan error, 1)}
	select {
	case st.writes <- w:
	case <-st.closed:
		return fault.New(fault.Unavailable, "store_unavailable", "the server is stopping")
	case <-ctx.Done():
		return timeoutFault(ctx)
	}
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		return timeoutFault(ctx)
	}
}

func timeoutFault(ctx context.Context) error {
	return &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message: "the sync could not be stored in time; please try again", Err: context.Cause(ctx),
	}
}

// commitLoop commits the writes; it is the only writer. While one group is being
// written to the disk, the next one collects, so groups grow with the load and a
// single write is committed at once. bbolt's own Batch waits for a timer instead.
func (st *Store) commitLoop() {
	defer close(st.done)
	group := make([]write, 0, maxGroup)
	for {
		select {
		case w := <-st.writes:
			group = append(group[:0], w)
		case <-st.closed:
			return
		}
		group = st.collect(group)
		st.commitGroup(group)
	}
}

// collect adds the writes that are waiting to group, up to maxGroup.
func (st *Store) collect(group []write) []write {
	for len(group) < maxGroup {
		select {
		case w := <-st.writes:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
}

// commitGroup commits a group and sends each writer its result.
func (st *Store) commitGroup(group []write) {
	results := make([]error, len(group))
	broken := make([]bool, len(group))
	for {
		head, failed, err := st.tryCommit(group, broken, results)
		if failed >= 0 {
			broken[failed] = true
			continue
		}
		if err == nil {
			st.feed.advance(head)
		}
		for i, w := range group {
			if err != nil {
				w.result <- &fault.Error{
					Kind: fault.Unavailable, Code: "store_unavailable",
					Message: "the sync could not be written to the disk", Err: err,
				}
				continue
			}
			w.result <- results[i]
		}
		return
	}
}

// tryCommit commits the writes of a group that are not broken and sets their
// results. If a write fails with an error other than a fault.Error, nothing is
// committed and failed is its index; otherwise failed is -1. head is the sequence
// number of the newest event of the feed.
func (st *Store) tryCommit(group []write, broken []bool, results []error) (head uint64, failed int, err error) {
	failed = -1
	err = st.update(func(tx *tx) error {
		for i, w := range group {
			if broken[i] {
				continue
			}
			results[i] = guard(func() error { return w.apply(tx) })
			if _, ok := errors.AsType[*fault.Error](results[i]); results[i] != nil && !ok {
				failed = i
				return results[i]
			}
		}
		head = tx.feed.Sequence()
		return tx.trim()
	})
	return head, failed, err
}
