package main_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/app"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/local/server"
	"syncplane/pkg/testkit/dynamotest"
)

const createBody = `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}}`

// create sends a create request to the function.
func create(t *testing.T, function *lambdaruntime.Function, token string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/syncs", strings.NewReader(createBody))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	server.Gateway{Function: function, Now: time.Now}.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   string
}

// TestKeysAndLimits sends valid and invalid API keys, and more creates than the limit of
// a workspace, to the built function.
func TestKeysAndLimits(t *testing.T) {
	config := dynamotest.NewTable(t)
	store := app.DynamoDB(config)
	now := time.Now()
	key := func(workspace string, expires time.Time, scopes ...string) (apikey.Key, string) {
		t.Helper()
		k, text, err := apikey.New(rand.Reader, workspace, "test", scopes, now.Add(-time.Hour), expires)
		if err != nil {
			t.Fatal(err)
		}
		if err := store.CreateKey(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		return k, text
	}
	_, good := key("acme", time.Time{}, "syncs:write")
	_, reader := key("acme", now.Add(time.Hour), "syncs:read")
	_, expired := key("acme", now.Add(-time.Minute), "syncs:write")
	taken, revoked := key("acme", time.Time{}, "syncs:write")
	if err := store.RevokeKey(t.Context(), "acme", taken.ID, now); err != nil {
		t.Fatal(err)
	}
	_, unstored, err := apikey.New(rand.Reader, "acme", "test", []string{"syncs:write"}, now, time.Time{})
	if err != nil {
		t.Fatal(err)
	}

	var log bytes.Buffer
	function := startOn(t, config, &log, map[string]string{"CREATE_LIMIT": "2/1h"})
	for _, test := range []struct {
		name, token string
		status      int
		detail      string
	}{
		{"without the scope", reader, 403, "syncs:write"},
		{"an expired key", expired, 401, "expired"},
		{"a revoked key", revoked, 401, "revoked"},
		{"an unknown key", unstored, 401, "API key"},
		{"a wrong secret", good[:len(good)-8] + "00000000", 401, "API key"},
		{"the first create", good, 200, ""},
		{"the second create", good, 200, ""},
		{"a create over the limit", good, 429, "create"},
	} {
		got := create(t, function, test.token)
		if got.status != test.status || !strings.Contains(got.body, test.detail) {
			t.Errorf("%s: got %d %s", test.name, got.status, got.body)
		}
		if limited := got.header.Get("Ratelimit") != ""; limited != (test.status == 200 || test.status == 429) {
			t.Errorf("%s: got %v", test.name, got.header)
		}
		if test.status == 429 && got.header.Get("Retry-After") == "" {
			t.Errorf("429 without Retry-After: %v", got.header)
		}
	}
	if err := function.Close(); err != nil { // so that the log is complete
		t.Fatal(err)
	}
	if strings.Contains(log.String(), apikey.Prefix) {
		t.Errorf("the log contains a key:\n%s", &log)
	}
}

// TestIdempotencyKeyExpires checks that an expired key creates a new sync even before
// DynamoDB has removed its row.
func TestIdempotencyKeyExpires(t *testing.T) {
	config := dynamotest.NewTable(t)
	store := app.DynamoDB(config)
	k, token, err := apikey.New(rand.Reader, "acme", "test", []string{"syncs:write"}, time.Now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	function := startOn(t, config, io.Discard, nil)
	first := create(t, function, token, "Idempotency-Key", "k1")
	again := create(t, function, token, "Idempotency-Key", "k1")
	if first.status != 200 || again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" {
		t.Fatalf("got %+v, then %+v", first, again)
	}
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	records, err := store.Client.Query(t.Context(), &dynamodb.QueryInput{
		TableName: &config.TableName, KeyConditionExpression: aws.String("pk = :w"),
		FilterExpression:          aws.String("attribute_exists(expires_at)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":w": text("acme")},
	})
	if err != nil || len(records.Items) != 1 {
		t.Fatalf("%v, %d records", err, len(records.Items))
	}
	record := records.Items[0]
	record["expires_at"] = &types.AttributeValueMemberN{Value: "1"}
	if _, err := store.Client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &config.TableName, Item: record}); err != nil {
		t.Fatal(err)
	}
	late := create(t, function, token, "Idempotency-Key", "k1")
	if late.status != 200 || late.body == first.body || late.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("got %+v", late)
	}
}
