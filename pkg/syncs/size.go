package syncs

// MaxSize is the largest sync that a request can make, in bytes as Size counts
// them. It is what every engine can keep: DynamoDB takes 400 KB an item (its
// developer guide, "Service, account, and table quotas"), and 1 KB is left for
// what an idempotency record adds.
const MaxSize = 399 << 10

// fixedSize is an upper bound on what a sync takes beside its texts, in bytes:
// names of fields, numbers, times and its ID.
const fixedSize = 512

// Size is the room that s takes in a store and in an answer, in bytes, as an
// upper bound that no change of a number, a time or the status moves. It counts
// as DynamoDB does: UTF-8, names of attributes included.
func (s Sync) Size() int {
	return fixedSize + len(s.Workspace) + len(s.Configuration) + len(s.ScheduleType) + len(s.SyncMode) +
		len(s.SyncIntervalUnit) + len(s.CronExpression) + len(s.CursorField) + len(s.StreamName)
}
