package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/emulator/subprocess"
)

// emulateConfig holds the settings of emulate.
type emulateConfig struct {
	dataDir      string
	table        string
	bind         string // the IP address that moto_server listens on
	dynamoDBPort string
	motoPort     string
}

// The ports that env.local.json names.
const (
	dynamoDBPort = "8000"
	motoPort     = "5000"
)

// newEmulate returns the command that runs emulators of AWS.
func newEmulate(env environment) *cobra.Command {
	var c emulateConfig
	cmd := &cobra.Command{
		Use:   "emulate",
		Short: "Run what sam local needs: DynamoDB Local and moto_server",
		Long: `Emulate runs DynamoDB Local with the table, and moto_server for EventBridge,
Scheduler and SQS, if it is in PATH. It writes the settings of the functions for
sam local into the data directory: those of env.local.json, with the ports, and
with the key of syncplane token in addition to that of events/. It runs until it
is interrupted, and keeps all data in memory.

DynamoDB Local, which needs Java 17, listens on all network interfaces. For a
Docker engine on Linux itself, moto_server must listen on the address of Docker's
bridge, such as 172.17.0.1; Docker Desktop needs no other address.`,
		Example: `  syncplane emulate
  syncplane emulate --bind 172.17.0.1`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return emulate(cmd.Context(), env, c) },
	}
	defineDataDir(cmd, &c.dataDir)
	defineTable(cmd, &c.table)
	define(cmd, cmd.Flags(), &c.bind, setting[string]{
		flag: "bind", fallback: "127.0.0.1", kind: "address", parse: parseIP,
		usage: "the IP address that moto_server listens on",
	})
	define(cmd, cmd.Flags(), &c.dynamoDBPort, setting[string]{
		flag: "dynamodb-port", fallback: dynamoDBPort, kind: "port", parse: parsePort,
		usage: "the port of DynamoDB Local; 0 is a free one",
	})
	define(cmd, cmd.Flags(), &c.motoPort, setting[string]{
		flag: "moto-port", fallback: motoPort, kind: "port", parse: parsePort,
		usage: "the port of moto_server; 0 is a free one",
	})
	return cmd
}

func parseIP(text string) (string, error) {
	if net.ParseIP(text) == nil {
		return "", fmt.Errorf("must be an IP address such as 172.17.0.1, got %q", text)
	}
	return text, nil
}

const (
	settingsFile = "env.local.json"       // the settings of the functions under `sam local`
	hostOfDocker = "host.docker.internal" // this machine, for a container
	watchQueue   = "watch"                // the queue that WATCH_QUEUE_URL of settingsFile names

	// motoStart bounds the start of moto_server. Our own choice: it takes two seconds.
	motoStart = time.Minute
	motoPoll  = 50 * time.Millisecond
)

// emulate runs the emulators until ctx is cancelled.
func emulate(ctx context.Context, env environment, c emulateConfig) (err error) {
	if _, err := os.Stat(settingsFile); err != nil {
		return usageErrorf("emulate must run in the directory of template.yaml: %w", err)
	}
	port, err := strconv.Atoi(c.dynamoDBPort)
	if err != nil {
		return err
	}
	moto, err := findMoto(ctx, c) // before DynamoDB Local, whose start takes two seconds
	missing := errors.Is(err, exec.ErrNotFound)
	if err != nil && !missing {
		return unlessCancelled(ctx, err)
	}
	defer func() { err = errors.Join(err, moto.close()) }()
	database, err := dynamodblocal.Start(ctx, dynamodblocal.Options{Getenv: env.getenv, Progress: env.stderr, Port: port})
	if err != nil {
		return unlessCancelled(ctx, err)
	}
	defer func() { err = errors.Join(err, database.Close()) }()
	config := app.Config{
		Region: env.valueOr("AWS_REGION", "us-east-1"), TableName: c.table,
		DynamoDBEndpoint: database.Endpoint, AccessKeyID: "local", SecretAccessKey: "local",
	}
	store := app.DynamoDB(config)
	if err := store.EnsureTable(ctx); err != nil {
		return unlessCancelled(ctx, err)
	}
	if err := store.EnableStream(ctx); err != nil {
		return unlessCancelled(ctx, err)
	}
	fmt.Fprintf(env.stdout, "DynamoDB Local: %s, on all network interfaces, with the table %s\n", database.Endpoint, c.table)

	var motoEnded <-chan struct{} // without moto_server nil, which never receives
	if missing {
		fmt.Fprint(env.stdout, motoMissing)
	} else {
		if err := moto.start(ctx, config); err != nil {
			return unlessCancelled(ctx, err)
		}
		motoEnded = moto.process.Ended()
		fmt.Fprintf(env.stdout, "moto_server:    %s, with the queue %s\n", moto.endpoint, watchQueue)
	}
	settings, err := writeSettings(c, database.Endpoint, moto.endpoint)
	if err != nil {
		return err
	}
	own := ""
	if c.dataDir != defaultDataDir {
		own = "DATA_DIR=" + c.dataDir + " "
	}
	fmt.Fprintf(env.stdout, emulateNext, settings, own)

	select {
	case <-ctx.Done():
		return nil
	case <-database.Ended():
		return errors.New("DynamoDB Local ended early")
	case <-motoEnded:
		return fmt.Errorf("moto_server ended early (%s) with the output: %s", moto.process.State(), moto.process.Output())
	}
}

// motoMissing is printed in place of the address of moto_server.
const motoMissing = `moto_server:    not started, because it is not in PATH; pip install 'moto[server]' installs it.
                ApiFunction works. RelayFunction, IntakeFunction and ReconcileFunction fail
                without EventBridge, Scheduler and SQS.
`

