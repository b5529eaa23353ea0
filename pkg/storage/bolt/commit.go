package bolt

import (
	"context"
	"errors"

	"syncplane/pkg/fault"
)

// maxGroup is how many writes share one commit. A commit waits for the disk
// once, whatever is in it.
const maxGroup = 512

// write is one change on its way to the disk. apply returns a *fault.Error only
// before it changes anything, since the rest of its group is committed then. Any
// other error rolls the group back, which is applied again without this write:
// apply must set whatever it sets outside of tx each time.
type write struct {
	apply  func(tx *tx) error
	result chan error
}

// write has apply done in the next commit and returns when that is on the
// disk. If ctx ends first, the change may still be made.
func (st *Store) write(ctx context.Context, apply func(tx *tx) error) error {
	w := write{apply: apply, result: make(chan error, 1)}
	select {
	case st.writes <- w:
	case <-st.closed:
		return fault.New(fault.Unavailable, "store_unavailable", "the server is stopping")
	case <-ctx.Done():
		return errTimeout(ctx)
	}
	select {
	case err := <-w.result:
		return err
	case <-ctx.Done():
		return errTimeout(ctx)
	}
}

func errTimeout(ctx context.Context) error {
	return &fault.Error{
		Kind: fault.Unavailable, Code: "store_unavailable",
		Message: "the sync could not be stored in time; please try again", Err: context.Cause(ctx),
	}
}

// commitLoop is the only writer. While one group is on its way to the disk the
// next gathers, so groups grow with the load and a lone write waits for
// nobody: bbolt's own Batch waits for a timer instead.
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
		group = st.gather(group)
		st.commitGroup(group)
	}
}

func (st *Store) gather(group []write) []write {
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

// commitGroup commits a group and reports to each of its writers.
func (st *Store) commitGroup(group []write) {
	results := make([]error, len(group))
	broken := make([]bool, len(group))
	for {
		last, failed, err := st.tryCommit(group, broken, results)
		if failed >= 0 {
			broken[failed] = true
			continue
		}
		if err == nil {
			st.feed.advance(last)
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

// tryCommit commits those of a group that are not broken, and sets their results. It
// commits nothing if one fails that is not to be committed with: failed is its
// index, else -1. last is the feed's sequence number.
func (st *Store) tryCommit(group []write, broken []bool, results []error) (last uint64, failed int, err error) {
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
		last = tx.feed.Sequence()
		return tx.trim()
	})
	return last, failed, err
}
