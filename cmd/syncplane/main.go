// Command syncplane serves the control plane on one machine, manages its tokens,
// API keys and dead letters, calls the API, and runs the Lambda functions without AWS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"syncplane/pkg/fault"
)

// The exit codes, other than 0.
const (
	exitFailure = 1 // the command could not do its work
	exitUsage   = 2 // the arguments or the settings are invalid; nothing was done
)

// environment holds the inputs and outputs of a command other than its arguments.
type environment struct {
	getenv func(string) string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer

	addRoots func() // see rootsFor; only the first call has an effect
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
	env := environment{
		getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, addRoots: sync.OnceFunc(addRoots),
	}
	err := run(ctx, os.Args[1:], env)
	stop()
	os.Exit(report(env, err))
}

// report prints the error of a command, nil if there is none, and returns the exit code.
func report(env environment, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(env.stderr, "syncplane:", printableLines(reasonOf(err).Error()))
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitFailure
}

// reasonOf returns the cause of an error of a storage backend that is not available. Its
// message is for clients of the API, which do not see the cause.
func reasonOf(err error) error {
	if failure, ok := err.(*fault.Error); ok && failure.Kind == fault.Unavailable && failure.Err != nil { //nolint:errorlint // the text around a wrapped error would be lost
		return failure.Err
	}
	return err
}

// run runs the command that args name. It returns a usageError if the arguments or
// the settings are invalid.
func run(ctx context.Context, args []string, env environment) error {
	out := &checkedOutput{to: env.stdout}
	env.stdout = out
	root := newRoot(env)
	root.SetArgs(args)
	// cobra prints the help of the parent of an unknown command that --help follows.
	var unknown error
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if names := cmd.Flags().Args(); len(names) > 0 && cmd.HasSubCommands() {
			unknown = unknownCommand(cmd, names[0])
			return
		}
		help(cmd, args)
	})
	if err := root.ExecuteContext(ctx); err != nil {
		return err
	}
	if unknown != nil {
		return unknown
	}
	return out.failure
}
