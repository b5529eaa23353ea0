package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"syncplane/pkg/bearer"
	"syncplane/pkg/bolt"
	"syncplane/pkg/boot"
	"syncplane/pkg/local"
	"syncplane/pkg/syncs"
)

// stopTimeout is how long requests under way may take after a signal.
const stopTimeout = 15 * time.Second

// readHeaderTimeout is how long a client may take to send its headers.
const readHeaderTimeout = 10 * time.Second

// serve runs the control plane until ctx ends.
func serve(ctx context.Context, m machine) error {
	port := m.setting("PORT", "8080")
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("PORT must be a number from 0 to 65535, got %q", port)
	}
	dataDir := m.setting("DATA_DIR", defaultDataDir)
	key, err := local.OpenKey(dataDir)
	if err != nil {
		return err
	}
	keys, err := local.KeySet(key)
	if err != nil {
		return err
	}
	store, place, closeStore, err := openStore(ctx, m, dataDir)
	if err != nil {
		return err
	}

	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("port %s is in use; set PORT to another one, such as PORT=8081", port)
	}
	if err != nil {
		return errors.Join(err, closeStore())
	}

	verifier := bearer.New(bearer.Config{Issuer: local.Issuer, Audience: local.Audience}, bearer.Static(keys), time.Now)
	function := boot.Handler(store, verifier.Caller, boot.Logger(m.stderr, m.getenv("LOG_LEVEL")), false)
	server := &http.Server{
		Handler:           local.Routes(local.Gateway{Function: function, Now: time.Now}, keys),
		ReadHeaderTimeout: readHeaderTimeout,
	}
	if err := greet(m, "http://"+listener.Addr().String(), place); err != nil {
		return errors.Join(err, listener.Close(), closeStore())
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return errors.Join(err, closeStore())
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(server.Shutdown(stopping), closeStore())
}

// openStore opens the engine that STORE names, and says where it keeps things.
func openStore(ctx context.Context, m machine, dataDir string) (store syncs.Store, place string, closeStore func() error, err error) {
	switch engine := m.setting("STORE", "bolt"); engine {
	case "bolt":
		path := filepath.Join(dataDir, "syncs.db")
		st, err := bolt.Open(path)
		if err != nil {
			return nil, "", nil, err
		}
		return st, path, st.Close, nil
	case "dynamodb":
		st := boot.DynamoDB(dynamoConfig(m))
		if err := st.EnsureTable(ctx); err != nil {
			return nil, "", nil, err
		}
		return st, "the DynamoDB table " + st.Table, func() error { return nil }, nil
	default:
		return nil, "", nil, fmt.Errorf("STORE must be bolt or dynamodb, got %q", engine)
	}
}

// greet prints the address and a line that creates a sync when pasted.
func greet(m machine, address, place string) error {
	signed, err := newToken(m)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.stdout, `Syncplane listens on %[1]s and keeps its syncs in %[2]s.
The API as a page: %[1]s/docs
Create a sync:

curl -sS %[1]s/api/v1/syncs -H 'Authorization: Bearer %[3]s' -H 'Content-Type: application/json' -d '{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}'

`, address, place, signed)
	return nil
}
