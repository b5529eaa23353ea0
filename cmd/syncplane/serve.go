package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/local/server"
	"syncplane/pkg/ratelimit"
)

// stopTimeout is how long requests under way may take after a signal. They take
// milliseconds, unless a client does not send its body or read its response.
const stopTimeout = 1500 * time.Millisecond

// serve runs the control plane until ctx ends.
func serve(ctx context.Context, env environment) error {
	port := env.valueOr("PORT", "8080")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("PORT must be a number from 0 to 65535, got %q", port)
	}
	dataDir := env.valueOr("DATA_DIR", defaultDataDir)
	key, err := server.OpenKey(dataDir)
	if err != nil {
		return err
	}
	keys, err := server.KeySet(key)
	if err != nil {
		return err
	}
	limit, err := createLimit(env)
	if err != nil {
		return err
	}
	e, err := openBackend(ctx, env, dataDir)
	if err != nil {
		return err
	}

	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("port %s is in use; set PORT to another one, such as PORT=8081", port)
	}
	if err != nil {
		return errors.Join(err, e.close())
	}

	address := "http://" + listener.Addr().String()
	log := app.Logger(env.stderr, env.getenv("LOG_LEVEL"))
	e.logTo(log)
	work, err := newBackground(ctx, env, e, address, log)
	if err != nil {
		return errors.Join(err, listener.Close(), e.close())
	}
	verifier := oidc.New(oidc.Config{Issuer: server.Issuer, Audience: server.Audience, WorkspaceClaim: server.WorkspaceClaim}, oidc.Static(keys), time.Now)
	caller := oidc.ByPrefix(verifier.Caller, apikey.Prefix, apikey.NewVerifier(e.keys, time.Now).Caller)
	face := httpfunc.API(httpfunc.Deps{
		Store:       e.syncs,
		Runs:        e.runsService(),
		Quotas:      e.limits,
		CreateLimit: limit,
		Caller:      caller,
		Log:         log,
	})
	var stream http.Handler
	if e.feed != nil {
		stream = server.Stream{
			Store: e.feed, Origin: address, Caller: uncached(verifier, e.keys), Fail: face.Fail, Done: ctx.Done(), Now: time.Now, Log: log,
		}
	}
	apiGateway := server.Gateway{Function: httpfunc.Function(face, apigateway.Mapping{}), ReadBody: face.ReadBody, Now: time.Now}
	server := server.NewServer(server.Routes(apiGateway, keys, stream), server.DefaultLimits(), time.Now)
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelError)
	if err := printWelcome(env, address, e); err != nil {
		return errors.Join(err, listener.Close(), e.close())
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	work.start()
	select {
	case err = <-ended:
	case err = <-e.damaged():
	case <-ctx.Done():
		err = stop(context.WithoutCancel(ctx), server, work)
	}
	work.stop()
	return errors.Join(err, e.close())
}

// uncached returns a verification of tokens that reads the key store each time:
// a stream that verified a key from memory would outlive its revocation by the
// age of that memory.
func uncached(tokens *oidc.Verifier, keys apikey.Store) func(ctx context.Context, authorization string) (auth.Caller, error) {
	return func(ctx context.Context, authorization string) (auth.Caller, error) {
		return oidc.ByPrefix(tokens.Caller, apikey.Prefix, apikey.NewVerifier(keys, time.Now).Caller)(ctx, authorization)
	}
}

// stop ends server and work at the same time. Connections on which a request is
// still under way after stopTimeout are closed.
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

func createLimit(env environment) (ratelimit.Policy, error) {
	text := env.getenv("CREATE_LIMIT")
	if text == "" {
		return ratelimit.Policy{}, nil
	}
	policy, err := ratelimit.ParsePolicy(text)
	if err != nil {
		return policy, fmt.Errorf("CREATE_LIMIT %w", err)
	}
	return policy, nil
}

// printWelcome prints the address and a line that creates a sync when pasted.
func printWelcome(env environment, address string, e backend) error {
	signed, err := newToken(env)
	if err != nil {
		return err
	}
	events := ""
	if e.feed != nil {
		events = "Its events as a stream: " + address + server.StreamPath + "\n"
	}
	fmt.Fprintf(env.stdout, `Syncplane listens on %[1]s and keeps its syncs in %[2]s.
The API as a page: %[1]s/docs
%[4]sCreate a sync:

curl -sS %[1]s/api/v1/syncs -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}'

`, address, e.location, signed, events)
	return nil
}
