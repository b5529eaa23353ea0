package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"
	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/replay"
	"syncplane/pkg/event"
	"syncplane/pkg/storage/dynamo"
)

// replayConfig holds the settings of the command replay.
type replayConfig struct {
	stack    string
	queue    string // "" is that of the relay and that of the schedules
	from, to time.Time
	dry      bool
}

// The queues that replay reads.
const (
	queueRelay     = "relay"
	queueSchedules = "schedules"
	queueWebhook   = "webhook"
)

// newReplay returns the command that publishes events again.
func newReplay(env environment) *cobra.Command {
	var c replayConfig
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Publish events of a stack again that were not delivered",
		Long: `Replay publishes what the queues of failures of a stack name, and deletes those
messages: changes that the relay gave up (RelayFailures), due runs that their
schedule could not deliver (ScheduleFailures), and with --queue webhook events that
the webhook did not accept. With --from it publishes the changes of a range of time
instead: each of the last 24 hours, and before that the last one of each sync and
run, without deletions.

An event has the same ID as the first time. It needs an AWS profile whose role is
the stack's OperatorRoleArn. It prints the type and the ID of each event.`,
		Example: `  syncplane replay --stack syncplane-prod --dry-run
  syncplane replay --stack syncplane-prod
  syncplane replay --stack syncplane-prod --from 2026-11-30T02:00:00Z --to 2026-11-30T03:00:00Z`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(cmd); err != nil {
				return err
			}
			return runReplay(cmd.Context(), env, c)
		},
	}
	defineStackName(cmd, &c.stack)
	define(cmd, cmd.Flags(), &c.queue, setting[string]{
		flag: "queue", kind: "name", parse: parseOneOf(queueRelay, queueSchedules, queueWebhook), values: []string{queueRelay, queueSchedules, queueWebhook},
		usage: "only this queue: relay, schedules or webhook",
	})
	define(cmd, cmd.Flags(), &c.from, setting[time.Time]{flag: "from", kind: "time", parse: parseTime, usage: "the first time of a range, such as 2026-11-30T02:00:00Z"})
	define(cmd, cmd.Flags(), &c.to, setting[time.Time]{flag: "to", kind: "time", parse: parseTime, usage: "the end of the range; now, if it is not given"})
	define(cmd, cmd.Flags(), &c.dry, setting[bool]{
		flag: "dry-run", fallback: "false", kind: kindBool, parse: parseBool, usage: "only print the events",
	})
	return cmd
}

// parseTime parses a time.
func parseTime(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("must be a time such as 2026-11-30T02:00:00Z, got %q", text)
	}
	return at.UTC(), nil
}

// check returns a usageError for settings that contradict each other.
func (c replayConfig) check(cmd *cobra.Command) error {
	switch given := cmd.Flags().Changed; {
	case c.stack == "":
		return usageErrorf("--stack must be given")
	case given("queue") && given("from"):
		return usageErrorf("--queue and --from exclude each other")
	case given("to") && !given("from"):
		return usageErrorf("--to needs --from")
	case given("to") && !c.from.Before(c.to):
		return usageErrorf("--to must be after --from")
	}
	return nil
}

// runReplay publishes events again.
func runReplay(ctx context.Context, env environment, c replayConfig) error {
	s, err := openStack(ctx, env, c.stack)
	if err != nil {
		return err
	}
	config, err := eventfunc.ReadRelay(s.getenv)
	if err != nil {
		return &usageError{err}
	}
	credentials := s.credentials()
	store := app.DynamoDBAs(config.Config, credentials)
	published := 0
	r := &replay.Replayer{
		Relay:     eventfunc.NewRelay(config, credentials, app.Logger(env.stderr, "WARN")),
		Streams:   dynamodbstreams.NewFromConfig(s.profile),
		StreamARN: s.outputs[outputStream],
		Queues:    sqs.NewFromConfig(s.profile),
		Syncs:     store,
		Runs:      dynamo.Runs{Store: store, Now: time.Now},
		Now:       time.Now,
		DryRun:    c.dry,
		OnEvent: func(kind event.Kind, id string) {
			published++
			fmt.Fprintln(env.stdout, kind, id)
		},
	}
	if c.from.IsZero() {
		err = replayQueues(ctx, r, s, c.queue)
	} else {
		if c.to.IsZero() {
			c.to = time.Now()
		}
		err = r.Range(ctx, c.from, c.to)
	}
	verb := "published"
	if c.dry {
		verb = "to publish"
	}
	fmt.Fprintf(env.stderr, "%d events %s\n", published, verb)
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "AccessDeniedException" {
		err = fmt.Errorf("%w; the stack's parameter OperatorRoleArn must name the role of the AWS profile, and the role must have the policy of the output OperatorPolicyArn", err)
	}
	return err
}

// replayQueues publishes what a queue of the stack names; if name is "", what those of
// the relay and the schedules name.
func replayQueues(ctx context.Context, r *replay.Replayer, s *stack, name string) error {
	urls := map[string]string{
		queueRelay: s.getenv("RELAY_FAILURES_URL"), queueSchedules: s.outputs[outputScheduleFailures], queueWebhook: s.outputs[outputWebhookFailures],
	}
	names := []string{queueRelay, queueSchedules}
	if name != "" {
		names = []string{name}
	}
	var faults []error
	for _, name := range names {
		if urls[name] == "" {
			return fmt.Errorf("the stack has no queue for %s", name)
		}
		if _, err := r.Queue(ctx, urls[name]); err != nil {
			faults = append(faults, fmt.Errorf("queue %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}
