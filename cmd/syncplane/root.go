package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The groups of commands in the help.
const (
	groupServer = "server"
	groupAPI    = "api"
	groupCloud  = "cloud"
)

// usageError reports arguments or settings that are invalid.
type usageError struct{ error }

// Unwrap returns the error without the classification.
func (e *usageError) Unwrap() error { return e.error }

func usageErrorf(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// newRoot returns the command with all its subcommands.
func newRoot(env environment) *cobra.Command {
	root := newGroup(&cobra.Command{
		Use:   "syncplane",
		Short: "Run and use the control plane for data syncs",
		Long: `Syncplane is a control plane for data syncs. This command runs it on this
machine and manages its tokens, API keys and dead letters.

An environment variable sets each flag that names one in brackets. With the
prefix SYNCPLANE_, such as SYNCPLANE_PORT, the variable takes precedence over
the one without; the flag takes precedence over both.

Exit codes: 0 success, 1 failure, 2 invalid arguments or settings.`,
		Example: `  syncplane token --workspace acme
  syncplane help keys create`,
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	root.SetIn(env.stdin)
	root.SetOut(env.stdout)
	root.SetErr(env.stderr)
	root.SetFlagErrorFunc(flagError)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return setFromEnvironment(cmd, env.getenv) }
	root.AddGroup(
		&cobra.Group{ID: groupServer, Title: "The local server:"},
		&cobra.Group{ID: groupAPI, Title: "The API:"},
		&cobra.Group{ID: groupCloud, Title: "On AWS, and without it:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			root.AddCommand(command)
		}
	}
	add(groupServer, newServe(env), newHealthcheck(env), newToken(env), newKeys(env), newDeadLetters(env))
	add(groupAPI, newSyncs(env), newRuns(env), newEvents(env), newApply(env))
	add(groupCloud, newReconcile(env), newReplay(env), newInvoke(env), newEmulate(env))
	add("", newWhen(env), newVersion(env))
	root.SetHelpCommand(newHelp(root))
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		newGroup(completion)
		completion.Example = "  source <(syncplane completion bash)"
		for _, shell := range completion.Commands() {
			shell.Args = noArguments
			shell.Example = "  syncplane " + completion.Name() + " " + shell.Name()
		}
	}
	showVersion := root.Flags().Bool("version", false, "print the version")
	unknown := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if *showVersion && len(args) == 0 {
			return version(env)
		}
		return unknown(cmd, args)
	}
	return root
}

// newGroup completes a command that only has subcommands: without one of them it is
// an error.
func newGroup(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		var names []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return usageErrorf("no command given; must be one of %s; see %s --help", strings.Join(names, ", "), cmd.CommandPath())
	}
	return cmd
}

func unknownCommand(parent *cobra.Command, name string) error {
	full := strings.TrimPrefix(strings.TrimPrefix(parent.CommandPath()+" "+name, parent.Root().Name()), " ")
	hint := ""
	if similar := parent.SuggestionsFor(name); len(similar) > 0 {
		hint = ", did you mean " + strings.Join(similar, " or ") + "?"
	}
	return usageErrorf("unknown command %q%s; see %s --help", full, hint, parent.CommandPath())
}

// newHelp returns the help command. Unlike that of cobra it refuses unknown commands.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:     "help [command]",
		Short:   "Print the help of a command",
		Example: "  syncplane help serve",
		RunE: func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(found, slices.Concat(rest, args)[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

// flagError returns the usage error for a flag that cannot be parsed.
func flagError(cmd *cobra.Command, err error) error {
	message := err.Error()
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		if _, checked := invalid.GetFlag().Value.(checkedValue); checked {
			message = "--" + invalid.GetFlag().Name + " " + invalid.Unwrap().Error()
		}
	}
	return usageErrorf("%s; see %s --help", message, cmd.CommandPath())
}

// noArguments refuses arguments.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf("unexpected argument %q; see %s --help", args[0], cmd.CommandPath())
	}
	return nil
}

// oneArgument returns a check that there is exactly one argument. what is its
// description.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageErrorf("%s takes one argument, %s; see %s --help", strings.TrimPrefix(cmd.CommandPath(), "syncplane "), what, cmd.CommandPath())
		}
		return nil
	}
}
