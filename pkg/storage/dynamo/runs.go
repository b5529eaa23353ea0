package dynamo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/backoff"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// Runs is a runs.Store in the table of a Store. The runs of a sync have a partition of
// their own, since a partition accepts about 1,000 write units a second; the slots are
// in the partition of their workspace.
type Runs struct {
	*Store
	Now func() time.Time // decides which runs have expired
}

var _ runs.Store = Runs{}

const (
	runPrefix     = "RUN#"  // followed by the scheduled time
	recordsPrefix = "ROWS#" // followed by the scheduled time
	slotPrefix    = "OPEN#" // followed by the ID of a sync
)

// The attributes that expressions name.
const (
	transitionAttribute = "transition" // set by the writes that are published: the stream's filter looks for it
	versionAttribute    = "version"
)

func runPartition(workspace, syncID string) string { return workspace + "#" + syncID }

func runKeyOf(prefix string, key runs.Key) row {
	return row{
		partitionKey: text(runPartition(key.Workspace, key.SyncID)),
		sortKey:      text(prefix + key.Time.UTC().Format(time.RFC3339)),
	}
}

func slotKeyOf(workspace, syncID string) row {
	return row{partitionKey: text(workspace), sortKey: text(slotPrefix + syncID)}
}

func milliseconds(t time.Time) types.AttributeValue { return number(t.UnixMilli()) }

// runRowOf returns a run as it is stored. Times are milliseconds since 1970, so that
// expressions can compare and add them. Zero values have no attribute.
func runRowOf(r runs.Run) row {
	item := runKeyOf(runPrefix, r.Key)
	item["workspace"] = text(r.Workspace)
	item["sync_id"] = text(r.SyncID)
	item["scheduled_time"] = number(r.Time.Unix())
	item[versionAttribute] = number(r.Version)
	item["status"] = text(string(r.Status))
	item["triggered_by"] = text(string(r.Trigger))
	item["run_type"] = text(string(r.Type))
	item[expiresAttribute] = number(r.ExpiresAt.Unix())
	flag := func(name string, set bool) {
		if set {
			item[name] = &types.AttributeValueMemberBOOL{Value: true}
		}
	}
	flag("late", r.Late)
	flag("reported", r.Reported)
	flag("has_records", r.HasRecords)
	putNumber(item, "attempt", int64(r.Attempt))
	putNumber(item, "lease_ms", r.Lease.Milliseconds())
	putText(item, "executor", r.Executor)
	putText(item, transitionAttribute, r.Transition)
	putReport(item, r.Counters, r.Error, r.ErrorCode, r.LogURL)
	for name, t := range map[string]time.Time{
		"deadline_at": r.DeadlineAt, "end_by": r.EndBy, "created_at": r.CreatedAt, "updated_at": r.UpdatedAt,
		"started_at": r.StartedAt, "finished_at": r.FinishedAt, "cancel_requested_at": r.CancelRequestedAt,
	} {
		if !t.IsZero() {
			item[name] = milliseconds(t)
		}
	}
	if l := r.LateReport; l != nil {
		late := row{"fence": number(l.Fence), "status": text(string(l.Status)), "received_at": milliseconds(l.ReceivedAt)}
		putReport(late, l.Counters, l.Error, l.ErrorCode, l.LogURL)
		item["late_report"] = &types.AttributeValueMemberM{Value: late}
	}
	return item
}

func putNumber(item row, name string, n int64) {
	if n != 0 {
		item[name] = number(n)
	}
}

func putText(item row, name, s string) {
	if s != "" {
		item[name] = text(s)
	}
}

// putReport puts the report of an executor.
func putReport(item row, c runs.Counters, message, code, logURL string) {
	putText(item, "error", message)
	putText(item, "error_code", code)
	putText(item, "log_url", logURL)
	for name, n := range counters(&c) {
		if *n != nil {
			item[name] = number(**n)
		}
	}
}

