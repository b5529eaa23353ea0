package dynamo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/syncs"
)

// The keys of the table. All rows of a workspace are in its own partition, so no
// request can form a key of another workspace. Since IDs are UUIDv7, the syncs of a
// partition are sorted by creation.
const (
	partitionKey      = "pk"    // the workspace
	sortKey           = "sk"    // one of the prefixes below, followed by a name
	syncPrefix        = "SYNC#" // followed by the ID of a sync
	idempotencyPrefix = "ONCE#" // followed by an idempotency key
)

// The attributes of an idempotency record, in addition to those of the sync that was
// created.
const (
	fingerprintAttribute = "fingerprint"
	expiresAttribute     = "expires_at" // seconds since 1970; DynamoDB removes the item some time after
)

// maxItem is the size of the largest item, in bytes (DynamoDB developer guide,
// "Service, account, and table quotas").
const maxItem = 400 << 10

// This does not compile if syncs.MaxSize leaves less than 1 KB for the attributes of
// an idempotency record.
const _ = uint(maxItem - 1<<10 - syncs.MaxSize)

type row = map[string]types.AttributeValue

// keyOf returns the primary key of a sync.
func keyOf(workspace, id string) row {
	return row{partitionKey: text(workspace), sortKey: text(syncPrefix + id)}
}

// rowOf returns s as it is stored. configuration is stored as its JSON text, so that
// numbers and the order of members are preserved. Optional fields without a value
// have no attribute.
func rowOf(s syncs.Sync) row {
	r := keyOf(s.Workspace, s.ID)
	r["id"] = text(s.ID)
	r["version"] = number(s.Version)
	for i := range syncs.Fields {
		switch f := &syncs.Fields[i]; {
		case f.Integer != nil:
			r[f.Name] = number(*f.Integer(&s))
		case !f.Optional || *f.Text(&s) != "":
			r[f.Name] = text(*f.Text(&s))
		}
	}
	r["status"] = text(string(s.Status))
	r["created_at"] = instant(s.CreatedAt)
	r["updated_at"] = instant(s.UpdatedAt)
	if !s.ScheduledAt.Equal(s.CreatedAt) { // equal in the usual case
		r["scheduled_at"] = instant(s.ScheduledAt)
	}
	return r
}

// idempotencyRowOf returns the idempotency record of a create. It has the sync as it
// was created, so that a repeated request gets the same response after later changes.
func idempotencyRowOf(s syncs.Sync, key syncs.IdempotencyKey) row {
	r := rowOf(s)
	r[sortKey] = text(idempotencyPrefix + key.Key)
	r[fingerprintAttribute] = text(key.Fingerprint)
	r[expiresAttribute] = number(key.Expires.Unix())
	return r
}

// syncOf is the inverse of rowOf. It returns syncs.ErrUnreadable for a row that another
// program wrote: an attribute is missing or has another type, or the ID is not that of
// the key.
func syncOf(r row) (syncs.Sync, error) {
	read := reader{row: r}
	s := syncs.Sync{
		Workspace: read.text(partitionKey),
		ID:        read.text("id"),
		Version:   read.number("version"),
		Status:    syncs.Status(read.text("status")),
		CreatedAt: read.time("created_at"),
		UpdatedAt: read.time("updated_at"),
	}
	for i := range syncs.Fields {
		switch f := &syncs.Fields[i]; {
		case f.Integer != nil:
			*f.Integer(&s) = read.number(f.Name)
		case f.Optional:
			*f.Text(&s) = read.optional(f.Name)
		default:
			*f.Text(&s) = read.text(f.Name)
		}
	}
	s.ScheduledAt = s.CreatedAt
	if _, given := r["scheduled_at"]; given {
		s.ScheduledAt = read.time("scheduled_at")
	}
	switch {
	case read.err != nil:
		return syncs.Sync{}, fmt.Errorf("%w: %w", syncs.ErrUnreadable, read.err)
	case s.Version < 1:
		return syncs.Sync{}, fmt.Errorf("%w: it has version %d", syncs.ErrUnreadable, s.Version)
	}
	if id, is := strings.CutPrefix(read.text(sortKey), syncPrefix); is && id != s.ID {
		return syncs.Sync{}, fmt.Errorf("%w: it has the ID %q", syncs.ErrUnreadable, s.ID)
	}
	return s, nil
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func number(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func instant(t time.Time) types.AttributeValue { return text(t.Format(time.RFC3339Nano)) }

// reader reads attributes and records the first error.
type reader struct {
	row row
	err error
}

func (r *reader) fault(name string) {
	if r.err == nil {
		r.err = fmt.Errorf("attribute %s of an item is missing or of another type", name)
	}
}

func (r *reader) text(name string) string {
	value, ok := r.row[name].(*types.AttributeValueMemberS)
	if !ok {
		r.fault(name)
		return ""
	}
	return value.Value
}

func (r *reader) texts(name string) []string {
	list, ok := r.row[name].(*types.AttributeValueMemberL)
	if !ok {
		r.fault(name)
		return nil
	}
	all := make([]string, 0, len(list.Value))
	for _, value := range list.Value {
		s, ok := value.(*types.AttributeValueMemberS)
		if !ok {
			r.fault(name)
			return nil
		}
		all = append(all, s.Value)
	}
	return all
}

func (r *reader) optional(name string) string {
	if _, given := r.row[name]; !given {
		return ""
	}
	return r.text(name)
}

func (r *reader) number(name string) int64 {
	value, ok := r.row[name].(*types.AttributeValueMemberN)
	if !ok {
		r.fault(name)
		return 0
	}
	n, err := strconv.ParseInt(value.Value, 10, 64)
	if err != nil {
		r.fault(name)
	}
	return n
}

func (r *reader) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, r.text(name))
	if err != nil {
		r.fault(name)
	}
	return t.UTC()
}
