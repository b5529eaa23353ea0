// Package httpfunc wires the function behind the HTTP routes: the environment
// becomes a Config, the Config clients, and those a handler.
package httpfunc

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"syncplane/pkg/api"
	"syncplane/pkg/app"
	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/syncs"
)

// warmTimeout bounds the slow things of the init phase, of which Lambda
// forgives ten seconds.
const warmTimeout = 3 * time.Second

// Run runs the function behind the HTTP routes. It returns only if it cannot
// start, with the reason.
func Run(getenv func(string) string, output io.Writer) error {
	config, err := Read(getenv)
	if err != nil {
		return err
	}
	log := app.Logger(output, config.LogLevel)
	store := app.DynamoDB(config.Config)
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

	lambda.Start(Handler(Deps{
		Store:       store,
		Quotas:      store,
		CreateLimit: config.CreateLimit,
		Mapping:     config.Mapping,
		Caller:      oidc.ByPrefix(verifier.Caller, apikey.Prefix, apikey.NewVerifier(store, time.Now).Caller), //nolint:forbidigo // as above
		Log:         log,
		Metrics:     true,
	}))
	return nil
}

// Deps holds what a handler is made of, and differs between the Lambda and one
// machine.
type Deps struct {
	Store       syncs.Store
	Quotas      ratelimit.Store
	CreateLimit ratelimit.Policy // zero is no limit
	Mapping     apigateway.Mapping
	Caller      func(ctx context.Context, authorization string) (auth.Caller, error)
	Log         *slog.Logger
	Metrics     bool // CloudWatch's embedded metric format in each log line
}

// Handler returns the function: the HTTP API behind the adapter for API Gateway.
func Handler(d Deps) *apigateway.Handler { return Function(API(d), d.Mapping) }

// Function returns the function that answers requests by handler.
func Function(handler *api.API, mapping apigateway.Mapping) *apigateway.Handler {
	return apigateway.New(apigateway.Config{
		Next: handler, Fail: handler.Fail,
		RequestIDHeader: api.RequestIDHeader, PrefixHeader: api.PrefixHeader,
		Mapping: mapping,
	})
}

// API returns the HTTP API: the store behind the service, the service behind
// its routes.
func API(d Deps) *api.API {
	config := api.Config{
		Syncs:   app.Service(d.Store),
		Caller:  d.Caller,
		Log:     d.Log,
		Now:     time.Now,                     //nolint:forbidigo // the edge hands out the clock
		Observe: observe(time.Now, d.Metrics), //nolint:forbidigo // as above
	}
	if d.CreateLimit != (ratelimit.Policy{}) {
		config.CreateLimit = &ratelimit.Limiter{Policy: d.CreateLimit, Store: d.Quotas, Now: time.Now} //nolint:forbidigo // as above
	}
	return api.New(config)
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