// counters returns the counters by the names of their attributes.
func counters(c *runs.Counters) map[string]**int64 {
	return map[string]**int64{
		"total_query_rows": &c.TotalQueryRows, "total_rows": &c.TotalRows, "skipped_rows": &c.SkippedRows,
		"successful_rows": &c.SuccessfulRows, "failed_rows": &c.FailedRows,
	}
}

// runOf is the inverse of runRowOf.
func runOf(item row) (runs.Run, error) {
	read := reader{row: item}
	r := runs.Run{
		Key: runs.Key{
			Workspace: read.text("workspace"), SyncID: read.text("sync_id"),
			Time: time.Unix(read.number("scheduled_time"), 0).UTC(),
		},
		Version:           read.number(versionAttribute),
		Status:            runs.Status(read.text("status")),
		Trigger:           runs.Trigger(read.text("triggered_by")),
		Type:              runs.Type(read.text("run_type")),
		Late:              read.flag("late"),
		Attempt:           int(read.optionalNumber("attempt")),
		Executor:          read.optional("executor"),
		Lease:             time.Duration(read.optionalNumber("lease_ms")) * time.Millisecond,
		DeadlineAt:        read.milliseconds("deadline_at"),
		EndBy:             read.milliseconds("end_by"),
		CreatedAt:         read.milliseconds("created_at"),
		UpdatedAt:         read.milliseconds("updated_at"),
		StartedAt:         read.milliseconds("started_at"),
		FinishedAt:        read.milliseconds("finished_at"),
		CancelRequestedAt: read.milliseconds("cancel_requested_at"),
		Reported:          read.flag("reported"),
		HasRecords:        read.flag("has_records"),
		ExpiresAt:         time.Unix(read.number(expiresAttribute), 0).UTC(),
		Transition:        read.optional(transitionAttribute),
	}
	r.Counters, r.Error, r.ErrorCode, r.LogURL = read.report()
	if late, ok := item["late_report"].(*types.AttributeValueMemberM); ok {
		inner := reader{row: late.Value}
		l := runs.LateReport{
			Fence: inner.number("fence"), Status: runs.Status(inner.text("status")), ReceivedAt: inner.milliseconds("received_at"),
		}
		l.Counters, l.Error, l.ErrorCode, l.LogURL = inner.report()
		r.LateReport = &l
		read.err = errors.Join(read.err, inner.err)
	}
	if read.err == nil {
		read.err = r.CheckStored()
	}
	return r, unreadableRun(item, read.err)
}

// unreadableRun returns runs.ErrUnreadable with the key of an item and the cause,
// nil if there is none.
func unreadableRun(item row, cause error) error {
	if cause == nil {
		return nil
	}
	key := reader{row: item}
	return fmt.Errorf("%s %s: %w: %w", key.text(partitionKey), key.text(sortKey), runs.ErrUnreadable, cause)
}

func (r *reader) report() (c runs.Counters, message, code, logURL string) {
	for name, n := range counters(&c) {
		if _, given := r.row[name]; given {
			*n = new(r.number(name))
		}
	}
	return c, r.optional("error"), r.optional("error_code"), r.optional("log_url")
}

func (r *reader) flag(name string) bool {
	value, ok := r.row[name].(*types.AttributeValueMemberBOOL)
	return ok && value.Value
}

func (r *reader) optionalNumber(name string) int64 {
	if _, given := r.row[name]; !given {
		return 0
	}
	return r.number(name)
}

// milliseconds reads a time, zero if it is not there.
func (r *reader) milliseconds(name string) time.Time {
	if _, given := r.row[name]; !given {
		return time.Time{}
	}
	return time.UnixMilli(r.number(name)).UTC()
}

func slotRowOf(s runs.Slot) row {
	item := slotKeyOf(s.Workspace, s.SyncID)
	item[versionAttribute] = number(s.Version)
	item["open_time"] = number(s.Open.Unix())
	if !s.Waiting.IsZero() {
		item["waiting_time"] = number(s.Waiting.Unix())
	}
	return item
}

