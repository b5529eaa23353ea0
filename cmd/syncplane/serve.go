package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
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

	host     string
	port     string
	origins  []string // whose pages may call the API
	logLevel string
	limit    ratelimit.Policy
	hook     webhook.Config
	token    tokenConfig // of the command that is printed

	key     server.Key // that signs the local tokens
	keySet  []byte     // that verifies them
	address string     // at which this machine reaches the server
	local   bool       // no other machine reaches it
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
	definePort(cmd, &c.port)
	defineHost(cmd, &c.host)
	define(cmd, cmd.Flags(), &c.origins, setting[[]string]{
		flag: "cors-origins", variable: "CORS_ORIGINS", kind: "origins", parse: parseOrigins,
		usage: "the origins whose pages may call the API, such as http://localhost:3000, separated by commas, or *",
	})
	defineDataDir(cmd, &c.dataDir)
	defineStore(cmd, &c.store)
	defineTable(cmd, &c.table)
	defineCreateTable(cmd, &c.createTable)
	define(cmd, cmd.Flags(), &c.limit, setting[ratelimit.Policy]{
		flag: "create-limit", variable: "CREATE_LIMIT", kind: "number/period", parse: ratelimit.ParsePolicy,
		usage: "how many syncs a workspace may create in a period, such as 100/1m",
	})
	define(cmd, cmd.Flags(), &c.logLevel, setting[string]{
		flag: "log-level", variable: "LOG_LEVEL", fallback: slog.LevelInfo.String(), kind: "level", values: logLevels(), parse: parseLogLevel,
		usage: "the lowest level that is logged: " + listOf(logLevels(), "or"),
	})
	defineWebhook(cmd, &c.hook)
	defineToken(cmd, &c.token)
	return cmd
}

const defaultPort = "8080"

// definePort adds the flag of the port of the local server.
func definePort(cmd *cobra.Command, to *string) {
	define(cmd, cmd.Flags(), to, setting[string]{
		flag: "port", variable: "PORT", fallback: defaultPort, kind: "number", parse: parsePort,
		usage: "the TCP port; 0 takes one that is free",
	})
}

// defineHost adds the flag of the address of the local server.
func defineHost(cmd *cobra.Command, to *string) {
	define(cmd, cmd.Flags(), to, setting[string]{
		flag: "host", variable: "HOST", fallback: loopback, kind: "address", parse: parseHost,
		usage: "the address or host name to listen on; 0.0.0.0 for all, such as in a container",
	})
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

// gcPercent is the garbage collection target percentage. Our own choice: with a million
// syncs, of which the scheduler holds 90 MB, Go's 100 uses 60 MB more at its peak, and
// 50 takes 15 % more processor time for a create.
const gcPercent = 60

// serve runs the control plane until ctx ends.
func serve(ctx context.Context, env environment, c serveConfig) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.hook.URL != "" {
		env.rootsFor(c.hook.URL)
	}
	if env.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	var err error
	if c.key, err = server.OpenKey(c.dataDir); err != nil {
		return err
	}
	if c.keySet, err = server.KeySet(c.key); err != nil {
		return err
	}
	store, err := openBackend(ctx, env, c.storageConfig)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, c.host, c.port)
	if err != nil {
		return errors.Join(err, store.close())
	}
	c.address = addressOf(listener)
	log := app.Logger(env.stderr, c.logLevel)
	store.logTo(log)
	work, err := newBackground(ctx, c, store, log)
	if err == nil {
		err = printWelcome(env, c, store)
	}
	if err != nil {
		return errors.Join(err, listener.Close(), store.close())
	}
	if c.local = isLoopback(listener); !c.local {
		warnBeyond(env, c)
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

// loopback is the address of this machine that no other machine can reach.
const loopback = "127.0.0.1"

// listen listens on a port of a host.
func listen(ctx context.Context, host, port string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("port %s is in use; set PORT to another one, such as PORT=8081", port)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		err = fmt.Errorf("HOST must be an address of this machine, got %q", host)
	}
	return listener, err
}

// addressOf returns the address at which this machine reaches a listener.
func addressOf(listener net.Listener) string {
	host, port, err := net.SplitHostPort(listener.Addr().String())
	if ip, parseErr := netip.ParseAddr(host); err == nil && parseErr == nil && ip.IsUnspecified() {
		host = loopback
	}
	return "http://" + net.JoinHostPort(host, port)
}

// isLoopback reports whether only this machine can reach a listener.
func isLoopback(listener net.Listener) bool {
	address, err := netip.ParseAddrPort(listener.Addr().String())
	return err == nil && address.Addr().IsLoopback()
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
		Caller:      oidc.ByPrefix(c.explained(verifier.Caller), apikey.Prefix, apikey.NewVerifier(store.keys, time.Now).Caller),
		Log:         log,
	})
	var stream http.Handler
	if store.feed != nil {
		stream = server.Stream{
			Store: store.feed, Origin: c.address, Caller: uncached(c.explained(verifier.Caller), store.keys), Fail: handler.Fail, Done: done, Now: time.Now, Log: log,
		}
	}
	gateway := server.Gateway{Function: httpfunc.Function(handler, apigateway.Mapping{}), ReadBody: handler.ReadBody, Now: time.Now}
	s := server.NewServer(server.AllowOrigins(server.Routes(gateway, c.keySet, stream), c.origins), server.DefaultLimits(), time.Now)
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelError)
	return s
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

// printWelcome prints the addresses, the signing key and a command that creates a sync.
func printWelcome(env environment, c serveConfig, e backend) error {
	now := time.Now()
	c.token.dataDir = c.dataDir
	signed, err := c.token.sign(now)
	if err != nil {
		return err
	}
	events := ""
	if e.feed != nil {
		events = "Its events as a stream: " + c.address + server.StreamPath + "\n"
	}
	settings := ""
	if c.address != defaultAddress || absolute(c.dataDir) != absolute(defaultDataDir) {
		settings = fmt.Sprintf("To call it with syncplane syncs, runs or apply: export SYNCPLANE_URL=%s DATA_DIR=%s\n", c.address, quoteShell(absolute(c.dataDir)))
	}
	fmt.Fprintf(env.stdout, `Syncplane listens on %[1]s and keeps its syncs in %[2]s.
It accepts tokens that are signed with the key %[5]s in %[6]s.
The API as a page: %[1]s/docs
%[4]s%[9]sCreate a sync, with a token for the workspace %[7]s that expires at %[8]s:

curl -sS %[1]s/api/v1/syncs -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}'

`, c.address, e.location, signed, events, c.key.ID(), absolute(c.dataDir), c.token.workspace, now.Add(c.token.ttl).UTC().Format(time.RFC3339), settings)
	return nil
}

// quoteShell returns a text as one word of a shell.
func quoteShell(text string) string {
	special := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("/._-", c)
	}
	if text != "" && !strings.ContainsFunc(text, special) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// warnBeyond warns that other machines can reach the server.
func warnBeyond(env environment, c serveConfig) {
	fmt.Fprintf(env.stderr, "warning: the server listens on %s, which other machines may reach, without TLS. Every token that is signed with the key in %s grants access; it is meant for development.\n", c.host, absolute(c.dataDir))
}
