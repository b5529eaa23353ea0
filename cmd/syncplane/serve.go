package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/local/server"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/ratelimit"
)

// stopTimeout is how long requests in progress may take after a signal. Our own
// choice: they take milliseconds, unless a client does not send its body or read its
// response.
const stopTimeout = 1500 * time.Millisecond

// serveConfig holds the settings of serve.
type serveConfig struct {
	storageConfig

	port     string
	logLevel string
	limit    ratelimit.Policy
	hook     webhook.Config
	token    tokenConfig // of the command that is printed

	keySet  []byte // that verifies the local tokens
	address string // that the server listens on
}

// newServe returns the command that runs the control plane.
func newServe(env environment) *cobra.Command {
	var c serveConfig
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane on this machine",
		Long: `Serve runs the control plane on this machine until it is interrupted: the API, a
page of its reference at /docs, a scheduler, an event stream and a webhook. It
prints a curl command that creates a sync, with a token. The log goes to
standard error.`,
		Example: `  syncplane serve
  syncplane serve --port 8081 --data-dir /tmp/syncs
  STORE=dynamodb AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 syncplane serve`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), env, c) },
	}
	define(cmd, cmd.Flags(), &c.port, setting[string]{
		flag: "port", variable: "PORT", fallback: "8080", kind: "number", parse: parsePort,
		usage: "the TCP port; 0 takes one that is free",
	})
	defineDataDir(cmd, &c.dataDir)
	defineStore(cmd, &c.store)
	defineTable(cmd, &c.table)
	define(cmd, cmd.Flags(), &c.limit, setting[ratelimit.Policy]{
		flag: "create-limit", variable: "CREATE_LIMIT", kind: "number/period", parse: ratelimit.ParsePolicy,
		usage: "how many syncs a workspace may create in a period, such as 100/1m",
	})
	define(cmd, cmd.Flags(), &c.logLevel, setting[string]{
		flag: "log-level", variable: "LOG_LEVEL", fallback: slog.LevelInfo.String(), kind: "level", values: logLevels(), parse: parseLogLevel,
		usage: "the lowest level that is logged: " + listOf(logLevels()),
	})
	defineWebhook(cmd, &c.hook)
	defineToken(cmd, &c.token)
	return cmd
}

// check returns a usageError for settings that exclude each other.
func (c serveConfig) check() error {
	switch {
	case c.hook.URL == "" && c.hook.Secret != "":
		return usageErrorf("WEBHOOK_SECRET needs WEBHOOK_URL, the address to which events are posted")
	case c.hook.URL != "" && c.store == storeDynamoDB:
		return usageErrorf("WEBHOOK_URL needs STORE=bolt; with DynamoDB the stack delivers events")
	case c.hook.URL != "":
		_, err := webhook.NewClient(c.hook, time.Now)
		if err != nil {
			return &usageError{err}
		}
	}
	return nil
}

// serve runs the control plane until ctx ends.
func serve(ctx context.Context, env environment, c serveConfig) error {
	if err := c.check(); err != nil {
		return err
	}
	key, err := server.OpenKey(c.dataDir)
	if err != nil {
		return err
	}
	if c.keySet, err = server.KeySet(key); err != nil {
		return err
	}
	store, err := openBackend(ctx, env, c.storageConfig)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, c.port)
	if err != nil {
		return errors.Join(err, store.close())
	}
	c.address = "http://" + listener.Addr().String()
	log := app.Logger(env.stderr, c.logLevel)
	store.logTo(log)
	work, err := newBackground(ctx, c, store, log)
	if err == nil {
		err = printWelcome(env, c, store)
	}
	if err != nil {
		return errors.Join(err, listener.Close(), store.close())
	}
	server := newServer(c, store, log, ctx.Done())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	work.start()
	select {
	case err = <-ended:
	case err = <-store.damaged():
	case <-ctx.Done():
		err = stop(context.WithoutCancel(ctx), server, work)
	}
	work.stop()
	return errors.Join(err, store.close())
}

// listen listens on a port of the loopback interface.
func listen(ctx context.Context, port string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("port %s is in use; set PORT to another one, such as PORT=8081", port)
	}
	return listener, err
}

// newServer returns the HTTP server of the API, the event stream and the
// documentation. done is closed when the server is to stop.
func newServer(c serveConfig, store backend, log *slog.Logger, done <-chan struct{}) *http.Server {
	verifier := oidc.New(oidc.Config{Issuer: server.Issuer, Audiences: []string{server.Audience}, WorkspaceClaim: server.WorkspaceClaim}, oidc.Static(c.keySet), time.Now)
	handler := httpfunc.API(httpfunc.Deps{
		Store:       store.syncs,
		Runs:        store.runsService(),
		Quotas:      store.limits,
		CreateLimit: c.limit,
		Caller:      oidc.ByPrefix(verifier.Caller, apikey.Prefix, apikey.NewVerifier(store.keys, time.Now).Caller),
		Log:         log,
	})
	var stream http.Handler
	if store.feed != nil {
		stream = server.Stream{
			Store: store.feed, Origin: c.address, Caller: uncached(verifier, store.keys), Fail: handler.Fail, Done: done, Now: time.Now, Log: log,
		}
	}
	gateway := server.Gateway{Function: httpfunc.Function(handler, apigateway.Mapping{}), ReadBody: handler.ReadBody, Now: time.Now}
	s := server.NewServer(server.Routes(gateway, c.keySet, stream), server.DefaultLimits(), time.Now)
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelError)
	return s
}

// uncached returns a verification of tokens that reads the key store each time. A
// stream whose key was verified from a cache would outlive the revocation of the key
// by the age of the cache.
func uncached(tokens *oidc.Verifier, keys apikey.Store) func(ctx context.Context, authorization string) (auth.Caller, error) {
	return func(ctx context.Context, authorization string) (auth.Caller, error) {
		return oidc.ByPrefix(tokens.Caller, apikey.Prefix, apikey.NewVerifier(keys, time.Now).Caller)(ctx, authorization)
	}
}

// stop stops server and work concurrently. Connections with a request that is still
// in progress after stopTimeout are closed.
func stop(ctx context.Context, server *http.Server, work *background) error {
	var ending sync.WaitGroup
	ending.Go(work.stop)
	defer ending.Wait()
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return server.Close()
	}
	return err
}

// printWelcome prints the address and a command that creates a sync.
func printWelcome(env environment, c serveConfig, e backend) error {
	c.token.dataDir = c.dataDir
	signed, err := c.token.sign(time.Now())
	if err != nil {
		return err
	}
	events := ""
	if e.feed != nil {
		events = "Its events as a stream: " + c.address + server.StreamPath + "\n"
	}
	fmt.Fprintf(env.stdout, `Syncplane listens on %[1]s and keeps its syncs in %[2]s.
The API as a page: %[1]s/docs
%[4]sCreate a sync:

curl -sS %[1]s/api/v1/syncs -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}'

`, c.address, e.location, signed, events)
	return nil
}
