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

	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
)

// defineWebhook adds the flags of the webhook.
func defineWebhook(cmd *cobra.Command, to *webhook.Config) {
	define(cmd, cmd.Flags(), &to.URL, setting[string]{
		flag: "webhook-url", variable: "WEBHOOK_URL", kind: "address", parse: parseAddress,
		usage: "the address to which events are posted",
	})
	define(cmd, cmd.Flags(), &to.Secret, setting[string]{
		flag: "webhook-secret", variable: "WEBHOOK_SECRET", kind: "base64", parse: parseText,
		usage: "the secret that signs the events, 24 to 64 bytes; prefer the variable, since other users see the arguments of a process",
	})
}

func deadLetters(dataDir string) bolt.DeadLetters {
	return bolt.DeadLetters{Path: filepath.Join(dataDir, "dead-letters.db")}
}

// newDeadLetters returns the command that manages dead letters. A server may run at
// the same time.
func newDeadLetters(env environment) *cobra.Command {
	var c storageConfig
	cmd := newGroup(&cobra.Command{
		Use:   "dead-letters",
		Short: "List or resend the events that the webhook did not accept",
		Long: `Dead letters are the events that the webhook of the local server did not accept
within a day. A server may run at the same time.`,
		Example: `  syncplane dead-letters list`,
	})
	defineDataDir(cmd, &c.dataDir)
	defineStore(cmd, &c.store)
	check := func() error {
		if c.store != storeBolt {
			return usageErrorf("dead-letters needs STORE=bolt; with DynamoDB they are in the queue WebhookFailures of the stack")
		}
		return nil
	}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the dead letters, oldest first",
		Example: `  syncplane dead-letters list`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := check(); err != nil {
				return err
			}
			return listDeadLetters(cmd.Context(), env, deadLetters(c.dataDir))
		},
	}
	all, hook := false, webhook.Config{}
	resend := &cobra.Command{
		Use:   "resend ID…|--all",
		Short: "Send dead letters again",
		Long: `Resend sends dead letters again, oldest first, prints those that the webhook
accepts, and removes them.`,
		Example:           `  syncplane dead-letters resend --all --webhook-url https://example.com/hook`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := check(); err != nil {
				return err
			}
			if all == (len(args) > 0) {
				return usageErrorf("dead-letters resend takes the IDs of dead letters, as dead-letters list prints them, or --all")
			}
			wanted, err := parseLetterIDs(args)
			if err != nil {
				return err
			}
			client, err := webhook.NewClient(hook, time.Now)
			if err != nil {
				return &usageError{err}
			}
			env.rootsFor(hook.URL)
			return resendDeadLetters(cmd.Context(), env, deadLetters(c.dataDir), client, wanted)
		},
	}
	define(resend, resend.Flags(), &all, setting[bool]{flag: "all", fallback: "false", kind: kindBool, parse: parseBool, usage: "send all"})
	defineWebhook(resend, &hook)
	cmd.AddCommand(list, resend)
	return cmd
}

func listDeadLetters(ctx context.Context, env environment, dead bolt.DeadLetters) error {
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTYPE\tEVENT\tWORKSPACE\tSINCE\tGIVEN UP\tATTEMPTS\tREASON")
	var unreadable []error
	for l, err := range dead.All(ctx) {
		if err != nil { // the others are listed
			unreadable = append(unreadable, err)
			continue
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", l.Sequence, l.Event.Type(), l.Event.ID, l.Event.Workspace,
			l.Since.UTC().Format(time.RFC3339), l.GivenUp.UTC().Format(time.RFC3339), l.Attempts, remote.Printable(l.Reason))
	}
	return errors.Join(append(unreadable, table.Flush())...)
}

// resendDeadLetters sends the wanted dead letters again, all if wanted is nil, oldest
// first, and removes those that the endpoint accepts.
func resendDeadLetters(ctx context.Context, env environment, dead bolt.DeadLetters, client *webhook.Client, wanted map[uint64]bool) error {
	sent, refused := 0, 0
	var unreadable []error
	for l, err := range dead.All(ctx) {
		if err != nil && l.Sequence == 0 {
			return err
		}
		if wanted != nil && !wanted[l.Sequence] {
			continue
		}
		delete(wanted, l.Sequence)
		if err != nil { // the others are sent
			unreadable = append(unreadable, err)
			continue
		}
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
	case len(unreadable) > 0 || refused > 0:
		return errors.Join(append(unreadable, fmt.Errorf("%d dead letters were accepted, %d were refused and are kept", sent, refused))...)
	case len(wanted) > 0:
		return fmt.Errorf("%d of the given dead letters do not exist; see dead-letters list", len(wanted))
	}
	return nil
}

// parseLetterIDs returns the IDs in args, nil if there are none.
func parseLetterIDs(args []string) (map[uint64]bool, error) {
	if len(args) == 0 {
		return nil, nil //nolint:nilnil // as documented
	}
	wanted := map[uint64]bool{}
	for _, text := range args {
		id, err := strconv.ParseUint(text, 10, 63)
		if err != nil {
			return nil, usageErrorf("the ID of a dead letter must be a number, got %q; see dead-letters list", text)
		}
		wanted[id] = true
	}
	return wanted, nil
}
