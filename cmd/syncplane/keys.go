package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/syncs"
)

// maxKeyName is the length of the longest name of a key, in characters. Our own choice.
const maxKeyName = 255

// keysConfig holds the settings that all commands for keys have.
type keysConfig struct {
	storageConfig

	workspace string
}

// open opens the key store. A workspace of a stack must be given, since the default
// is that of the local server.
func (c keysConfig) open(cmd *cobra.Command, env environment) (apikey.Store, error) {
	if c.store == storeDynamoDB && !cmd.Flags().Changed("workspace") {
		return nil, usageErrorf("--workspace must be given with STORE=dynamodb")
	}
	return openKeys(cmd.Context(), env, c.storageConfig)
}

// location returns where the keys are, for messages.
func (c keysConfig) location() string {
	if c.store == storeBolt {
		return absolute(c.dataDir)
	}
	return "the DynamoDB table " + c.table
}

// newKeys returns the command that manages API keys.
func newKeys(env environment) *cobra.Command {
	var c keysConfig
	cmd := newGroup(&cobra.Command{
		Use:   "keys",
		Short: "Manage the API keys of a workspace",
		Long: `API keys are for clients without an OIDC issuer. They are used as bearer tokens.
With --store dynamodb they are in the table of a stack, with the credentials of
the AWS profile. A server may run at the same time.`,
		Example: `  syncplane keys create CI
  syncplane keys list`,
	})
	defineDataDir(cmd, &c.dataDir)
	defineStore(cmd, &c.store)
	defineTable(cmd, &c.table)
	defineWorkspace(cmd, &c.workspace)
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the keys of a workspace",
		Example: `  syncplane keys list --workspace acme`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := c.open(cmd, env)
			if err != nil {
				return err
			}
			return listKeys(cmd.Context(), env, store, c.workspace)
		},
	}
	revoke := &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a key",
		Long:  `Revoke revokes a key. A server refuses it within a minute.`,
		Example: `  key=$(syncplane keys create laptop --workspace acme)
  syncplane keys revoke "$(cut -d_ -f2 <<<"$key")" --workspace acme`,
		Args:              oneArgument("the ID of the key, as keys list prints it"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, err := c.open(cmd, env)
			if err != nil {
				return err
			}
			return store.RevokeKey(cmd.Context(), c.workspace, args[0], time.Now())
		},
	}
	cmd.AddCommand(newKeysCreate(env, &c), list, revoke)
	return cmd
}

// keyOptions are the options of keys create.
type keyOptions struct {
	workspace, name string
	location        string // for messages
	scopes          []string
	expires         expiry
}

// newKeysCreate returns the command that creates a key.
func newKeysCreate(env environment, c *keysConfig) *cobra.Command {
	var options keyOptions
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a key and print it",
		Long: `Create creates a key and prints it to standard output. It is not stored and
cannot be printed again. The name is a description, by which people recognize
the key in a list.`,
		Example: `  syncplane keys create CI
  syncplane keys create backup --workspace acme --scopes syncs:read --expires 30d`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			named := cmd.Flags().Changed("name")
			if len(args) == 1 && !named {
				options.name = args[0]
			} else if len(args) > 0 || !named {
				return usageErrorf("keys create takes one argument, the name of the key, such as CI; see %s --help", cmd.CommandPath())
			}
			if utf8.RuneCountInString(options.name) > maxKeyName || isControl(options.name) || syncs.Blank(options.name) {
				return usageErrorf("the name of the key must be 1 to %d characters without control characters and not all invisible, got %.60q", maxKeyName, options.name)
			}
			store, err := c.open(cmd, env)
			if err != nil {
				return err
			}
			options.workspace, options.location = c.workspace, c.location()
			return createKey(cmd.Context(), env, store, options)
		},
	}
	define(cmd, cmd.Flags(), &options.name, setting[string]{flag: "name", kind: "name", parse: parseText, usage: "the name, in place of the argument"})
	define(cmd, cmd.Flags(), &options.scopes, setting[[]string]{
		flag: "scopes", kind: "scopes", parse: parseScopes, fallback: string(auth.ReadSyncs) + "," + string(auth.WriteSyncs),
		usage: "what the key permits, separated by commas: " + scopeNames(),
	})
	define(cmd, cmd.Flags(), &options.expires, setting[expiry]{
		flag: "expires", kind: "when", parse: parseExpiry, fallback: "90d",
		usage: "when the key expires: after a duration such as 30d or 12h, at a date, or never",
	})
	return cmd
}

// createKey creates a key and prints it. It cannot be printed again.
func createKey(ctx context.Context, env environment, store apikey.Store, options keyOptions) error {
	now := time.Now()
	end, err := options.expires.after(now)
	if err != nil {
		return &usageError{err}
	}
	key, text, err := apikey.New(rand.Reader, options.workspace, options.name, options.scopes, now, end)
	if err != nil {
		return err
	}
	if err := store.CreateKey(ctx, key); err != nil {
		return err
	}
	expires := "does not expire"
	if !key.ExpiresAt.IsZero() {
		expires = "expires at " + key.ExpiresAt.Format(time.RFC3339)
	}
	fmt.Fprintf(env.stderr, "This is the key %s (%s) of the workspace %s in %s, which %s. It is shown only once; store it like a password.\n",
		key.ID, remote.Printable(options.name), options.workspace, options.location, expires)
	if _, err := fmt.Fprintln(env.stdout, text); err != nil {
		ctx = context.WithoutCancel(ctx)
		return errors.Join(err, store.RevokeKey(ctx, key.Workspace, key.ID, now)) // it cannot be printed again
	}
	return nil
}

// expiry is when a key expires: after a duration, at a time, or never if both are
// zero.
type expiry struct {
	life time.Duration
	at   time.Time
}

// parseExpiry parses never, a duration such as 30d, or a date.
func parseExpiry(text string) (expiry, error) {
	if text == "never" {
		return expiry{}, nil
	}
	if life, err := parseDuration(text); err == nil && life > 0 {
		return expiry{life: life}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return expiry{at: at}, nil
		}
	}
	return expiry{}, fmt.Errorf("must be a duration such as 30d or 720h, a date such as 2027-02-28, or never, got %q", text)
}

// after returns the time at which a key that is created now expires, zero for never.
func (e expiry) after(now time.Time) (time.Time, error) {
	switch {
	case e.life > 0:
		return now.Add(e.life), nil
	case e.at.IsZero() || e.at.After(now):
		return e.at, nil
	}
	return time.Time{}, fmt.Errorf("--expires must be in the future, got %s", e.at.Format(time.RFC3339))
}

func listKeys(ctx context.Context, env environment, store apikey.Store, workspace string) error {
	all, unreadable := store.Keys(ctx, workspace)
	if unreadable != nil && len(all) == 0 {
		return unreadable
	}
	day := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.UTC().Format(time.RFC3339)
	}
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tENDS IN\tNAME\tSCOPES\tCREATED\tEXPIRES\tREVOKED")
	for _, k := range all {
		fmt.Fprintf(table, "%s\t…%s\t%s\t%s\t%s\t%s\t%s\n",
			k.ID, k.LastFour, remote.Printable(k.Name), strings.Join(k.Scopes, ","), day(k.CreatedAt), day(k.ExpiresAt), day(k.RevokedAt))
	}
	return errors.Join(unreadable, table.Flush())
}
