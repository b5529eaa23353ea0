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

// manageDeadLetters lists the events that a webhook did not take, or sends them
// again. A server may run at the same time.
func manageDeadLetters(ctx context.Context, env environment, args []string) error {
	switch dynamodb, err := usesDynamoDB(env); {
	case err != nil:
		return err
	case dynamodb:
		return errors.New("dead-letters needs STORE=bolt; with DynamoDB the queue WebhookFailures of the stack has them")
	}
	switch {
	case len(args) == 1 && args[0] == "list":
		return listDeadLetters(ctx, env)
	case len(args) > 1 && args[0] == "resend":
		return resendDeadLetters(ctx, env, args[1:])
	default:
		return errors.New("dead-letters list, dead-letters resend ID… or dead-letters resend --all")
	}
}

func listDeadLetters(ctx context.Context, env environment) error {
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTYPE\tEVENT\tWORKSPACE\tSINCE\tGIVEN UP\tATTEMPTS\tREASON")
	err := deadLetters(env).All(ctx, func(l bolt.DeadLetter) error {
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Sequence, l.Event.Type(), l.Event.ID, l.Event.Workspace,
			l.Since.UTC().Format(time.RFC3339), l.GivenUp.UTC().Format(time.RFC3339), l.Attempts, l.Reason)
		return nil
	})
	return errors.Join(err, table.Flush())
}

// resendDeadLetters sends dead letters once more, oldest first, and removes those
// that are taken.
func resendDeadLetters(ctx context.Context, env environment, args []string) error {
	wanted, err := wantedLetters(args)
	if err != nil {
		return err
	}
	client, err := webhook.NewClient(webhookConfig(env), time.Now)
	if err != nil {
		return err
	}
	dead, sent, refused := deadLetters(env), 0, 0
	err = dead.All(ctx, func(l bolt.DeadLetter) error {
		if wanted != nil && !wanted[l.Sequence] {
			return nil
		}
		delete(wanted, l.Sequence)
		if err := client.Send(ctx, l.Origin, l.Event); err != nil {
			refused++
			fmt.Fprintf(env.stderr, "%d %s: %v\n", l.Sequence, l.Event.ID, err)
			if refusal, ok := errors.AsType[*webhook.RefusalError](err); ok && refusal.Status == http.StatusGone {
				return errors.New("the webhook is gone (410); nothing more is sent")
			}
			return ctx.Err()
		}
		sent++
		fmt.Fprintf(env.stdout, "%d %s\n", l.Sequence, l.Event.ID)
		return dead.Remove(ctx, l.Sequence)
	})
	switch {
	case err != nil:
		return err
	case refused > 0:
		return fmt.Errorf("%d dead letters were taken, %d were not and are kept", sent, refused)
	case len(wanted) > 0:
		return fmt.Errorf("%d of the dead letters named are not there; see dead-letters list", len(wanted))
	}
	return nil
}

// wantedLetters returns the IDs of args, nil for --all.
func wantedLetters(args []string) (map[uint64]bool, error) {
	if len(args) == 1 && args[0] == "--all" {
		return nil, nil //nolint:nilnil // as documented
	}
	wanted := map[uint64]bool{}
	for _, text := range args {
		id, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return nil, fmt.Errorf("a dead letter has a number as its ID, got %q; see dead-letters list", text)
		}
		wanted[id] = true
	}
	return wanted, nil
}
