package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
)

// newReconcile returns the command that reconciles schedules.
func newReconcile(env environment) *cobra.Command {
	dry := false
	cmd := &cobra.Command{
		Use:   "reconcile",
		Short: "Reconcile the schedules of a stack with its table",
		Long: `Reconcile compares the table of a stack with its schedules and repairs the
schedules, as the stack's function ReconcileFunction does once a day. It needs
the environment variables of that function and an AWS profile. It prints the ID
of each sync whose schedules differ.`,
		Example: `  syncplane reconcile --dry-run
  syncplane reconcile`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return reconcile(cmd.Context(), env, dry) },
	}
	define(cmd, cmd.Flags(), &dry, setting[bool]{
		flag: "dry-run", fallback: "false", kind: kindBool, parse: parseBool, usage: "only report the differences",
	})
	return cmd
}

// reconcile takes the environment variables of the function and the credentials of the
// AWS profile.
func reconcile(ctx context.Context, env environment, dry bool) error {
	profile, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("read the AWS profile: %w", err)
	}
	c, err := eventfunc.ReadReconcile(func(name string) string {
		switch {
		case name == "AWS_REGION" && profile.Region != "":
			return profile.Region
		case name == "AWS_ACCESS_KEY_ID", name == "AWS_SECRET_ACCESS_KEY":
			return "of the profile"
		case name == "AWS_ENDPOINT_URL_DYNAMODB":
			return aws.ToString(dynamodb.NewFromConfig(profile).Options().BaseEndpoint)
		case name == "AWS_ENDPOINT_URL_SCHEDULER":
			return aws.ToString(scheduler.NewFromConfig(profile).Options().BaseEndpoint)
		}
		return env.getenv(name)
	})
	if err != nil {
		return &usageError{err}
	}
	credentials := aws.NewCredentialsCache(profile.Credentials)
	store := app.DynamoDBAs(c.Config, credentials)
	schedules := eventfunc.Reconciler(c.Common, c.ReconcilerConfig, credentials)
	handle, verb := schedules.ReconcileAll, "repaired"
	if dry {
		handle, verb = schedules.FindDrift, "to repair"
	}
	report, err := handle(ctx, store, func(id string) { fmt.Fprintln(env.stdout, id) })
	fmt.Fprintf(env.stderr, "%d syncs; %s: the schedules of %d of them and those of %d deleted syncs\n", report.Syncs, verb, report.Repaired, report.Removed)
	return err
}
