package syncs

// MaxSize is the size of the largest sync that a request can create, in bytes as
// Size counts them. Our own choice: every storage backend can store a sync of
// this size together with an idempotency key.
const MaxSize = 399 << 10

// fixedSize is an upper bound on the size of everything but the texts of a sync,
// in bytes: the names of its fields, numbers, times and its ID.
const fixedSize = 512

// Size returns an upper bound on the bytes that s takes in a store, encoded as
// UTF-8 with the names of its fields. It depends on the texts of s alone: a change
// of a number, a time or the status leaves it as it is.
func (s Sync) Size() int {
	return fixedSize + len(s.Workspace) + len(s.Configuration) + len(s.ScheduleType) + len(s.SyncMode) +
		len(s.SyncIntervalUnit) + len(s.CronExpression) + len(s.CursorField) + len(s.StreamName)
}