func slotOf(item row) (runs.Slot, error) {
	read := reader{row: item}
	s := runs.Slot{
		Workspace: read.text(partitionKey), SyncID: strings.TrimPrefix(read.text(sortKey), slotPrefix),
		Version: read.number(versionAttribute), Open: time.Unix(read.number("open_time"), 0).UTC(),
	}
	if waiting := read.optionalNumber("waiting_time"); waiting != 0 {
		s.Waiting = time.Unix(waiting, 0).UTC()
	}
	return s, unreadableRun(item, read.err)
}

func recordsRowOf(r runs.Run, records []runs.Record) row {
	item := runKeyOf(recordsPrefix, r.Key)
	item[expiresAttribute] = number(r.ExpiresAt.Unix())
	list := make([]types.AttributeValue, 0, len(records))
	for _, record := range records {
		entry := row{"primary_key": text(record.PrimaryKey)}
		putText(entry, "action", record.Action)
		putText(entry, "error", record.Error)
		list = append(list, &types.AttributeValueMemberM{Value: entry})
	}
	item["records"] = &types.AttributeValueMemberL{Value: list}
	return item
}

// triggerIdempotencyRowOf returns the idempotency record of a trigger: the run as it was
// answered.
func triggerIdempotencyRowOf(change runs.Change) row {
	r := change.Answered()
	item := runRowOf(r)
	delete(item, transitionAttribute) // the record is not published
	item[partitionKey] = text(r.Workspace)
	item[sortKey] = text(idempotencyPrefix + change.IdempotencyKey.Key)
	item[fingerprintAttribute] = text(change.IdempotencyKey.Fingerprint)
	item[expiresAttribute] = number(change.IdempotencyKey.Expires.Unix())
	item["run_expires_at"] = number(r.ExpiresAt.Unix())
	if change.Created {
		item["run_created"] = &types.AttributeValueMemberBOOL{Value: true}
	}
	return item
}

// get reads one item, strongly consistent. It is empty if there is none.
func (st *Store) get(ctx context.Context, key row, what string) (row, error) {
	out, err := st.Client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &st.Table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, translate("read "+what, err)
	}
	return out.Item, nil
}

// Run reads one run.
func (st Runs) Run(ctx context.Context, key runs.Key) (runs.Run, error) {
	item, err := st.get(ctx, runKeyOf(runPrefix, key), "a run")
	if err != nil {
		return runs.Run{}, err
	}
	if len(item) == 0 {
		return runs.Run{}, runs.ErrNotFound
	}
	r, err := runOf(item)
	if err == nil && r.Expired(st.Now()) {
		return runs.Run{}, runs.ErrNotFound
	}
	return r, err
}

// maxBatch is how many items BatchGetItem reads at most (its API reference).
const maxBatch = 100

// errUnprocessed reports a batch in which DynamoDB did not process all keys, because
// it was throttled.
var errUnprocessed = errors.New("DynamoDB left keys unprocessed")

func isUnprocessed(err error) bool { return errors.Is(err, errUnprocessed) }

// Batch reads several runs, strongly consistent, with one request for 100 runs.
func (st Runs) Batch(ctx context.Context, keys []runs.Key) ([]runs.Run, error) {
	var found []runs.Run
	for chunk := range slices.Chunk(keys, maxBatch) {
		request := types.KeysAndAttributes{ConsistentRead: aws.Bool(true)}
		for _, key := range chunk {
			request.Keys = append(request.Keys, runKeyOf(runPrefix, key))
		}
		pending := map[string]types.KeysAndAttributes{st.Table: request}
		err := backoff.Retry(ctx, isUnprocessed, func() error {
			out, err := st.Client.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: pending})
			if err != nil {
				return err
			}
			for _, item := range out.Responses[st.Table] {
				r, err := runOf(item)
				if err != nil {
					st.unreadableRun(ctx, err)
					continue
				}
				if !r.Expired(st.Now()) {
					found = append(found, r)
				}
			}
			if pending = out.UnprocessedKeys; len(pending) > 0 {
				return errUnprocessed
			}
			return nil
		})
		if err != nil {
			return nil, translate("read runs", err)
		}
	}
	return found, nil
}

