package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
)

func webhookConfig(env environment) webhook.Config {
	return webhook.Config{URL: env.getenv("WEBHOOK_URL"), Secret: env.getenv("WEBHOOK_SECRET")}
}

func deadLetters(env environment) bolt.DeadLetters {
	return bolt.DeadLetters{Path: filepath.Join(env.valueOr("DATA_DIR", defaultDataDir), "dead-letters.db")}
}

// manageDeadLetters lists the events that the webhook did not accept, or sends them
// again. A server may run at the same time.
func manageDeadLetters(ctx context.Context, env environment, args []string) error {
	switch dynamodb, err := usesDynamoDB(env); {
	case err != nil:
		return err
	case dynamodb:
		return errors.New("dead-letters needs STORE=bolt; with DynamoDB they are in the queue WebhookFailures of the stack")
	}
	switch {
	case len(args) == 1 && args[0] == "list":
		return listDeadLetters(ctx, env)
	case len(args) > 1 && args[0] == "resend":
		return resendDeadLetters(ctx, env, args[1:])
	default:
		return errors.New("usage: dead-letters list, dead-letters resend ID… or dead-letters resend --all")
	}
}

func listDeadLetters(ctx context.Context, env environment) error {
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTYPE\tEVENT\tWORKSPACE\tSINCE\tGIVEN UP\tATTEMPTS\tREASON")
	for l, err := range deadLetters(env).All(ctx) {
		if err != nil {
			return errors.Join(err, table.Flush())
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Sequence, l.Event.Type(), l.Event.ID, l.Event.Workspace,
			l.Since.UTC().Format(time.RFC3339), l.GivenUp.UTC().Format(time.RFC3339), l.Attempts, l.Reason)
	}
	return table.Flush()
}

// resendDeadLetters sends dead letters again, oldest first, and removes those that
// the endpoint accepts.
func resendDeadLetters(ctx context.Context, env environment, args []string) error {
	wanted, err := parseLetterIDs(args)
	if err != nil {
		return err
	}
	client, err := webhook.NewClient(webhookConfig(env), time.Now)
	if err != nil {
		return err
	}
	dead, sent, refused := deadLetters(env), 0, 0
	for l, err := range dead.All(ctx) {
		if err != nil {
			return err
		}
		if wanted != nil && !wanted[l.Sequence] {
			continue
		}
		delete(wanted, l.Sequence)
		if err := client.Send(ctx, l.Origin, l.Event); err != nil {
			refused++
			fmt.Fprintf(env.stderr, "%d %s: %v\n", l.Sequence, l.Event.ID, err)
			if refusal, ok := errors.AsType[*webhook.RefusalError](err); ok && refusal.Status == http.StatusGone {
				return errors.New("the webhook is gone (410); no further dead letter was sent")
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		sent++
		fmt.Fprintf(env.stdout, "%d %s\n", l.Sequence, l.Event.ID)
		if err := dead.Remove(ctx, l.Sequence); err != nil {
			return err
		}
	}
	switch {
	case refused > 0:
		return fmt.Errorf("%d dead letters were accepted, %d were refused and are kept", sent, refused)
	case len(wanted) > 0:
		return fmt.Errorf("%d of the given dead letters do not exist; see dead-letters list", len(wanted))
	}
	return nil
}

// parseLetterIDs returns the IDs in args, nil for --all.
func parseLetterIDs(args []string) (map[uint64]bool, error) {
	if len(args) == 1 && args[0] == "--all" {
		return nil, nil //nolint:nilnil // as documented
	}
	wanted := map[uint64]bool{}
	for _, text := range args {
		id, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("the ID of a dead letter must be a number, got %q; see dead-letters list", text)
		}
		wanted[id] = true
	}
	return wanted, nil
}
