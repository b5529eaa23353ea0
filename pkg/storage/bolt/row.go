package bolt

import (
	"encoding/json"
	"fmt"
	"time"

	"syncplane/pkg/syncs"
)

// A key is a DynamoDB key of package dynamo, its two parts joined with a zero byte,
// which no workspace contains.

// syncPrefix begins the sort key of a sync.
const syncPrefix = "SYNC#"

// prefixOf returns the prefix of the keys of all syncs of a workspace.
func prefixOf(workspace string) []byte { return []byte(workspace + "\x00" + syncPrefix) }

// keyOf returns the key of a sync.
func keyOf(workspace, id string) []byte { return append(prefixOf(workspace), id...) }

// idempotencyKeyOf returns the key of an idempotency record.
func idempotencyKeyOf(workspace, key string) []byte { return []byte(workspace + "\x00ONCE#" + key) }

// row is a sync as it is stored, in JSON. Configuration is a JSON string, so that
// it is read back byte for byte.
type row struct {
	ID               string    `json:"id"`
	Version          int64     `json:"version"`
	SourceID         int64     `json:"source_id"`
	DestinationID    int64     `json:"destination_id"`
	ModelID          int64     `json:"model_id"`
	Configuration    string    `json:"configuration"`
	ScheduleType     string    `json:"schedule_type"`
	SyncMode         string    `json:"sync_mode"`
	SyncInterval     int64     `json:"sync_interval"`
	SyncIntervalUnit string    `json:"sync_interval_unit"`
	CronExpression   string    `json:"cron_expression,omitempty"`
	CursorField      string    `json:"cursor_field,omitempty"`
	StreamName       string    `json:"stream_name"`
	Status           string    `json:"status"`
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
	ScheduledAt      time.Time `json:"scheduled_at,omitzero"` // zero means CreatedAt, the usual case
}

func rowOf(s syncs.Sync) row {
	r := row{
		ID:               s.ID,
		Version:          s.Version,
		SourceID:         s.SourceID,
		DestinationID:    s.DestinationID,
		ModelID:          s.ModelID,
		Configuration:    s.Configuration,
		ScheduleType:     s.ScheduleType,
		SyncMode:         s.SyncMode,
		SyncInterval:     s.SyncInterval,
		SyncIntervalUnit: s.SyncIntervalUnit,
		CronExpression:   s.CronExpression,
		CursorField:      s.CursorField,
		StreamName:       s.StreamName,
		Status:           string(s.Status),
		CreatedAt:        s.CreatedAt,
		UpdatedAt:        s.UpdatedAt,
	}
	if !s.ScheduledAt.Equal(s.CreatedAt) {
		r.ScheduledAt = s.ScheduledAt
	}
	return r
}

func (r row) sync(workspace string) syncs.Sync {
	s := syncs.Sync{
		Workspace:        workspace,
		ID:               r.ID,
		Version:          r.Version,
		SourceID:         r.SourceID,
		DestinationID:    r.DestinationID,
		ModelID:          r.ModelID,
		Configuration:    r.Configuration,
		ScheduleType:     r.ScheduleType,
		SyncMode:         r.SyncMode,
		SyncInterval:     r.SyncInterval,
		SyncIntervalUnit: r.SyncIntervalUnit,
		CronExpression:   r.CronExpression,
		CursorField:      r.CursorField,
		StreamName:       r.StreamName,
		Status:           syncs.Status(r.Status),
		CreatedAt:        r.CreatedAt.UTC(),
		UpdatedAt:        r.UpdatedAt.UTC(),
		ScheduledAt:      r.ScheduledAt.UTC(),
	}
	if r.ScheduledAt.IsZero() {
		s.ScheduledAt = s.CreatedAt
	}
	return s
}

// decode decodes the row of the sync with this ID in a workspace. It returns
// syncs.ErrUnreadable for a row that is not one of this program.
func decode(workspace, id string, value []byte) (syncs.Sync, error) {
	var r row
	if err := json.Unmarshal(value, &r); err != nil {
		return syncs.Sync{}, fmt.Errorf("decode sync %s: %w: %w", id, syncs.ErrUnreadable, err)
	}
	if r.ID != id || r.Version < 1 {
		return syncs.Sync{}, fmt.Errorf("decode sync %s: %w: it has the ID %q and version %d", id, syncs.ErrUnreadable, r.ID, r.Version)
	}
	return r.sync(workspace), nil
}

// idempotencyRow is an idempotency record. It holds the sync as it was created, so
// that a repeated request gets the same response after later changes.
type idempotencyRow struct {
	Fingerprint string    `json:"fingerprint"`
	Expires     time.Time `json:"expires"`
	First       row       `json:"first"`
}
