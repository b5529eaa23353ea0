package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/storage/dynamo"
)

// newReconcile returns the command that reconciles schedules.
func newReconcile(env environment) *cobra.Command {
	dry, name := false, ""
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Reconcile the schedules of a stack with its table",
		Long: `Reconcile compares the table of a stack with its schedules, repairs the
schedules, and ends the runs that time has ended, as the stack's function
ReconcileFunction does once a day. It needs an AWS profile, and --stack or the
environment variables of that function. It prints the ID of each sync whose
schedules differ or whose run it ends.`,
		Example: `  syncplane reconcile --stack syncplane-prod --dry-run
  syncplane reconcile --stack syncplane-prod`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openStack(cmd.Context(), env, name)
			if err != nil {
				return err
			}
			return reconcile(cmd.Context(), env, s, dry)
		},
	}
	defineStackName(cmd, &name)
	define(cmd, cmd.Flags(), &dry, setting[bool]{
		flag: "dry-run", fallback: "false", kind: kindBool, parse: parseBool, usage: "only report the differences",
	})
	return cmd
}

// reconcile reconciles the schedules and runs of a stack, or only counts what differs.
func reconcile(ctx context.Context, env environment, s *stack, dry bool) error {
	c, err := eventfunc.ReadReconcile(s.getenv)
	if err != nil && s.outputs == nil {
		err = fmt.Errorf("--stack must be given, or the variables of ReconcileFunction must be set:\n%w", err)
	}
	if err != nil {
		return &usageError{err}
	}
	credentials := s.credentials()
	store := app.DynamoDBAs(c.Config, credentials)
	schedules := eventfunc.Reconciler(c.Common, c.ReconcilerConfig, credentials)
	service := eventfunc.Runs(store, c.RunRetention)
	slots := dynamo.Runs{Store: store, Now: service.Now}
	handle, expire, verb := schedules.ReconcileAll, reconciler.ExpireAll, "repaired"
	if dry {
		handle, expire, verb = schedules.FindDrift, reconciler.FindExpired, "to repair"
	}
	printID := func(id string) { fmt.Fprintln(env.stdout, id) }
	report, err := handle(ctx, store, printID)
	expired, failure := expire(ctx, slots, service, printID)
	fmt.Fprintf(env.stderr, "%d syncs; %s: the schedules of %d of them and those of %d deleted syncs; %d runs ended\n",
		report.Syncs, verb, report.Repaired, report.Removed, expired)
	return errors.Join(err, failure)
}
