package dynamo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"syncplane/pkg/runs"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// KeyOf returns the workspace and the ID of the sync that a record of the table's
// stream is about. ok is false if the item is not a sync.
func KeyOf(record events.DynamoDBEventRecord) (workspace, id string, ok bool) {
	partition, sort := record.Change.Keys[partitionKey], record.Change.Keys[sortKey]
	if partition.DataType() != events.DataTypeString || sort.DataType() != events.DataTypeString {
		return "", "", false
	}
	id, ok = strings.CutPrefix(sort.String(), syncPrefix)
	return partition.String(), id, ok
}

// Change returns a sync before and after a change, from a record of the table's
// stream; nil if it did not exist. ok is false if the item is not a sync. The error
// is syncs.ErrUnreadable for an image that cannot be decoded.
func Change(record events.DynamoDBEventRecord) (before, after *syncs.Sync, ok bool, err error) {
	if _, _, ok := KeyOf(record); !ok {
		return nil, nil, false, nil
	}
	if before, err = syncOfImage(record.Change.OldImage); err != nil {
		return nil, nil, true, err
	}
	if after, err = syncOfImage(record.Change.NewImage); err != nil {
		return nil, nil, true, err
	}
	if before == nil && after == nil {
		return nil, nil, true, errors.New("a record of the stream has no image; the stream must have NEW_AND_OLD_IMAGES")
	}
	return before, after, true, nil
}

// syncOfImage returns the sync in an image, nil for an empty image.
func syncOfImage(image map[string]events.DynamoDBAttributeValue) (*syncs.Sync, error) {
	if len(image) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	r := imageRow(image)
	s, err := syncOf(r)
	if err != nil {
		return nil, fmt.Errorf("read an image of the stream: %w", err)
	}
	return &s, nil
}

// imageRow returns an image as the client of DynamoDB would read it. Attributes of
// other types than this package writes are left out.
func imageRow(image map[string]events.DynamoDBAttributeValue) row {
	r := make(row, len(image))
	for name, value := range image {
		switch value.DataType() { //nolint:exhaustive // no item of this package has other types; its reader reports what is missing
		case events.DataTypeString:
			r[name] = text(value.String())
		case events.DataTypeNumber:
			r[name] = &types.AttributeValueMemberN{Value: value.Number()}
		case events.DataTypeBoolean:
			r[name] = &types.AttributeValueMemberBOOL{Value: value.Boolean()}
		case events.DataTypeMap:
			r[name] = &types.AttributeValueMemberM{Value: imageRow(value.Map())}
		}
	}
	return r
}

// RunKeyOf returns the workspace and the ID of the sync of the run that a record of
// the table's stream is about. ok is false for an item that is not a run.
func RunKeyOf(record events.DynamoDBEventRecord) (workspace, syncID string, ok bool) {
	partition, sort := record.Change.Keys[partitionKey], record.Change.Keys[sortKey]
	if partition.DataType() != events.DataTypeString || sort.DataType() != events.DataTypeString ||
		!strings.HasPrefix(sort.String(), runPrefix) {
		return "", "", false
	}
	return strings.Cut(partition.String(), "#")
}

// RunTimeOf returns the scheduled time of the run that a record of the table's stream
// is about, zero if its key holds none.
func RunTimeOf(record events.DynamoDBEventRecord) time.Time {
	if _, _, ok := RunKeyOf(record); !ok {
		return time.Time{}
	}
	at, _ := syncjson.ParseRunTime(strings.TrimPrefix(record.Change.Keys[sortKey].String(), runPrefix))
	return at
}

// RunOf reads the run that a record of the table's stream wrote. ok is false for an
// item that is not a run and for a run that was removed. The error is
// runs.ErrUnreadable for an image that this version cannot read.
func RunOf(record events.DynamoDBEventRecord) (run runs.Run, ok bool, err error) {
	if _, _, ok := RunKeyOf(record); !ok || len(record.Change.NewImage) == 0 {
		return runs.Run{}, false, nil
	}
	run, err = runOf(imageRow(record.Change.NewImage))
	return run, true, err
}

// scan yields the items whose sort keys have a prefix, and ends after the first
// error. It reads the whole table, at one read unit for 8 KB.
func (st *Store) scan(ctx context.Context, prefix string) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		pages := dynamodb.NewScanPaginator(st.Client, &dynamodb.ScanInput{
			TableName:                 &st.Table,
			FilterExpression:          aws.String("begins_with(sk, :prefix)"),
			ExpressionAttributeValues: row{":prefix": text(prefix)},
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(nil, translate("read the table", err))
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
		}
	}
}

