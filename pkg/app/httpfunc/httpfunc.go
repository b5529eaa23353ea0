// Package httpfunc wires the function behind the HTTP routes: it reads the
// environment, makes the clients and the HTTP API over them, and runs it under
// Lambda. It links no client of EventBridge or Scheduler.
package httpfunc

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"syncplane/pkg/api"
	"syncplane/pkg/app"
	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// Run runs the function behind the HTTP routes. It returns only if the function
// cannot start.
func Run(getenv func(string) string, output io.Writer) error {
	config, err := Read(getenv)
	if err != nil {
		return err
	}
	log := app.Logger(output, config.LogLevel)
	store := app.DynamoDB(config.Config)
	store.Log = log
	verifier := oidc.NewIssuers(config.Issuers, time.Now) //nolint:forbidigo // the clock is read at the edge

	w := startWarming(verifier.Warm, store.Warm, log)
	w.wait(config.OnDemand, func(ctx context.Context) error { return prime(ctx, store) })

	lambda.Start(w.before(Handler(Deps{
		Store:       store,
		Runs:        app.Runs(dynamo.Runs{Store: store, Now: time.Now}, store, config.RunRetention), //nolint:forbidigo // as above
		Quotas:      store,
		CreateLimit: config.CreateLimit,
		Mapping:     config.Mapping,
		Caller:      oidc.ByPrefix(verifier.Caller, apikey.Prefix, apikey.NewVerifier(store, time.Now).Caller), //nolint:forbidigo // as above
		Log:         log,
		MetricsOf:   config.FunctionName,
	})))
	return nil
}

// Deps holds the dependencies of the HTTP API that differ between Lambda and the
// local server.
type Deps struct {
	Store       syncs.Store
	Runs        *runs.Service
	Quotas      ratelimit.Store
	CreateLimit ratelimit.Policy // zero is no limit
	Mapping     apigateway.Mapping
	Caller      func(ctx context.Context, authorization string) (auth.Caller, error)
	Log         *slog.Logger
	MetricsOf   string // the function in CloudWatch's embedded metric format, which each log line then has; "" for none
}

// Handler returns the Lambda handler: the HTTP API behind the adapter for API
// Gateway's events.
func Handler(d Deps) *apigateway.Handler { return Function(API(d), d.Mapping) }

// Function returns the Lambda handler over an HTTP API.
func Function(handler *api.API, mapping apigateway.Mapping) *apigateway.Handler {
	return apigateway.New(apigateway.Config{
		Next: handler, Fail: handler.Fail,
		RequestIDHeader: api.RequestIDHeader, PrefixHeader: api.PrefixHeader,
		Mapping: mapping,
	})
}

// API returns the HTTP API over the service over d.Store.
func API(d Deps) *api.API {
	config := api.Config{
		Syncs:   app.Service(d.Store),
		Runs:    d.Runs,
		Caller:  d.Caller,
		Log:     d.Log,
		Now:     time.Now,                       //nolint:forbidigo // the clock is read at the edge
		Observe: observe(time.Now, d.MetricsOf), //nolint:forbidigo // as above
	}
	if d.CreateLimit != (ratelimit.Policy{}) {
		config.CreateLimit = &ratelimit.Limiter{Policy: d.CreateLimit, Store: d.Quotas, Now: time.Now} //nolint:forbidigo // as above
	}
	return api.New(config)
}
