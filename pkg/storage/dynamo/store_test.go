package dynamo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/cloud/preconnect"
	"syncplane/pkg/fault"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
)

// config reaches a DynamoDB Local, and a table of the test's own.
func config(t *testing.T) app.Config {
	t.Helper()
	return app.Config{
		Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local",
		DynamoDBEndpoint: dynamotest.Endpoint(t),
		TableName:        "test-" + uuid.NewString(),
	}
}

// open returns a store with a new table. Its calls have no timeout, which a busy machine
// would exceed.
func open(t *testing.T, c app.Config) *dynamo.Store {
	t.Helper()
	store := app.DynamoDB(c)
	options := store.Client.Options()
	options.HTTPClient = preconnect.New(preconnect.Config{MaxIdle: 100})
	store.Client = dynamodb.New(options)
	if err := store.EnsureTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func TestStore(t *testing.T) {
	t.Parallel()
	storagetest.RunSyncs(t, func(t *testing.T) syncs.Store { return open(t, config(t)) })
}

// TestUnreadable writes items that no version of ours does.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	var log bytes.Buffer
	store.Log = slog.New(slog.NewJSONHandler(&log, nil))
	spoilers := []string{
		"REMOVE version", "REMOVE created_at", "SET version = :text", "SET stream_name = :number", "SET created_at = :text", "SET id = :text", "SET version = :number",
	}
	n := 0
	storagetest.RunUnreadable(t, store, func(t *testing.T, s syncs.Sync) {
		t.Helper()
		update := spoilers[n%len(spoilers)]
		n++
		in := &dynamodb.UpdateItemInput{
			TableName: &store.Table, UpdateExpression: &update,
			Key: map[string]types.AttributeValue{
				"pk": &types.AttributeValueMemberS{Value: s.Workspace}, "sk": &types.AttributeValueMemberS{Value: "SYNC#" + s.ID},
			},
		}
		switch {
		case strings.Contains(update, ":text"):
			in.ExpressionAttributeValues = map[string]types.AttributeValue{":text": &types.AttributeValueMemberS{Value: "x"}}
		case strings.Contains(update, ":number"):
			in.ExpressionAttributeValues = map[string]types.AttributeValue{":number": &types.AttributeValueMemberN{Value: "0"}}
		}
		if _, err := store.Client.UpdateItem(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	})
	if n == 0 || !strings.Contains(log.String(), `"msg":"unreadable sync"`) {
		t.Errorf("the log is %s", &log)
	}
}

// TestTooLarge checks that an item that DynamoDB refuses for its size is the same
// fault as a sync over the bound, and that the bound wastes less than 1 % of what
// an item may have.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	s := storagetest.NewSync(t)
	s.Configuration += strings.Repeat(" ", syncs.MaxSize-s.Size()+4<<10)
	once := storagetest.NewIdempotencyKey("k")
	refused := map[string]error{"Create": store.Create(t.Context(), s)}
	_, refused["CreateOnce"] = store.CreateOnce(t.Context(), s, once)
	small := storagetest.NewSync(t)
	if err := store.Create(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	s.Workspace, s.ID, s.Version = small.Workspace, small.ID, 2
	refused["Replace"] = store.Replace(t.Context(), s)
	for name, err := range refused {
		if diff := cmp.Diff(syncs.ErrTooLarge.Error(), fmt.Sprint(err)); diff != "" || !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestEnsureTableTwice(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	if err := store.EnsureTable(t.Context()); err != nil {
		t.Error(err)
	}
}

// wire counts the responses of DynamoDB, and may replace them. It does not count the
// calls that got no response: a loaded machine refuses connections, and the client
// tries again.
type wire struct {
	dynamodb.HTTPClient
	calls atomic.Int32
	alone bool // no call reaches DynamoDB; after must not use the response
	after func(call int32, r *http.Request, response *http.Response) (*http.Response, error)
}

func (w *wire) Do(r *http.Request) (*http.Response, error) {
	if w.alone {
		return w.after(w.calls.Add(1), r, &http.Response{Body: http.NoBody})
	}
	response, err := w.HTTPClient.Do(r)
	if err != nil {
		return nil, err
	}
	call := w.calls.Add(1)
	if w.after == nil {
		return response, nil
	}
	return w.after(call, r, response)
}

// through makes store use w.
func through(store *dynamo.Store, w *wire) *dynamo.Store {
	options := store.Client.Options()
	w.HTTPClient = options.HTTPClient
	options.HTTPClient = w
	options.Retryer = app.Retryer() // with a retry quota of its own
	return &dynamo.Store{Client: dynamodb.New(options), Table: store.Table}
}

// TestCreateCostsOneWriteUnit checks that a create is one round trip, and one
// write unit for an item of up to 1 KB.
func TestCreateCostsOneWriteUnit(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	var spent float64
	options := store.Client.Options()
	options.APIOptions = append(options.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("meter", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			in.Parameters.(*dynamodb.PutItemInput).ReturnConsumedCapacity = types.ReturnConsumedCapacityTotal
			out, metadata, err := next.HandleInitialize(ctx, in)
			if put, ok := out.Result.(*dynamodb.PutItemOutput); ok && put != nil {
				spent += *put.ConsumedCapacity.CapacityUnits
			}
			return out, metadata, err
		}), middleware.Before)
	})
	w := &wire{}
	metered := through(&dynamo.Store{Client: dynamodb.New(options), Table: store.Table}, w)

	small := storagetest.NewSync(t)
	small.Configuration = `{"a":"` + strings.Repeat("x", 400) + `"}`
	if err := metered.Create(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	if calls := w.calls.Load(); calls != 1 || spent != 1 {
		t.Errorf("a create took %d calls and %v write units, want 1 and 1", calls, spent)
	}
	large := storagetest.NewSync(t)
	large.Configuration = `{"a":"` + strings.Repeat("x", 1024) + `"}`
	if err := metered.Create(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if spent != 3 {
		t.Errorf("both took %v write units, want 3: the meter does not move", spent)
	}
}

// TestListIsOneQuery checks that a page of a list takes one Query.
func TestListIsOneQuery(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	var want []string
	other := storagetest.NewSync(t)
	for range 5 {
		s := storagetest.NewSync(t)
		s.Workspace = "acme"
		for _, s := range []syncs.Sync{s, other} {
			if err := store.Create(t.Context(), s); err != nil && !fault.Is(err, fault.Conflict) {
				t.Fatal(err)
			}
		}
		want = append(want, "SYNC#"+s.ID)
	}
	slices.Reverse(want)
	out, err := store.Client.Query(t.Context(), &dynamodb.QueryInput{
		TableName: &store.Table, ConsistentRead: aws.Bool(true), ScanIndexForward: aws.Bool(false),
		KeyConditionExpression:    aws.String("pk = :workspace AND begins_with(sk, :prefix)"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":workspace": &types.AttributeValueMemberS{Value: "acme"}, ":prefix": &types.AttributeValueMemberS{Value: "SYNC#"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, item := range out.Items {
		got = append(got, item["sk"].(*types.AttributeValueMemberS).Value)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestCreateWhoseAnswerIsLost checks that a write whose answer is lost is made
// once and acknowledged: the SDK repeats the call, and finds its own item.
func TestCreateWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	w := &wire{after: func(call int32, _ *http.Request, response *http.Response) (*http.Response, error) {
		if call > 1 {
			return response, nil
		}
		return nil, errors.Join(io.ErrUnexpectedEOF, response.Body.Close())
	}}
	store := through(open(t, config(t)), w)
	want := storagetest.NewSync(t)
	if err := store.Create(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if calls := w.calls.Load(); calls != 2 {
		t.Errorf("the write took %d calls, want 2", calls)
	}
	got, err := store.Read(t.Context(), want.Workspace, want.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// answer returns what refuses calls with an error of DynamoDB: the first of them
// only, or all for times 0.
func answer(times int32, status int, body string) func(int32, *http.Request, *http.Response) (*http.Response, error) {
	return func(call int32, r *http.Request, response *http.Response) (*http.Response, error) {
		if times > 0 && call > times {
			return response, nil
		}
		// After it has been read, the connection can be used again.
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			return nil, err
		}
		if err := response.Body.Close(); err != nil {
			return nil, err
		}
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
		}, nil
	}
}

// refusal returns the body of an error of DynamoDB.
func refusal(code string) string {
	return fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"secret of AWS"}`, code)
}

// cancelled returns the body of the error for a transaction that was cancelled
// for these reasons.
func cancelled(codes ...string) string {
	var reasons []string
	for _, code := range codes {
		reasons = append(reasons, fmt.Sprintf(`{"Code":%q,"Message":"secret of AWS"}`, code))
	}
	return fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#TransactionCanceledException","message":"secret of AWS","CancellationReasons":[%s]}`, strings.Join(reasons, ","))
}

// fails checks an error's kind and when the client comes back, and that it shows
// nothing of AWS.
func fails(t *testing.T, err error, kind fault.Kind, retry time.Duration) bool {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v, want kind %d", err, kind)
		return false
	}
	public, ok := errors.AsType[*fault.Error](err)
	if ok && (public.RetryAfter != retry || strings.Contains(public.Message, "AWS")) {
		t.Errorf("got %+v, want to come back after %v", public, retry)
		return false
	}
	return true
}

// TestErrors checks what becomes of each error that DynamoDB documents for the
// calls we make: whether the call is tried again, so that the client sees
// nothing of one that passes, and what the client sees if it stays.
func TestErrors(t *testing.T) {
	t.Parallel()
	shared := open(t, config(t))
	calls := map[string]func(*dynamo.Store) error{
		"GetItem": func(st *dynamo.Store) error {
			_, _, err := st.Created(t.Context(), "acme", storagetest.NewIdempotencyKey("k"))
			return err
		},
		"PutItem": func(st *dynamo.Store) error {
			return st.Create(t.Context(), storagetest.NewSync(t))
		},
		"UpdateItem": func(st *dynamo.Store) error {
			_, _, err := st.Take(t.Context(), storagetest.NewSync(t).Workspace, ratelimit.Policy{Quota: 3, Window: time.Minute}, time.Now())
			return err
		},
		"DeleteItem": func(st *dynamo.Store) error {
			s := storagetest.NewSync(t)
			if err := shared.Create(t.Context(), s); err != nil {
				return err
			}
			err := st.Delete(t.Context(), s)
			if fault.Is(err, fault.NotFound) { // the attempt that was refused had been made
				return nil
			}
			return err
		},
		"Query": func(st *dynamo.Store) error {
			_, _, err := st.List(t.Context(), "acme", "", 10)
			return err
		},
		"Scan": func(st *dynamo.Store) error {
			for _, err := range st.All(t.Context()) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"BatchGetItem": func(st *dynamo.Store) error {
			_, err := dynamo.Runs{Store: st, Now: time.Now}.Batch(t.Context(), []runs.Key{{Workspace: "acme", SyncID: "s", Time: time.Unix(0, 0)}})
			return err
		},
		"TransactWriteItems": func(st *dynamo.Store) error {
			s := storagetest.NewSync(t)
			_, err := st.CreateOnce(t.Context(), s, storagetest.NewIdempotencyKey("k"))
			if fault.Is(err, fault.Conflict) { // as with DeleteItem
				return nil
			}
			return err
		},
	}
	var group sync.WaitGroup
	for _, test := range []struct {
		code   string
		status int
		again  bool // by us
		kind   fault.Kind
		retry  time.Duration
	}{
		{"ThrottlingException", 400, true, fault.Unavailable, 2 * time.Second},
		{"ProvisionedThroughputExceededException", 400, true, fault.Unavailable, 2 * time.Second},
		{"RequestLimitExceeded", 400, true, fault.Unavailable, 2 * time.Second},
		{"LimitExceededException", 400, true, fault.Unavailable, 2 * time.Second},
		{"TransactionConflictException", 400, true, fault.Unavailable, time.Second},
		{"TransactionInProgressException", 400, true, fault.Unavailable, time.Second},
		{"ReplicatedWriteConflictException", 400, true, fault.Unavailable, time.Second},
		{"InternalServerError", 500, true, fault.Unavailable, 5 * time.Second},
		{"ServiceUnavailable", 503, true, fault.Unavailable, 5 * time.Second},
		{"BadGateway", 502, true, fault.Unavailable, 5 * time.Second},
		{"GatewayTimeout", 504, true, fault.Unavailable, 5 * time.Second},
		{"RequestTimeout", 408, true, fault.Unavailable, 5 * time.Second},
		{"AccessDeniedException", 400, false, fault.Internal, 0},
		{"ExpiredTokenException", 400, false, fault.Internal, 0},
		{"IdempotentParameterMismatchException", 400, false, fault.Internal, 0},
		{"IncompleteSignature", 400, false, fault.Internal, 0},
		{"InvalidSignatureException", 400, false, fault.Internal, 0},
		{"ItemCollectionSizeLimitExceededException", 400, false, fault.Internal, 0},
		{"MissingAuthenticationToken", 400, false, fault.Internal, 0},
		{"NotAuthorized", 400, false, fault.Internal, 0},
		{"OptInRequired", 403, false, fault.Internal, 0},
		{"RequestExpired", 400, false, fault.Internal, 0},
		{"ResourceNotFoundException", 400, false, fault.Internal, 0},
		{"SerializationException", 400, false, fault.Internal, 0},
		{"UnrecognizedClientException", 400, false, fault.Internal, 0},
		{"ValidationException", 400, false, fault.Internal, 0},
	} {
		for call, do := range calls {
			group.Go(func() { // they wait more than they work
				w := &wire{alone: true, after: answer(0, test.status, refusal(test.code))}
				if err := do(through(shared, w)); !fails(t, err, test.kind, test.retry) {
					t.Errorf("%s of %s", test.code, call)
				}
				if again := w.calls.Load() > 1; again != test.again {
					t.Errorf("%s of %s: %d calls were made", test.code, call, w.calls.Load())
				}
				if !test.again {
					return
				}
				if err := do(through(shared, &wire{after: answer(1, test.status, refusal(test.code))})); err != nil {
					t.Errorf("%s of %s, refused once: %v", test.code, call, err)
				}
			})
		}
	}
	group.Wait()
}

// TestCancellations checks the same of the reasons for which DynamoDB cancels a
// transaction (API reference, TransactWriteItems).
func TestCancellations(t *testing.T) {
	t.Parallel()
	shared := open(t, config(t))
	for _, test := range []struct {
		reasons []string
		again   bool
		kind    fault.Kind
		code    string
		retry   time.Duration
	}{
		{[]string{"ThrottlingError", "None"}, true, fault.Unavailable, "store_unavailable", 2 * time.Second},
		{[]string{"None", "ThrottlingError"}, true, fault.Unavailable, "store_unavailable", 2 * time.Second},
		{[]string{"None", "ProvisionedThroughputExceeded"}, true, fault.Unavailable, "store_unavailable", 2 * time.Second},
		{[]string{"ProvisionedThroughputExceeded", "ThrottlingError"}, true, fault.Unavailable, "store_unavailable", 2 * time.Second},
		{[]string{"RequestLimitExceeded", "None"}, true, fault.Unavailable, "store_unavailable", 2 * time.Second},
		{[]string{"TransactionConflict", "None"}, true, fault.Conflict, "idempotency_key_in_use", time.Second},
		{[]string{"TransactionConflict", "ThrottlingError"}, true, fault.Conflict, "idempotency_key_in_use", time.Second},
		{[]string{"None", "TransactionConflict"}, true, fault.Unavailable, "store_unavailable", time.Second},
		{[]string{"None", "ConditionalCheckFailed"}, false, fault.Conflict, "already_exists", 0},
		{[]string{"ThrottlingError", "ConditionalCheckFailed"}, false, fault.Conflict, "already_exists", 0},
		{[]string{"ValidationError", "None"}, false, fault.Internal, "", 0},
		{[]string{"ThrottlingError", "ValidationError"}, false, fault.Internal, "", 0},
		{[]string{"ItemCollectionSizeLimitExceeded", "None"}, false, fault.Internal, "", 0},
		{[]string{"AccessDenied", "None"}, false, fault.Internal, "", 0},
		{[]string{"None", "SomethingNew"}, false, fault.Internal, "", 0},
		{[]string{"None", "None"}, false, fault.Internal, "", 0},
		{nil, false, fault.Internal, "", 0},
	} {
		t.Run(strings.Join(test.reasons, " "), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond) // time for some tries
			defer cancel()
			w := &wire{alone: true, after: answer(0, 400, cancelled(test.reasons...))}
			_, err := through(shared, w).CreateOnce(ctx, storagetest.NewSync(t), storagetest.NewIdempotencyKey("k"))
			fails(t, err, test.kind, test.retry)
			if public, ok := errors.AsType[*fault.Error](err); ok && public.Code != test.code {
				t.Errorf("got code %s, want %s", public.Code, test.code)
			}
			if again := w.calls.Load() > 1; again != test.again {
				t.Errorf("%d calls were made", w.calls.Load())
			}
			if !test.again {
				return
			}
			s := storagetest.NewSync(t)
			got, err := through(shared, &wire{after: answer(2, 400, cancelled(test.reasons...))}).CreateOnce(t.Context(), s, storagetest.NewIdempotencyKey("k"))
			if err != nil || got.ID != s.ID {
				t.Errorf("refused twice: %v, %v", got, err)
			}
		})
	}
}

// TestBrokenAnswers checks the error for a response that cannot be read.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	shared := open(t, config(t))
	for name, after := range map[string]func(int32, *http.Request, *http.Response) (*http.Response, error){
		"cut off": func(_ int32, _ *http.Request, response *http.Response) (*http.Response, error) {
			return nil, errors.Join(io.ErrUnexpectedEOF, response.Body.Close())
		},
		"no JSON": answer(0, 200, "<html>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := through(shared, &wire{after: after}).Read(t.Context(), "acme", "id")
			fails(t, err, fault.Unavailable, 5*time.Second)
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	store := app.DynamoDB(app.Config{
		Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "syncs",
		DynamoDBEndpoint: "http://127.0.0.1:1", // no server listens on port 1
	})
	for name, err := range map[string]error{
		"create": store.Create(t.Context(), storagetest.NewSync(t)),
		"warm":   store.Warm(t.Context()),
		"table":  store.EnsureTable(t.Context()),
	} {
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestWarm checks that the first call finds the connection open.
func TestWarm(t *testing.T) {
	t.Parallel()
	c := config(t)
	open(t, c)
	behind, err := url.Parse(c.DynamoDBEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{}, 100)
	front := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(behind))
	front.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened <- struct{}{}
		}
	}
	front.Start()
	t.Cleanup(front.Close)
	c.DynamoDBEndpoint = front.URL
	store := app.DynamoDB(c)
	if err := store.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	select { // the client may have connected before the server has accepted
	case <-opened:
	case <-time.After(10 * time.Second):
		t.Fatal("no connection was opened")
	}
	if err := store.Create(t.Context(), storagetest.NewSync(t)); err != nil {
		t.Error(err)
	}
	if n := len(opened); n > 0 {
		t.Errorf("the first call opened %d connections", n)
	}
}

// opened is an HTTP client that records the addresses of Connect.
type opened struct {
	http.Client
	addresses []string
}

func (o *opened) Connect(_ context.Context, address *url.URL) error {
	o.addresses = append(o.addresses, address.String())
	return nil
}

// TestWarmInTheCloud checks that what is warmed is the region's endpoint, which
// the SDK calls as well.
func TestWarmInTheCloud(t *testing.T) {
	t.Parallel()
	client := &opened{}
	store := &dynamo.Store{Client: dynamodb.New(dynamodb.Options{Region: "eu-west-1", HTTPClient: client}), Table: "syncs"}
	if err := store.Warm(t.Context()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"https://dynamodb.eu-west-1.amazonaws.com"}, client.addresses); diff != "" {
		t.Error(diff)
	}
}

// TestForeignRow checks that a row that another program wrote is a reported defect, and no
// half-empty sync.
func TestForeignRow(t *testing.T) {
	t.Parallel()
	store := open(t, config(t))
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	if _, err := store.Client.PutItem(t.Context(), &dynamodb.PutItemInput{
		TableName: &store.Table,
		Item:      map[string]types.AttributeValue{"pk": text("acme"), "sk": text("SYNC#x"), "source_id": text("1")},
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Read(t.Context(), "acme", "x"); !fault.Is(err, fault.Internal) {
		t.Errorf("got %v", err)
	}
	foreign := storagetest.NewSync(t)
	foreign.Workspace, foreign.ID = "acme", "x"
	if err := store.Create(t.Context(), foreign); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v", err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	storagetest.RunKeys(t, func(t *testing.T) apikey.Store { return open(t, config(t)) })
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	storagetest.RunRateLimits(t, func(t *testing.T) ratelimit.Store { return open(t, config(t)) })
}
