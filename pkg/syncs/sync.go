// Package syncs is the domain: what a sync is, when one is valid, and what
// may be done with it. It knows no HTTP, no JSON library and no AWS.
package syncs

import "time"

// Sync is a reverse-ETL job: copy the rows of a model from a source to a
// destination on a schedule.
type Sync struct {
	Workspace string // who owns it; the first half of its key
	ID        string // UUIDv7 (RFC 9562), so that IDs sort by creation

	SourceID         int64 // 1 … MaxID, as are the next two
	DestinationID    int64
	ModelID          int64
	Configuration    string // a JSON object, byte for byte as the client wrote it
	ScheduleType     string
	SyncMode         string
	SyncInterval     int64  // in SyncIntervalUnit, 1 … MaxInterval
	SyncIntervalUnit string // "minutes"
	CronExpression   string // "" if there is none; decides over the interval if there is one
	CursorField      string // "" if there is none
	StreamName       string

	Status    Status
	CreatedAt time.Time // UTC, whole milliseconds
	UpdatedAt time.Time // UTC, whole milliseconds
}

// Status is where a sync stands in its life.
type Status string

// The statuses there are.
const (
	Pending Status = "pending" // accepted and waiting for its first run
)
