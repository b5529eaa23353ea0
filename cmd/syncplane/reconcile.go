package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
)

// reconcile compares the table of a stack with its schedules and repairs the
// schedules, or only reports the differences with --dry-run. It takes the
// environment variables of the function and the credentials of the AWS profile.
func reconcile(ctx context.Context, env environment, args []string) error {
	flags := flag.NewFlagSet("reconcile", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dry := flags.Bool("dry-run", false, "")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return errors.Join(err, errors.New("reconcile takes no arguments other than --dry-run; see syncplane help"))
	}
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
		return err
	}
	credentials := aws.NewCredentialsCache(profile.Credentials)
	store := app.DynamoDBAs(c.Config, credentials)
	schedules := eventfunc.Reconciler(c.Common, c.ReconcilerConfig, credentials)
	handle, verb := schedules.ReconcileAll, "repaired"
	if *dry {
		handle, verb = schedules.FindDrift, "to repair"
	}
	report, err := handle(ctx, store, func(id string) { fmt.Fprintln(env.stdout, id) })
	fmt.Fprintf(env.stderr, "%d syncs; %s: the schedules of %d of them and those of %d deleted syncs\n", report.Syncs, verb, report.Repaired, report.Removed)
	return err
}