// scanAll yields what read returns for each item that scan yields, and ends after the
// first error of the scan. Items that cannot be read are left out; after all others it
// yields one error that joins theirs.
func scanAll[T any](items iter.Seq2[row, error], read func(row) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		var unreadable []error
		for item, err := range items {
			if err != nil {
				yield(none, err)
				return
			}
			value, err := read(item)
			if err != nil {
				unreadable = append(unreadable, err)
			} else if !yield(value, nil) {
				return
			}
		}
		if len(unreadable) > 0 {
			yield(none, errors.Join(unreadable...))
		}
	}
}

// All yields every sync in the table, and ends after the first error. Rows that
// cannot be read are left out; after all syncs it yields one syncs.ErrUnreadable
// that names their keys.
func (st *Store) All(ctx context.Context) iter.Seq2[syncs.Sync, error] {
	return scanAll(st.scan(ctx, syncPrefix), func(item row) (syncs.Sync, error) {
		s, err := syncOf(item)
		if err != nil {
			key := reader{row: item}
			err = fmt.Errorf("%s: %w", key.text(sortKey), err)
		}
		return s, err
	})
}

// AllSlots yields the slot of every sync that has one, and ends after the first error.
// Rows that cannot be read are left out; after all slots it yields one
// runs.ErrUnreadable that names their keys.
func (st Runs) AllSlots(ctx context.Context) iter.Seq2[runs.Slot, error] {
	return scanAll(st.scan(ctx, slotPrefix), slotOf)
}

// AllRuns yields every run that has not expired, and ends after the first error. Rows
// that cannot be read are left out; after all runs it yields one runs.ErrUnreadable
// that names their keys.
func (st Runs) AllRuns(ctx context.Context) iter.Seq2[runs.Run, error] {
	return scanAll(st.scan(ctx, runPrefix), runOf)
}

// scanSegments is how many parts of the table Between reads at the same time. Our own
// choice: one part yields some 20 MB a second.
const scanSegments = 8

// Between yields every sync with an ID from from on and before to, in no order; without
// an end if to is "". It ends after the first error. Rows that cannot be read are left
// out; after all others it yields one syncs.ErrUnreadable that names their keys.
func (st *Store) Between(ctx context.Context, from, to string) iter.Seq2[syncs.Sync, error] {
	end := syncPrefix[:len(syncPrefix)-1] + string(syncPrefix[len(syncPrefix)-1]+1) // after every sync
	if to != "" {
		end = syncPrefix + to
	}
	return scanAll(st.scanParallel(ctx, &dynamodb.ScanInput{
		TableName:                 &st.Table,
		FilterExpression:          aws.String("sk >= :from AND sk < :end"),
		ExpressionAttributeValues: row{":from": text(syncPrefix + from), ":end": text(end)},
	}), func(item row) (syncs.Sync, error) {
		s, err := syncOf(item)
		if err != nil {
			key := reader{row: item}
			err = fmt.Errorf("%s: %w", key.text(sortKey), err)
		}
		return s, err
	})
}

// scanParallel yields the items of a scan, whose segments it reads at the same time, and
// ends after the first error.
func (st *Store) scanParallel(ctx context.Context, in *dynamodb.ScanInput) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		group, ctx := errgroup.WithContext(ctx)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		pages := make(chan []map[string]types.AttributeValue)
		for segment := range int32(scanSegments) {
			part := *in
			part.Segment, part.TotalSegments = aws.Int32(segment), aws.Int32(scanSegments)
			group.Go(func() error {
				for all := dynamodb.NewScanPaginator(st.Client, &part); all.HasMorePages(); {
					page, err := all.NextPage(ctx)
					if err != nil {
						return translate("read the table", err)
					}
					select {
					case pages <- page.Items:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				return nil
			})
		}
		failed := make(chan error, 1)
		go func() { failed <- group.Wait(); close(pages) }()
		for items := range pages {
			for _, item := range items {
				if !yield(item, nil) {
					cancel()
					for range pages { //nolint:revive // until the readers have ended
					}
					return
				}
			}
		}
		if err := <-failed; err != nil {
			yield(nil, err)
		}
	}
}
