package main_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// patternsOf returns the filters of the function's event source mapping for the
// stream, from template.yaml.
func patternsOf(t *testing.T) []map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var patterns []map[string]any
	for _, match := range regexp.MustCompile(`(?m)^ +- Pattern: '(.*)'$`).FindAllStringSubmatch(string(text), -1) {
		var pattern map[string]any
		if err := json.Unmarshal([]byte(match[1]), &pattern); err != nil {
			t.Fatal(err)
		}
		patterns = append(patterns, pattern)
	}
	if len(patterns) == 0 {
		t.Fatal("there is no filter")
	}
	return patterns
}

// passes reports whether one of the patterns matches a record.
func passes(t *testing.T, patterns []map[string]any, record json.RawMessage) bool {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal(record, &value); err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(patterns, func(pattern map[string]any) bool { return matches(t, pattern, value) })
}

// matches evaluates the part of Lambda's filter syntax that template.yaml uses: all
// members of a pattern must match; a leaf is a list of which one rule must match,
// and a rule is a text, a prefix or a test for existence (Lambda Developer Guide,
// "Filter rule syntax"). exists works on leaves alone.
func matches(t *testing.T, pattern, value map[string]any) bool {
	t.Helper()
	for name, part := range pattern {
		switch part := part.(type) {
		case map[string]any:
			inner, _ := value[name].(map[string]any) // absent: no rule but exists: false matches
			if !matches(t, part, inner) {
				return false
			}
		case []any:
			leaf, given := value[name]
			if _, nested := leaf.(map[string]any); nested {
				t.Fatalf("%s is not a leaf", name)
			}
			if !slices.ContainsFunc(part, func(rule any) bool { return satisfies(t, rule, leaf, given) }) {
				return false
			}
		default:
			t.Fatalf("%s is a %T", name, part)
		}
	}
	return true
}

func satisfies(t *testing.T, rule, leaf any, given bool) bool {
	t.Helper()
	text, isText := leaf.(string)
	switch rule := rule.(type) {
	case string:
		return isText && text == rule
	case map[string]any:
		if prefix, ok := rule["prefix"].(string); ok && len(rule) == 1 {
			return isText && strings.HasPrefix(text, prefix)
		}
		if exists, ok := rule["exists"].(bool); ok && len(rule) == 1 {
			return given == exists
		}
	}
	t.Fatalf("the rule %v is not supported", rule)
	return false
}

// service returns the operations on the runs of a table at a moment.
func (tb *table) service(now time.Time) *runs.Service {
	clock := func() time.Time { return now }
	return &runs.Service{Store: storeAt(tb.store, clock), Syncs: tb.store, Now: clock, Retention: runs.DefaultRetention()}
}

// caller may do everything in the workspace of the tests.
func caller() auth.Caller {
	return auth.Caller{Workspace: "acme", Scopes: []string{string(auth.ReadSyncs), string(auth.WriteSyncs), string(auth.ExecuteRuns)}}
}

