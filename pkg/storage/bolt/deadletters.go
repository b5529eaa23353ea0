package bolt

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"go.etcd.io/bbolt"

	"syncplane/pkg/event"
)

// maxDeadLetters is how many dead letters are kept. Our own choice: some 100 MB
// with usual configurations.
const maxDeadLetters = 100_000

// DeadLetter is an event whose delivery was given up.
type DeadLetter struct {
	Sequence uint64 // in the feed; it identifies the dead letter
	Event    event.Event
	Origin   string    // address of the API that published the event
	Since    time.Time // when its delivery was first due
	GivenUp  time.Time
	Attempts int // since the last start of the server
	Reason   string
}

// DeadLetters stores dead letters in a file of its own, which is opened for each
// call.
type DeadLetters struct {
	Path string
	Max  int // how many are kept; 100,000 if zero
}

// deadBucket holds the dead letters, by sequence number.
const deadBucket = "dead_letters"

// deadRow is a dead letter as it is stored, in JSON.
type deadRow struct {
	Event    feedRow   `json:"event"`
	Origin   string    `json:"origin"`
	Since    time.Time `json:"since"`
	GivenUp  time.Time `json:"died"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
}

func (d DeadLetters) file() sideFile { return sideFile{d.Path, deadBucket, "the dead letters"} }

// Add stores letters. It returns how many of the oldest were removed to keep
// within Max.
func (d DeadLetters) Add(_ context.Context, letters ...DeadLetter) (removed int, err error) {
	err = d.file().update(func(b *bbolt.Bucket) error {
		for _, l := range letters {
			value, err := encode(deadRow{feedRowOf(l.Event), l.Origin, l.Since, l.GivenUp, l.Attempts, l.Reason})
			if err != nil {
				return err
			}
			if err := b.Put(sequenceKey(l.Sequence), value); err != nil {
				return err
			}
		}
		count, most := 0, cmp.Or(d.Max, maxDeadLetters)
		cursor := b.Cursor()
		for key, _ := cursor.First(); key != nil; key, _ = cursor.Next() {
			count++
		}
		for removed = 0; count-removed > most; removed++ {
			cursor.First()
			if err := cursor.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
	return removed, err
}

// All yields the dead letters, oldest first. One that cannot be read is yielded as an
// error with its sequence number; after any other error the loop ends. The file is
// closed while the loop body runs, so the body may call Remove.
func (d DeadLetters) All(ctx context.Context) iter.Seq2[DeadLetter, error] {
	const page = 100
	return func(yield func(DeadLetter, error) bool) {
		for after := uint64(0); ctx.Err() == nil; {
			letters, err := d.after(after, page)
			if err != nil {
				yield(DeadLetter{}, err)
				return
			}
			if len(letters) == 0 {
				return
			}
			for _, l := range letters {
				if !yield(l.DeadLetter, l.err) {
					return
				}
				after = l.Sequence
			}
		}
		yield(DeadLetter{}, ctx.Err())
	}
}

// readLetter is a dead letter, or an error in its place.
type readLetter struct {
	DeadLetter
	err error
}

// after returns at most limit dead letters after a sequence number.
func (d DeadLetters) after(after uint64, limit int) (letters []readLetter, err error) {
	err = d.file().view(func(b *bbolt.Bucket) error {
		cursor := b.Cursor()
		for key, value := cursor.Seek(sequenceKey(after + 1)); key != nil && len(letters) < limit; key, value = cursor.Next() {
			sequence := binary.BigEndian.Uint64(key)
			var r deadRow
			if err := json.Unmarshal(value, &r); err != nil {
				letters = append(letters, readLetter{DeadLetter{Sequence: sequence}, fmt.Errorf("decode dead letter %d: %w", sequence, err)})
				continue
			}
			letters = append(letters, readLetter{DeadLetter{sequence, r.Event.event(), r.Origin, r.Since, r.GivenUp, r.Attempts, r.Reason}, nil})
		}
		return nil
	})
	return letters, err
}

// Remove deletes the dead letter with a sequence number, if it exists.
func (d DeadLetters) Remove(_ context.Context, sequence uint64) error {
	return d.file().update(func(b *bbolt.Bucket) error { return b.Delete(sequenceKey(sequence)) })
}
