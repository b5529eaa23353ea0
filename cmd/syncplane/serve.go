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
func serve(ctx context.Context, m machine) error {
	port := m.setting("PORT", "8080")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("PORT must be a number from 0 to 65535, got %q", port)
	}
	dataDir := m.setting("DATA_DIR", defaultDataDir)
	key, err := server.OpenKey(dataDir)
	if err != nil {
		return err
	}
	keys, err := server.KeySet(key)
	if err != nil {
		return err
	}
	limit, err := createLimit(m)
	if err != nil {
		return err
	}
	e, err := openEngine(ctx, m, dataDir)
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
	log := app.Logger(m.stderr, m.getenv("LOG_LEVEL"))
	e.logTo(log)
	work, err := newBackground(ctx, m, e, address, log)
	if err != nil {
		return errors.Join(err, listener.Close(), e.close())
	}
	verifier := oidc.New(oidc.Config{Issuer: server.Issuer, Audience: server.Audience, WorkspaceClaim: server.WorkspaceClaim}, oidc.Static(keys), time.Now)
	caller := oidc.ByPrefix(verifier.Caller, apikey.Prefix, apikey.NewVerifier(e.keys, time.Now).Caller)
	face := httpfunc.API(httpfunc.Deps{
		Store:       e.syncs,
		Runs:        e.runsService(),
		Quotas:      e.quotas,
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
	if err := greet(m, address, e); err != nil {
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

func createLimit(m machine) (ratelimit.Policy, error) {
	text := m.getenv("CREATE_LIMIT")
	if text == "" {
		return ratelimit.Policy{}, nil
	}
	policy, err := ratelimit.ParsePolicy(text)
	if err != nil {
		return policy, fmt.Errorf("CREATE_LIMIT %w", err)
	}
	return policy, nil
}

// greet prints the address and a line that creates a sync when pasted.
func greet(m machine, address string, e engine) error {
	signed, err := newToken(m)
	if err != nil {
		return err
	}
	events := ""
	if e.feed != nil {
		events = "Its events as a stream: " + address + server.StreamPath + "\n"
	}
	fmt.Fprintf(m.stdout, `Syncplane listens on %[1]s and keeps its syncs in %[2]s.
The API as a page: %[1]s/docs
%[4]sCreate a sync:

curl -sS %[1]s/api/v1/syncs -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}'

`, address, e.place, signed, events)
	return nil
}
