package replay

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// errTrimmed means that the stream does not hold a record any more.
var errTrimmed = errors.New("the stream does not hold the records any more")

// maxEmpty is how many empty pages in a row end the reading of a shard that is still
// written to. DynamoDB returns some while it looks for records. Our own choice.
const maxEmpty = 100

// position names records of a shard; zero is all of them.
type position struct{ first, last string }

// shards returns the IDs of the stream's shards, parents before their children.
func (r *Replayer) shards(ctx context.Context) ([]string, error) {
	parents := map[string]string{}
	var all []string
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &r.StreamARN}
	for {
		out, err := r.Streams.DescribeStream(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("describe the stream: %w", err)
		}
		for _, shard := range out.StreamDescription.Shards {
			all = append(all, *shard.ShardId)
			parents[*shard.ShardId] = aws.ToString(shard.ParentShardId)
		}
		in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId
		if in.ExclusiveStartShardId == nil {
			break
		}
	}
	var sorted []string
	done := map[string]bool{}
	var visit func(id string)
	visit = func(id string) {
		if _, known := parents[id]; !known || done[id] {
			return
		}
		done[id] = true
		visit(parents[id])
		sorted = append(sorted, id)
	}
	for _, id := range all {
		visit(id)
	}
	return sorted, nil
}

// records yields records of a shard, and ends after the first error, which is
// errTrimmed if the stream has dropped the first of them.
func (r *Replayer) records(ctx context.Context, shard string, p position) iter.Seq2[events.DynamoDBEventRecord, error] {
	return func(yield func(events.DynamoDBEventRecord, error) bool) {
		in := &dynamodbstreams.GetShardIteratorInput{StreamArn: &r.StreamARN, ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon}
		if p.first != "" {
			in.ShardIteratorType, in.SequenceNumber = types.ShardIteratorTypeAtSequenceNumber, &p.first
		}
		out, err := r.Streams.GetShardIterator(ctx, in)
		if err != nil {
			yield(events.DynamoDBEventRecord{}, streamError(err))
			return
		}
		iterator := out.ShardIterator
		for empty := 0; iterator != nil && empty < maxEmpty; empty++ {
			page, err := r.Streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: iterator})
			if err != nil {
				yield(events.DynamoDBEventRecord{}, streamError(err))
				return
			}
			for _, record := range page.Records {
				empty = 0
				sequence := aws.ToString(record.Dynamodb.SequenceNumber)
				if p.last != "" && after(sequence, p.last) || !yield(lambdaRecord(record), nil) {
					return
				}
				if p.last != "" && sequence == p.last {
					return
				}
			}
			iterator = page.NextShardIterator
		}
	}
}

// streamError returns errTrimmed for records that are gone.
func streamError(err error) error {
	_, trimmed := errors.AsType[*types.TrimmedDataAccessException](err)
	_, gone := errors.AsType[*types.ResourceNotFoundException](err)
	if trimmed || gone {
		return fmt.Errorf("%w: %w", errTrimmed, err)
	}
	return fmt.Errorf("read the stream: %w", err)
}

// after reports whether a sequence number is after another. They are decimal numbers.
func after(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

// lambdaRecord returns a record as Lambda gives it to a function.
func lambdaRecord(record types.Record) events.DynamoDBEventRecord {
	change := record.Dynamodb
	return events.DynamoDBEventRecord{
		EventID: aws.ToString(record.EventID), EventName: string(record.EventName), EventSource: "aws:dynamodb",
		Change: events.DynamoDBStreamRecord{
			ApproximateCreationDateTime: events.SecondsEpochTime{Time: aws.ToTime(change.ApproximateCreationDateTime)},
			Keys:                        image(change.Keys), NewImage: image(change.NewImage), OldImage: image(change.OldImage),
			SequenceNumber: aws.ToString(change.SequenceNumber), StreamViewType: string(change.StreamViewType),
		},
	}
}

// image returns an item as Lambda gives it to a function, nil for an empty one.
func image(item map[string]types.AttributeValue) map[string]events.DynamoDBAttributeValue {
	if len(item) == 0 {
		return nil
	}
	all := make(map[string]events.DynamoDBAttributeValue, len(item))
	for name, value := range item {
		all[name] = attribute(value)
	}
	return all
}

func attribute(value types.AttributeValue) events.DynamoDBAttributeValue {
	switch value := value.(type) {
	case *types.AttributeValueMemberS:
		return events.NewStringAttribute(value.Value)
	case *types.AttributeValueMemberN:
		return events.NewNumberAttribute(value.Value)
	case *types.AttributeValueMemberBOOL:
		return events.NewBooleanAttribute(value.Value)
	case *types.AttributeValueMemberM:
		return events.NewMapAttribute(image(value.Value))
	case *types.AttributeValueMemberL:
		list := make([]events.DynamoDBAttributeValue, 0, len(value.Value))
		for _, element := range value.Value {
			list = append(list, attribute(element))
		}
		return events.NewListAttribute(list)
	}
	return events.NewNullAttribute() // no item of this project has other types
}

// batchInfo names records that Lambda gave up (Lambda Developer Guide, "Retain
// discarded batches").
type batchInfo struct {
	ShardID string    `json:"shardId"`                         //nolint:tagliatelle // Lambda's names
	First   string    `json:"startSequenceNumber"`             //nolint:tagliatelle // as above
	Last    string    `json:"endSequenceNumber"`               //nolint:tagliatelle // as above
	From    time.Time `json:"approximateArrivalOfFirstRecord"` //nolint:tagliatelle // as above
	To      time.Time `json:"approximateArrivalOfLastRecord"`  //nolint:tagliatelle // as above
}

// batch publishes the records of a batch that Lambda gave up, from the rows if the
// stream does not hold them any more.
func (r *Replayer) batch(ctx context.Context, b batchInfo) error {
	var batch []events.DynamoDBEventRecord
	for record, err := range r.records(ctx, b.ShardID, position{b.First, b.Last}) {
		if errors.Is(err, errTrimmed) {
			// The arrival at the stream follows the time of the change.
			return r.rows(ctx, b.From.Add(-time.Minute), b.To.Add(time.Second))
		}
		if err != nil {
			return err
		}
		batch = append(batch, record)
	}
	return r.handle(ctx, batch)
}
