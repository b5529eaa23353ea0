package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/google/uuid"

	"syncplane/pkg/api"
	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/cloud/preconnect"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// The patience with DynamoDB. It answers in milliseconds; three attempts of
// two seconds stay within the ten that the function has.
const (
	attemptTimeout = 2 * time.Second
	maxAttempts    = 3
)

// firstBackoff is the longest pause before the second attempt; each is up to
// twice as long as the one before. DynamoDB answers in milliseconds, and the
// SDK's own pauses begin at a second.
const firstBackoff = 50 * time.Millisecond

func backoff(attempt int, _ error) (time.Duration, error) {
	return rand.N(firstBackoff << attempt), nil //nolint:gosec // jitter, not a secret
}

// maxConnections is how many idle connections to DynamoDB are kept. A Lambda
// needs one; a local server in front of DynamoDB needs as many as it has
// clients.
const maxConnections = 64

// warmTimeout bounds the slow things of the init phase, of which Lambda
// forgives ten seconds.
const warmTimeout = 3 * time.Second

// API runs the function behind the HTTP routes. It returns only if it cannot
// start, with the reason.
func API(getenv func(string) string, output io.Writer) error {
	config, err := Read(getenv)
	if err != nil {
		return err
	}
	log := Logger(output, config.LogLevel)
	store := DynamoDB(config)
	store.Log = log
	verifier := oidc.New(oidc.Config{
		Issuer:         config.TokenIssuer,
		Audience:       config.TokenAudience,
		WorkspaceClaim: config.WorkspaceClaim,
	}, keySource(config), time.Now) //nolint:forbidigo // the edge hands out the clock

	// Init has the full CPU and is not billed to a request: what is slow the
	// first time is done here. What fails now is tried again by a request.
	ctx, cancel := context.WithTimeout(context.Background(), warmTimeout)
	var warming sync.WaitGroup
	for what, warm := range map[string]func(context.Context) error{"keys": verifier.Warm, "table": store.Warm} {
		warming.Go(func() {
			if err := warm(ctx); err != nil {
				log.LogAttrs(ctx, slog.LevelWarn, "not warm", slog.String("what", what), slog.String("error", err.Error()))
			}
		})
	}
	warming.Wait()
	cancel()

	lambda.Start(Handler(Parts{
		Store:       store,
		Quotas:      store,
		CreateLimit: config.CreateLimit,
		Mapping:     config.Mapping,
		Caller:      oidc.Either(verifier.Caller, apikey.Prefix, apikey.NewVerifier(store, time.Now).Caller), //nolint:forbidigo // as above
		Log:         log,
		Metrics:     true,
	}))
	return nil
}

// Parts is what differs between the Lambda and one machine.
type Parts struct {
	Store       syncs.Store
	Quotas      ratelimit.Store
	CreateLimit ratelimit.Policy // zero is no limit
	Mapping     apigateway.Mapping
	Caller      func(ctx context.Context, authorization string) (auth.Caller, error)
	Log         *slog.Logger
	Metrics     bool
}

// Handler returns the function itself: the HTTP API behind the guarded adapter.
func Handler(p Parts) *apigateway.Handler { return Function(HTTP(p), p.Mapping) }

// Function returns the function whose requests face answers.
func Function(face *api.API, mapping apigateway.Mapping) *apigateway.Handler {
	return apigateway.New(apigateway.Config{
		Next: face, Fail: face.Fail,
		RequestIDHeader: api.RequestIDHeader, PrefixHeader: api.PrefixHeader,
		Mapping: mapping,
	})
}

// HTTP returns the HTTP API: the store behind the service, the service behind
// its routes.
func HTTP(p Parts) *api.API {
	config := api.Config{
		Syncs:   Service(p.Store),
		Caller:  p.Caller,
		Log:     p.Log,
		Now:     time.Now, //nolint:forbidigo // the edge hands out the clock
		Metrics: p.Metrics,
	}
	if p.CreateLimit != (ratelimit.Policy{}) {
		config.CreateLimit = &ratelimit.Limit{Policy: p.CreateLimit, Store: p.Quotas, Now: time.Now} //nolint:forbidigo // as above
	}
	return api.New(config)
}

// Service is what can be done with syncs, over a store.
func Service(store syncs.Store) *syncs.Service {
	return &syncs.Service{
		Store: store,
		Now:   time.Now, //nolint:forbidigo // the edge hands out the clock
		NewID: newID,
	}
}

func newID() (string, error) {
	id, err := uuid.NewV7()
	return id.String(), err
}

// DynamoDB is the store in the cloud. The client is made without the SDK's
// config package, which costs 2 MB and 6 ms of init for sources of settings
// that a Lambda does not have.
func DynamoDB(c Config) *dynamo.Store {
	return DynamoDBAs(c, aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
	}))
}

// DynamoDBAs is DynamoDB with credentials from elsewhere.
func DynamoDBAs(c Config, credentials aws.CredentialsProvider) *dynamo.Store {
	options := dynamodb.Options{
		Region:      c.Region,
		Credentials: credentials,
		HTTPClient:  HTTPClient(),
		Retryer:     Retryer(),
	}
	if c.DynamoDBEndpoint != "" {
		options.BaseEndpoint = &c.DynamoDBEndpoint
	}
	return &dynamo.Store{Client: dynamodb.New(options), Table: c.TableName}
}

// HTTPClient is the client by which AWS is called.
func HTTPClient() aws.HTTPClient {
	return preconnect.New(preconnect.Config{Timeout: attemptTimeout, MaxIdle: maxConnections})
}

// Retryer says when a call of AWS is tried again.
func Retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = maxAttempts
		o.Backoff = retry.BackoffDelayerFunc(backoff)
		o.Retryables = append(o.Retryables, retry.RetryableErrorCode{Codes: dynamo.RetryCodes()})
	})
}

// keySource is where the keys of the issuer come from.
func keySource(c Config) oidc.KeySource {
	switch {
	case c.TokenJWKS != "":
		return oidc.Static([]byte(c.TokenJWKS))
	case c.TokenJWKSURL != "":
		return oidc.URL(c.TokenJWKSURL)
	default:
		return oidc.Discover(c.TokenIssuer)
	}
}

// Logger writes JSON lines with the names that Lambda's own have. An unknown
// level is INFO.
func Logger(output io.Writer, level string) *slog.Logger {
	var least slog.Level
	if least.UnmarshalText([]byte(level)) != nil {
		least = slog.LevelInfo
	}
	return slog.New(lambdaLog{slog.NewJSONHandler(output, &slog.HandlerOptions{
		Level:       least,
		ReplaceAttr: lambdacontext.ReplaceAttr,
	})})
}

// lambdaLog adds the ID that Lambda gave the invocation, by which its own log
// lines go. It is not always the gateway's.
type lambdaLog struct{ slog.Handler }

// Handle adds the ID and passes r on.
func (l lambdaLog) Handle(ctx context.Context, r slog.Record) error {
	if lambda, ok := lambdacontext.FromContext(ctx); ok {
		r.AddAttrs(slog.String("lambda_request_id", lambda.AwsRequestID))
	}
	if err := l.Handler.Handle(ctx, r); err != nil {
		return fmt.Errorf("write the log: %w", err)
	}
	return nil
}
