// Command shared runs the command of its arguments, such as go test, with one DynamoDB
// Local for all its processes. The start of a DynamoDB Local takes two seconds of a
// processor, and nine packages need one.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/testkit/dynamotest"
)

// port is the same in each run, so that the results of go test stay in its cache. Our
// own choice.
const port = 18479

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// run returns the exit status of the command.
func run(args []string) (int, error) {
	if len(args) == 0 {
		return 2, errors.New("no command given")
	}
	// The command receives Ctrl-C too; this process ends after it.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	command := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the caller names the program
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	if os.Getenv("AWS_ENDPOINT_URL_DYNAMODB") == "" {
		server, err := start(ctx)
		if _, missing := errors.AsType[*dynamodblocal.MissingError](err); err != nil && !missing { // if missing, the tests report it
			return 1, err
		}
		if err == nil {
			defer func() { _ = server.Close() }() // it ends with this process
			command.Env = append(os.Environ(), dynamotest.SharedVariable+"="+server.Endpoint)
		}
	}
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("run %s: %w", args[0], err)
	}
	return 0, nil
}

// start starts DynamoDB Local, on another port if port is taken.
func start(ctx context.Context) (*dynamodblocal.Server, error) {
	options := dynamodblocal.Options{Getenv: os.Getenv, Progress: os.Stderr, Port: port}
	server, err := dynamodblocal.Start(ctx, options)
	if _, missing := errors.AsType[*dynamodblocal.MissingError](err); err == nil || missing {
		return server, err
	}
	options.Port = 0
	return dynamodblocal.Start(ctx, options)
}
