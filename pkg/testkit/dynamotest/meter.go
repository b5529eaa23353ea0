package dynamotest

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"

	"syncplane/pkg/storage/dynamo"
)

// Usage is what calls to DynamoDB have used. DynamoDB Local reports four write units for
// every transaction, so the units of a transaction are computed from its items, as in
// the developer guide, "Read and write capacity": two for each KB of a write. The items
// that it deletes must be below 1 KB.
type Usage struct {
	Requests   int
	ReadUnits  float64
	WriteUnits float64
}

// Meter adds up the usage of a store.
type Meter struct {
	Store *dynamo.Store // it must be used in place of the one that is measured

	mu   sync.Mutex
	used Usage
}

// Measure returns a Meter for a store with the table of another.
func Measure(store *dynamo.Store) *Meter {
	m := &Meter{}
	options := store.Client.Options()
	options.APIOptions = append(options.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("meter", m.measure), middleware.Before)
	})
	m.Store = &dynamo.Store{Client: dynamodb.New(options), Table: store.Table}
	return m
}

// Take returns the usage since the last call.
func (m *Meter) Take() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	used := m.used
	m.used = Usage{}
	return used
}

// measure requests the consumed capacity and adds it up.
func (m *Meter) measure(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
	const total = types.ReturnConsumedCapacityTotal
	transacted := 0.0
	switch p := in.Parameters.(type) {
	case *dynamodb.GetItemInput:
		p.ReturnConsumedCapacity = total
	case *dynamodb.BatchGetItemInput:
		p.ReturnConsumedCapacity = total
	case *dynamodb.QueryInput:
		p.ReturnConsumedCapacity = total
	case *dynamodb.ScanInput:
		p.ReturnConsumedCapacity = total
	case *dynamodb.PutItemInput:
		p.ReturnConsumedCapacity = total
	case *dynamodb.UpdateItemInput:
		p.ReturnConsumedCapacity = total
	case *dynamodb.DeleteItemInput:
		p.ReturnConsumedCapacity = total
	case *dynamodb.TransactWriteItemsInput:
		for _, write := range p.TransactItems {
			transacted += 2
			if write.Put != nil {
				transacted += 2 * float64((size(write.Put.Item)-1)/1024)
			}
		}
	}
	out, metadata, err := next.HandleInitialize(ctx, in)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used.Requests++
	add := func(to *float64, spent ...types.ConsumedCapacity) {
		for _, s := range spent {
			*to += *s.CapacityUnits
		}
	}
	if err == nil {
		m.used.WriteUnits += transacted
		switch r := out.Result.(type) {
		case *dynamodb.GetItemOutput:
			add(&m.used.ReadUnits, *r.ConsumedCapacity)
		case *dynamodb.BatchGetItemOutput:
			add(&m.used.ReadUnits, r.ConsumedCapacity...)
		case *dynamodb.QueryOutput:
			add(&m.used.ReadUnits, *r.ConsumedCapacity)
		case *dynamodb.ScanOutput:
			add(&m.used.ReadUnits, *r.ConsumedCapacity)
		case *dynamodb.PutItemOutput:
			add(&m.used.WriteUnits, *r.ConsumedCapacity)
		case *dynamodb.UpdateItemOutput:
			add(&m.used.WriteUnits, *r.ConsumedCapacity)
		case *dynamodb.DeleteItemOutput:
			add(&m.used.WriteUnits, *r.ConsumedCapacity)
		}
	}
	return out, metadata, err
}

// size returns about how many bytes DynamoDB counts for an item (developer guide,
// "DynamoDB item sizes and formats").
func size(item map[string]types.AttributeValue) int {
	sum := 0
	for name, value := range item {
		sum += len(name)
		switch v := value.(type) {
		case *types.AttributeValueMemberS:
			sum += len(v.Value)
		case *types.AttributeValueMemberN:
			sum += len(v.Value)/2 + 1
		case *types.AttributeValueMemberM:
			sum += 3 + size(v.Value)
		default:
			sum++
		}
	}
	return sum
}
