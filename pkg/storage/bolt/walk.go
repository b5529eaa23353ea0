package bolt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/syncs"
)

// walkChunk is how many rows are read in one read transaction. bbolt cannot grow
// its mapping of the file while a read transaction is open, so that a long one would
// stop all writes. Our own choice.
const walkChunk = 2000

// errStop ends a read transaction when a loop over an iterator ends early.
var errStop = errors.New("the loop has ended")

// walk calls visit for each row whose sort key begins with kind, of all workspaces, in
// the order of their keys. It seeks past other rows. It uses several read transactions:
// a row that is written in the meantime may be visited or not.
func (st *Store) walk(ctx context.Context, kind string, visit func(workspace, rest string, value []byte) error) error {
	for next := []byte{}; next != nil; {
		start := next
		next = nil
		err := st.read(ctx, func(tx *tx) error {
			var err error
			next, err = walkRows(tx.all.Cursor(), st.chunk, start, kind, visit)
			return err
		})
		if err != nil {
			return err
		}
		st.release()
	}
	return nil
}

// walkRows visits up to the given number of rows from start on, and returns where to continue,
// nil after the last one.
func walkRows(cursor *bbolt.Cursor, rows int, start []byte, kind string, visit func(workspace, rest string, value []byte) error) ([]byte, error) {
	seek := start
	key, value := cursor.Seek(seek)
	for range rows {
		if key == nil {
			return nil, nil
		}
		if bytes.Compare(key, seek) < 0 { // an endless loop otherwise
			return nil, fmt.Errorf("%w: its keys are not in order", ErrDamaged)
		}
		partition, sort, _ := bytes.Cut(key, []byte{0})
		rest, is := bytes.CutPrefix(sort, []byte(kind))
		switch hash := bytes.IndexByte(partition, '#'); {
		case hash >= 0: // the partitions of the runs of a workspace
			seek = append(bytes.Clone(partition[:hash]), '#'+1)
		case is:
			if err := visit(string(partition), string(rest), value); err != nil {
				return nil, err
			}
			key, value = cursor.Next()
			continue
		case string(sort) < kind:
			seek = append(append(bytes.Clone(partition), 0), kind...)
		default:
			seek = append(bytes.Clone(partition), 1) // the next partition
		}
		key, value = cursor.Seek(seek)
	}
	return bytes.Clone(key), nil
}

// walkAll returns an iterator over the elements that decode returns for the rows of a
// kind. ok is false for a row that is left out. The iterator ends after the first error.
func walkAll[T any](ctx context.Context, st *Store, kind string, decode func(workspace, rest string, value []byte) (element T, ok bool, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		err := st.walk(ctx, kind, func(workspace, rest string, value []byte) error {
			element, ok, err := decode(workspace, rest, value)
			if err == nil && ok && !yield(element, nil) {
				err = errStop
			}
			return err
		})
		if err != nil && !errors.Is(err, errStop) {
			var none T
			yield(none, err)
		}
	}
}

// All yields every sync, and ends after the first error. A sync that cannot be read is
// left out and logged. A sync that is written during the loop may be yielded or not. The
// loop body must not write to the store.
func (st *Store) All() iter.Seq2[syncs.Sync, error] {
	return walkAll(context.Background(), st, syncPrefix, func(workspace, id string, value []byte) (syncs.Sync, bool, error) {
		s, err := decode(workspace, id, value)
		if err != nil {
			st.unreadable(context.Background(), err)
		}
		return s, err == nil, nil
	})
}

// scheduleRow has the members of a row that decide when a sync runs.
type scheduleRow struct {
	ID             string    `json:"id"`
	Version        int64     `json:"version"`
	SyncInterval   int64     `json:"sync_interval"`
	CronExpression string    `json:"cron_expression"`
	Status         string    `json:"status"`
	CreatedAt      time.Time `json:"created_at"`
	UpdatedAt      time.Time `json:"updated_at"`
	ScheduledAt    time.Time `json:"scheduled_at"`
}

// Schedules yields every sync as All does, with those fields alone that decide when it
// runs.
func (st *Store) Schedules() iter.Seq2[syncs.Sync, error] {
	return walkAll(context.Background(), st, syncPrefix, func(workspace, id string, value []byte) (syncs.Sync, bool, error) {
		var r scheduleRow
		err := json.Unmarshal(value, &r)
		if err != nil || r.ID != id || r.Version < 1 {
			if _, err = decode(workspace, id, value); err != nil { // in its words
				st.unreadable(context.Background(), err)
				return syncs.Sync{}, false, nil
			}
		}
		s := row{
			ID: r.ID, Version: r.Version, SyncInterval: r.SyncInterval, CronExpression: r.CronExpression, Status: r.Status,
			CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, ScheduledAt: r.ScheduledAt,
		}.sync(workspace)
		return s, true, nil
	})
}
