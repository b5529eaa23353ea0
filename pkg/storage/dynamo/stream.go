package dynamo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// KeyOf returns the workspace and the ID of the sync that a record of the table's
// stream is about. ok is false for an item that is no sync.
func KeyOf(record events.DynamoDBEventRecord) (workspace, id string, ok bool) {
	partition, sort := record.Change.Keys[partitionKey], record.Change.Keys[sortKey]
	if partition.DataType() != events.DataTypeString || sort.DataType() != events.DataTypeString {
		return "", "", false
	}
	id, ok = strings.CutPrefix(sort.String(), syncPrefix)
	return partition.String(), id, ok
}

// Change reads a record of the table's stream: a sync before and after, nil
// where it was not there. ok is false for an item that is no sync. The error is
// syncs.ErrUnreadable for an image that is none of ours.
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

// syncOfImage is the sync in an image, nil if there is none.
func syncOfImage(image map[string]events.DynamoDBAttributeValue) (*syncs.Sync, error) {
	if len(image) == 0 {
		return nil, nil //nolint:nilnil // no image is no error
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

// Each calls visit for every sync in the table, until one returns an error. Of a
// row that is none, since somebody else wrote it, the error tells in the end,
// when all others were visited. It is the one Scan there is, for what looks
// after the whole table: it reads all of it, at a read unit for 8 KB.
func (st *Store) Each(ctx context.Context, visit func(syncs.Sync) error) error {
	pages := dynamodb.NewScanPaginator(st.Client, &dynamodb.ScanInput{
		TableName:                 &st.Table,
		FilterExpression:          aws.String("begins_with(sk, :prefix)"),
		ExpressionAttributeValues: row{":prefix": text(syncPrefix)},
	})
	var unreadable []error
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return translate("read the table", err)
		}
		for _, item := range page.Items {
			s, err := syncOf(item)
			if err != nil {
				key := reader{row: item}
				unreadable = append(unreadable, fmt.Errorf("%s: %w", key.text(sortKey), err))
				continue
			}
			if err := visit(s); err != nil {
				return err
			}
		}
	}
	return errors.Join(unreadable...)
}