// TestFilter checks which writes invoke the function: those of syncs, and those of
// runs that are published. Heartbeats, late reports, slots, failed rows, idempotency
// keys, rate limits, API keys and removals by TTL do not.
func TestFilter(t *testing.T) {
	tb := newTable(t)
	// The runs began so long ago that every item with an expiration has expired.
	ctx, now := t.Context(), time.Now().UTC().Truncate(time.Second).Add(-runs.DefaultRetention().Runs-24*time.Hour)
	patterns := patternsOf(t)
	var all []json.RawMessage
	step := func(name string, want ...string) {
		t.Helper()
		var passed []string
		for _, record := range tb.unfiltered(t) {
			all = append(all, record)
			if passes(t, patterns, record) {
				passed = append(passed, summaryOf(t, record))
			}
		}
		slices.Sort(passed)
		if diff := cmp.Diff(want, passed); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	s := newSync(t, func(s *syncs.Sync) { s.Status = syncs.Pending })
	_, err := tb.store.CreateOnce(ctx, s, syncs.IdempotencyKey{Key: "k", Fingerprint: "f", Now: now, Expires: now.Add(time.Hour)})
	check(t, err)
	step("a create", "INSERT SYNC")

	service := tb.service(now)
	key := runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: now}
	_, _, err = service.Due(ctx, key, false)
	check(t, err)
	step("due", "INSERT RUN queued")
	run, _, err := service.Claim(ctx, caller(), key, runs.ClaimRequest{Executor: new("worker")})
	check(t, err)
	step("a claim", "MODIFY RUN started")
	for range 3 {
		_, err = service.Heartbeat(ctx, caller(), key, runs.HeartbeatRequest{Fence: new(run.Fence()), Counters: runs.Counters{TotalRows: new(int64(5))}})
		check(t, err)
	}
	step("heartbeats")
	_, err = service.Trigger(ctx, caller(), runs.TriggerRequest{
		SyncID: s.ID, Type: runs.General, Trigger: runs.ByAPI,
		IdempotencyKey: &syncs.IdempotencyKey{Key: "t", Fingerprint: "f", Now: now, Expires: now.Add(time.Hour)},
	})
	check(t, err)
	step("a trigger while a run is under way")
	report := runs.Report{Fence: new(run.Fence()), Status: new("failed"), FailedRecords: []runs.Record{{PrimaryKey: "1", Error: "no"}}}
	_, err = service.Finish(ctx, caller(), key, report)
	check(t, err)
	step("a report that promotes a run and changes the sync", "MODIFY RUN failed", "MODIFY RUN queued", "MODIFY SYNC")
	report.Fence = new(run.Fence() - 1)
	if _, err := service.Finish(ctx, caller(), key, report); err == nil {
		t.Error("a late report was accepted")
	}
	step("a late report")
	_, taken, err := tb.store.Take(ctx, s.Workspace, ratelimit.Policy{Quota: 10, Window: time.Minute}, now)
	check(t, err)
	if !taken {
		t.Error("no token of the rate limit was taken")
	}
	step("a token of the rate limit")
	check(t, tb.store.CreateKey(ctx, apikey.Key{ID: "key", Workspace: s.Workspace}))
	step("an API key")

	for _, record := range tb.expired(t, 6) { // two runs, failed rows, two idempotency keys, a rate limit
		all = append(all, record)
		if passes(t, patterns, record) {
			t.Errorf("passed: %s", record)
		}
	}
	items, err := tb.store.Client.Scan(ctx, &dynamodb.ScanInput{TableName: &tb.config.TableName})
	check(t, err)
	for _, item := range items.Items {
		_, err := tb.store.Client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
			TableName: &tb.config.TableName, Key: map[string]types.AttributeValue{"pk": item["pk"], "sk": item["sk"]},
		})
		check(t, err)
	}
	if len(items.Items) != 4 { // the sync, its slot, and two items of the API key
		t.Errorf("%d items do not expire", len(items.Items))
	}
	step("other removals", "REMOVE SYNC")
	if len(all) < 20 {
		t.Errorf("the stream had %d records", len(all))
	}
}

// expired enables the time to live of the table, waits until DynamoDB has removed a
// number of items, and returns the records of the removals.
func (tb *table) expired(t *testing.T, number int) []json.RawMessage {
	t.Helper()
	_, err := tb.store.Client.UpdateTimeToLive(t.Context(), &dynamodb.UpdateTimeToLiveInput{
		TableName:               &tb.config.TableName,
		TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("expires_at"), Enabled: aws.Bool(true)},
	})
	check(t, err)
	var records []json.RawMessage
	tick, limit := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for len(records) < number {
		select {
		case <-tick.C:
			records = append(records, tb.unfiltered(t)...)
		case <-limit:
			t.Fatalf("%d of %d items were removed within a minute", len(records), number)
		}
	}
	for _, record := range records {
		var r struct {
			EventName    string            `json:"eventName"`    //nolint:tagliatelle // AWS's name
			UserIdentity map[string]string `json:"userIdentity"` //nolint:tagliatelle // AWS's name
		}
		check(t, json.Unmarshal(record, &r))
		identity := map[string]string{"type": "Service", "principalId": "dynamodb.amazonaws.com"}
		if diff := cmp.Diff(identity, r.UserIdentity); diff != "" || r.EventName != "REMOVE" {
			t.Errorf("%s: %s", record, diff)
		}
	}
	return records
}

// summaryOf returns the operation of a record, the prefix of its sort key and the
// transition of a run.
func summaryOf(t *testing.T, record json.RawMessage) string {
	t.Helper()
	type text struct {
		S string `json:"S"` //nolint:tagliatelle // AWS's name
	}
	var r struct {
		EventName string `json:"eventName"` //nolint:tagliatelle // AWS's name
		DynamoDB  struct {
			Keys struct {
				SK text `json:"sk"`
			} `json:"Keys"` //nolint:tagliatelle // AWS's name
			NewImage struct {
				Transition text `json:"transition"`
			} `json:"NewImage"` //nolint:tagliatelle // AWS's name
		} `json:"dynamodb"`
	}
	if err := json.Unmarshal(record, &r); err != nil {
		t.Fatal(err)
	}
	kind, _, _ := strings.Cut(r.DynamoDB.Keys.SK.S, "#")
	return strings.TrimSpace(r.EventName + " " + kind + " " + r.DynamoDB.NewImage.Transition.S)
}
