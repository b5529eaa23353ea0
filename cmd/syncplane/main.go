// Command syncplane serves the control plane on one machine, manages its tokens,
// API keys and dead letters, and runs the Lambda functions without AWS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

const usage = `Usage: syncplane COMMAND

  serve          run the control plane on this machine
                 PORT (8080), DATA_DIR (.syncs), STORE (bolt or dynamodb),
                 with dynamodb: TABLE_NAME, AWS_REGION, AWS_ENDPOINT_URL_DYNAMODB;
                 CREATE_LIMIT (none), such as 100/1m for each workspace
  token          print a bearer token for it
                 DATA_DIR (.syncs), WORKSPACE (demo), TTL (1h),
                 SCOPE (syncs:read syncs:write runs:execute)
  invoke FILE    run the Lambda once with the event in FILE
                 BOOTSTRAP (bin/host/…/bootstrap), DATA_DIR,
                 AWS_ENDPOINT_URL_DYNAMODB; for events of queue and stream
                 also AWS_ENDPOINT_URL, the address of moto_server
  keys create --workspace W [--name N] [--scopes syncs:read,syncs:write] [--expires 720h]
  keys list   --workspace W
  keys revoke --workspace W ID
                 manage the API keys of a workspace, in DATA_DIR, or with
                 STORE=dynamodb in TABLE_NAME, with an AWS profile
  dead-letters list
  dead-letters resend ID…|--all
                 list or resend the events that the webhook did not accept
                 within a day; DATA_DIR, WEBHOOK_URL, WEBHOOK_SECRET
  when CRON|MINUTES
                 print what a schedule means and when it runs next
  reconcile [--dry-run]
                 reconcile the schedules of a stack with its table; variables
                 as those of its function ReconcileFunction, and an AWS profile
  version        print the version, the commit and the Go release of this program

Settings are environment variables; defaults are in parentheses.
`

// environment holds the inputs and outputs of a command other than its arguments.
type environment struct {
	getenv func(string) string
	stdout io.Writer
	stderr io.Writer
}

// valueOr returns the value of an environment variable, or fallback if it is not set
// or empty.
func (env environment) valueOr(name, fallback string) string {
	if value := env.getenv(name); value != "" {
		return value
	}
	return fallback
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], environment{getenv: os.Getenv, stdout: os.Stdout, stderr: os.Stderr})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "syncplane:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, env environment) error {
	if len(args) == 0 {
		fmt.Fprint(env.stderr, usage)
		return errors.New("no command given")
	}
	switch command, rest := args[0], args[1:]; command {
	case "serve":
		return serve(ctx, env)
	case "token":
		return token(env)
	case "invoke":
		if len(rest) != 1 {
			return errors.New("invoke takes one argument, the file of the event, such as events/create-sync.json")
		}
		return invoke(ctx, env, rest[0])
	case "keys":
		return keys(ctx, env, rest)
	case "dead-letters":
		return manageDeadLetters(ctx, env, rest)
	case "when":
		return when(env, rest)
	case "reconcile":
		return reconcile(ctx, env, rest)
	case "version", "--version":
		return version(env)
	case "help", "-h", "--help":
		fmt.Fprint(env.stdout, usage)
		return nil
	default:
		return fmt.Errorf("unknown command %q; see syncplane help", command)
	}
}