// Runs reads backwards through the partition of the sync.
func (st Runs) Runs(ctx context.Context, workspace, syncID string, before time.Time, limit int) ([]runs.Run, bool, error) {
	in := &dynamodb.QueryInput{
		TableName:              &st.Table,
		ConsistentRead:         aws.Bool(true),
		ScanIndexForward:       aws.Bool(false),
		Limit:                  aws.Int32(int32(limit)), //nolint:gosec // at most 1,000
		KeyConditionExpression: aws.String("pk = :partition AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: row{
			":partition": text(runPartition(workspace, syncID)), ":prefix": text(runPrefix),
		},
	}
	if !before.IsZero() {
		in.ExclusiveStartKey = runKeyOf(runPrefix, runs.Key{Workspace: workspace, SyncID: syncID, Time: before})
	}
	now := st.Now()
	for {
		out, err := st.Client.Query(ctx, in)
		if err != nil {
			return nil, false, translate("list the runs", err)
		}
		list := make([]runs.Run, 0, len(out.Items))
		for _, item := range out.Items {
			r, err := runOf(item)
			if err != nil {
				st.unreadableRun(ctx, err)
				continue
			}
			if !r.Expired(now) {
				list = append(list, r)
			}
		}
		more := len(out.LastEvaluatedKey) > 0
		if len(list) > 0 || !more {
			return list, more, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// Slot reads the slot of a sync.
func (st Runs) Slot(ctx context.Context, workspace, syncID string) (runs.Slot, bool, error) {
	item, err := st.get(ctx, slotKeyOf(workspace, syncID), "a slot")
	if err != nil || len(item) == 0 {
		return runs.Slot{}, false, err
	}
	slot, err := slotOf(item)
	return slot, err == nil, err
}

// Slots reads through the slots of a workspace.
func (st Runs) Slots(ctx context.Context, workspace, after string, limit int) ([]runs.Slot, bool, error) {
	in := &dynamodb.QueryInput{
		TableName:                 &st.Table,
		ConsistentRead:            aws.Bool(true),
		Limit:                     aws.Int32(int32(limit)), //nolint:gosec // at most 1,000
		KeyConditionExpression:    aws.String("pk = :workspace AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: row{":workspace": text(workspace), ":prefix": text(slotPrefix)},
	}
	if after != "" {
		in.ExclusiveStartKey = slotKeyOf(workspace, after)
	}
	for {
		out, err := st.Client.Query(ctx, in)
		if err != nil {
			return nil, false, translate("list the slots", err)
		}
		slots := make([]runs.Slot, 0, len(out.Items))
		for _, item := range out.Items {
			slot, err := slotOf(item)
			if err != nil {
				st.unreadableRun(ctx, err)
				continue
			}
			slots = append(slots, slot)
		}
		more := len(out.LastEvaluatedKey) > 0
		if len(slots) > 0 || !more {
			return slots, more, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey // no row of this response can be read
	}
}

// unreadableRun logs that the row of a run or a slot is left out because it cannot be
// read.
func (st Runs) unreadableRun(ctx context.Context, err error) {
	if st.Log != nil {
		st.Log.LogAttrs(ctx, slog.LevelError, "unreadable run", slog.String("error", err.Error()))
	}
}

// Records reads the failed rows of a run.
func (st Runs) Records(ctx context.Context, key runs.Key) ([]runs.Record, error) {
	item, err := st.get(ctx, runKeyOf(recordsPrefix, key), "the failed rows of a run")
	if err != nil || len(item) == 0 {
		return nil, err
	}
	list, ok := item["records"].(*types.AttributeValueMemberL)
	if !ok {
		return nil, errors.New("attribute records of an item is missing or of another type")
	}
	records := make([]runs.Record, 0, len(list.Value))
	for _, value := range list.Value {
		entry, _ := value.(*types.AttributeValueMemberM)
		if entry == nil {
			return nil, errors.New("an element of records is not a map")
		}
		read := reader{row: entry.Value}
		records = append(records, runs.Record{
			PrimaryKey: read.text("primary_key"), Action: read.optional("action"), Error: read.optional("error"),
		})
		if read.err != nil {
			return nil, read.err
		}
	}
	return records, nil
}

// Replay reads the idempotency record of a trigger.
func (st Runs) Replay(ctx context.Context, workspace string, key syncs.IdempotencyKey) (run runs.Run, created, ok bool, err error) {
	item, err := st.get(ctx, row{partitionKey: text(workspace), sortKey: text(idempotencyPrefix + key.Key)}, "an idempotency key")
	if err != nil || len(item) == 0 {
		return runs.Run{}, false, false, err
	}
	read := reader{row: item}
	switch {
	case read.number(expiresAttribute) <= key.Now.Unix():
		return runs.Run{}, false, false, read.err
	case read.text(fingerprintAttribute) != key.Fingerprint && read.err == nil:
		return runs.Run{}, false, false, syncs.ErrKeyReused
	case read.err != nil:
		return runs.Run{}, false, false, read.err
	}
	item[expiresAttribute] = item["run_expires_at"]
	if run, err = runOf(item); err != nil {
		return runs.Run{}, false, false, err
	}
	return run, read.flag("run_created"), true, nil
}

// Commit applies a change: with one conditional PutItem if it is one write, otherwise
// with a transaction, which costs twice the write units.
func (st Runs) Commit(ctx context.Context, change runs.Change) error {
	writes := st.writes(change)
	if len(writes) == 1 && writes[0].Put != nil {
		return st.put(ctx, writes[0].Put)
	}
	err := backoff.Retry(ctx, isTransientCancellation, func() error {
		err := st.transact(ctx, writes)
		if isOvertaken(err) {
			return runs.ErrStale
		}
		return err
	})
	return translate("write a run", err)
}

// isOvertaken reports whether another write has canceled a transaction, so that the
// change must be computed again.
func isOvertaken(err error) bool {
	cancelled, ok := errors.AsType[*types.TransactionCanceledException](err)
	if !ok {
		return false
	}
	for i := range cancelled.CancellationReasons {
		if code := reason(cancelled, i).code; code == conditionFailed || code == transactionConflict {
			return true
		}
	}
	return false
}

// put writes one item. If the condition fails and the stored item is equal to the one
// to be written, an earlier attempt whose response was lost has written it.
func (st Runs) put(ctx context.Context, put *types.Put) error {
	_, err := st.Client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: put.TableName, Item: put.Item,
		ConditionExpression:                 put.ConditionExpression,
		ExpressionAttributeNames:            put.ExpressionAttributeNames,
		ExpressionAttributeValues:           put.ExpressionAttributeValues,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if there, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		if reflect.DeepEqual(there.Item, put.Item) {
			return nil
		}
		return runs.ErrStale
	}
	if _, ok := errors.AsType[*types.TransactionConflictException](err); ok {
		return runs.ErrStale
	}
	return translate("write a run", err)
}

// writes returns the conditional writes of a change.
func (st Runs) writes(change runs.Change) []types.TransactWriteItem {
	now := number(st.Now().Unix())
	const absent = "attribute_not_exists(pk) OR expires_at <= :now"
	const absentRun = "attribute_not_exists(pk) OR (expires_at <= :now AND attribute_exists(finished_at))" // see runs.Run.Expired
	var writes []types.TransactWriteItem
	put := func(item row, condition string, values row) {
		writes = append(writes, types.TransactWriteItem{Put: &types.Put{
			TableName: &st.Table, Item: item, ConditionExpression: &condition, ExpressionAttributeValues: values,
		}})
	}
	for _, r := range change.Runs {
		if r.Version == 1 {
			put(runRowOf(r), absentRun, row{":now": now})
		} else {
			put(runRowOf(r), "version = :before", row{":before": number(r.Version - 1)})
		}
	}
	if c := change.Slot; c != nil {
		const same = "version = :version AND open_time = :open"
		switch {
		case c.Before == nil:
			put(slotRowOf(*c.After), "attribute_not_exists(pk)", nil)
		case c.After == nil:
			writes = append(writes, types.TransactWriteItem{Delete: &types.Delete{
				TableName: &st.Table, Key: slotKeyOf(c.Before.Workspace, c.Before.SyncID),
				ConditionExpression:       aws.String(same),
				ExpressionAttributeValues: row{":version": number(c.Before.Version), ":open": number(c.Before.Open.Unix())},
			}})
		default:
			put(slotRowOf(*c.After), same, row{":version": number(c.Before.Version), ":open": number(c.Before.Open.Unix())})
		}
	}
	if len(change.Records) > 0 {
		put(recordsRowOf(change.Runs[0], change.Records), absent, row{":now": now})
	}
	if change.Sync != nil {
		put(rowOf(*change.Sync), "version = :before", row{":before": number(change.Sync.Version - 1)})
	}
	if change.IdempotencyKey != nil {
		put(triggerIdempotencyRowOf(change), absent, row{":now": number(change.IdempotencyKey.Now.Unix())})
	}
	return writes
}

// Heartbeat extends a lease with one UpdateItem. A heartbeat without a lease is
// declined in the last hours of a run, since an expression cannot compare sums.
func (st Runs) Heartbeat(ctx context.Context, key runs.Key, beat runs.Beat) (runs.Run, bool, error) {
	attempt := beat.Fence - key.Time.Unix()*1000
	values := row{
		":status": text(string(runs.InProgress)), ":attempt": number(attempt), ":now": milliseconds(beat.Now), ":one": number(1),
		":limit": milliseconds(beat.Now.Add(runs.MaxLease)), ":latest": milliseconds(beat.Latest()),
	}
	set := []string{"updated_at = :now", "version = version + :one"}
	if beat.Lease == 0 {
		set = append(set, "deadline_at = :now + lease_ms")
	} else {
		values[":limit"] = milliseconds(beat.Now.Add(beat.Lease))
		values[":lease"] = number(beat.Lease.Milliseconds())
		set = append(set, "deadline_at = :limit", "lease_ms = :lease")
	}
	for name, n := range counters(&beat.Counters) {
		if *n != nil {
			values[":"+name] = number(**n)
			set = append(set, name+" = :"+name)
		}
	}
	slices.Sort(set)
	out, err := st.Client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName:        &st.Table,
		Key:              runKeyOf(runPrefix, key),
		UpdateExpression: aws.String(fmt.Sprintf("SET %s REMOVE %s", strings.Join(set, ", "), transitionAttribute)),
		ConditionExpression: aws.String("#status = :status AND attempt = :attempt AND deadline_at > :now AND end_by >= :limit" +
			" AND updated_at <= :latest AND attribute_not_exists(cancel_requested_at)"),
		ExpressionAttributeNames:            map[string]string{"#status": "status"},
		ExpressionAttributeValues:           values,
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if there, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		if len(there.Item) == 0 {
			return runs.Run{}, false, runs.ErrNotFound
		}
		r, err := runOf(there.Item)
		if err == nil && r.Expired(beat.Now) {
			return runs.Run{}, false, runs.ErrNotFound
		}
		return r, false, err
	}
	if _, ok := errors.AsType[*types.TransactionConflictException](err); ok {
		return runs.Run{}, false, runs.ErrStale
	}
	if err != nil {
		return runs.Run{}, false, translate("extend a lease", err)
	}
	r, err := runOf(out.Attributes)
	return r, err == nil, err
}
