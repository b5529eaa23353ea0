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
// disk. It refuses a ctx that has ended. If ctx ends later, write returns an error and
// the change may still be committed; apply may still be running.
func (st *Store) write(ctx context.Context, apply func(tx *tx) error) error {
	if ctx.Err() != nil { // select would choose at random
		return timeoutFault(ctx, "the sync")
	}
	w := write{apply: apply, result: make(chan error, 1)}
	select {
	case st.writes <- w:
	case <-st.closed:
		return fault.New(fault.Unavailable, "store_unavailable", "the server is stopping")
	case <-ctx.Done():
		return timeoutFault(ctx, "the sync")
	}
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		return timeoutFault(ctx, "the sync")
	}
}

// writeResult is write for a change with a result. If ctx ends first, the commit may set
// its result at any later time, so it is not that of the caller.
func writeResult[T any](ctx context.Context, st *Store, apply func(tx *tx) (T, error)) (T, error) {
	var result, none T
	err := st.write(ctx, func(tx *tx) (err error) {
		result, err = apply(tx)
		return err
	})
	if err != nil {
		return none, err
	}
	return result, nil
}

func timeoutFault(ctx context.Context, what string) error {
	return &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message: what + " could not be stored or read in time; please try again", Err: context.Cause(ctx),
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