// emulateNext is the last part of the output. Its arguments are the file of the
// settings, and the assignment of DATA_DIR unless it is the default.
const emulateNext = `settings:       %[1]s

In another terminal (without the override on arm64):

  sam build --parameter-overrides Architecture=x86_64
  sam local start-api --env-vars %[1]s --parameter-overrides Architecture=x86_64

and in a third:

  curl -sS http://127.0.0.1:3000/api/v1/syncs -H "Authorization: Bearer $(%[2]smake -s token)"

Stop with Ctrl+C. All data is in memory.
`

// unlessCancelled returns err, nil if ctx is cancelled: the user has stopped the start.
func unlessCancelled(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // as documented
	}
	return err
}

// motoServer is a moto_server.
type motoServer struct {
	program, host, port string
	endpoint            string

	reserved net.Listener        // on the port, until it starts
	process  *subprocess.Process // nil until it starts
}

// findMoto finds moto_server and reserves its port. The error wraps exec.ErrNotFound if
// it is not installed.
func findMoto(ctx context.Context, c emulateConfig) (*motoServer, error) {
	program, err := exec.LookPath("moto_server")
	if err != nil {
		return &motoServer{}, err
	}
	// This finds a free port, or fails if another process, which would be taken for
	// the new one, listens on the port.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(c.bind, c.motoPort))
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("--bind must be an IP address of this machine, got %s", c.bind)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("start moto_server: port %s is in use; set another one with --moto-port", c.motoPort)
	case err != nil:
		return nil, fmt.Errorf("start moto_server: %w", err)
	}
	moto := &motoServer{program: program, host: c.bind, reserved: listener}
	if _, moto.port, err = net.SplitHostPort(listener.Addr().String()); err != nil {
		return nil, fmt.Errorf("read the port of moto_server: %w", err)
	}
	moto.endpoint = "http://" + net.JoinHostPort(c.bind, moto.port)
	return moto, nil
}

// start runs moto_server and creates the watch queue.
func (moto *motoServer) start(ctx context.Context, config app.Config) error {
	if err := moto.close(); err != nil {
		return err
	}
	process, err := subprocess.Start(ctx, subprocess.Options{Command: []string{moto.program, "--host", moto.host, "--port", moto.port}})
	if err != nil {
		return err
	}
	moto.process = process
	if err := moto.await(ctx); err != nil {
		return fmt.Errorf("start moto_server: %w", err)
	}
	queues := sqs.New(sqs.Options{Region: config.Region, Credentials: app.Credentials(config), BaseEndpoint: &moto.endpoint})
	if _, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(watchQueue)}); err != nil {
		return fmt.Errorf("create the queue %s: %w", watchQueue, err)
	}
	return nil
}

// close releases the port, or ends the process.
func (moto *motoServer) close() error {
	if moto.process != nil {
		return moto.process.Close()
	}
	if moto.reserved == nil {
		return nil
	}
	err := moto.reserved.Close()
	moto.reserved = nil
	if err != nil {
		return fmt.Errorf("release the port of moto_server: %w", err)
	}
	return nil
}

// await waits until moto_server responds.
func (moto *motoServer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, motoStart, fmt.Errorf("no response within %s", motoStart))
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true} // no proxy, even if the environment names one
	defer transport.CloseIdleConnections()
	tick := time.NewTicker(motoPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-moto.process.Ended():
			return fmt.Errorf("it ended early (%s) with the output: %s", moto.process.State(), moto.process.Output())
		case <-ctx.Done():
			return fmt.Errorf("%w; its output: %s", context.Cause(ctx), moto.process.Output())
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, moto.endpoint, nil)
		if err != nil {
			return err
		}
		if response, err := transport.RoundTrip(request); err == nil {
			return response.Body.Close()
		}
	}
}

// writeSettings writes the settings of the functions for sam local and returns the
// file. endpoint of moto is "" if it does not run.
func writeSettings(c emulateConfig, database, moto string) (string, error) {
	text, err := os.ReadFile(settingsFile)
	if err != nil {
		return "", fmt.Errorf("read the settings of sam local: %w", err)
	}
	var functions map[string]map[string]string
	if err := json.Unmarshal(text, &functions); err != nil {
		return "", fmt.Errorf("read %s: %w", settingsFile, err)
	}
	keys, err := invokeKeys(c.dataDir)
	if err != nil {
		return "", err
	}
	ports := strings.NewReplacer(
		hostOfDocker+":"+dynamoDBPort, hostOfDocker+portOf(database),
		hostOfDocker+":"+motoPort, hostOfDocker+portOf(cmp.Or(moto, ":"+motoPort)),
	)
	for _, variables := range functions {
		for name, value := range variables {
			variables[name] = ports.Replace(value)
		}
		if _, named := variables["TOKEN_JWKS"]; named {
			variables["TOKEN_JWKS"] = string(keys)
		}
		variables["TABLE_NAME"] = c.table
	}
	if text, err = json.MarshalIndent(functions, "", "  "); err != nil {
		return "", fmt.Errorf("write the settings of sam local: %w", err)
	}
	file := filepath.Join(c.dataDir, settingsFile)
	if err := os.WriteFile(file, append(text, '\n'), 0o600); err != nil {
		return "", fmt.Errorf("write the settings of sam local: %w", err)
	}
	return file, nil
}

// portOf returns the port of an address, with its colon.
func portOf(address string) string { return address[strings.LastIndexByte(address, ':'):] }
