package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
)

// keys manages the API keys of a workspace.
func keys(ctx context.Context, env environment, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: keys create, keys list or keys revoke")
	}
	action := args[0]
	flags := flag.NewFlagSet("syncplane keys "+action, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the returned error has the same text
	workspace := flags.String("workspace", "", "")
	var options keyOptions
	if action == "create" {
		flags.StringVar(&options.name, "name", "", "")
		flags.StringVar(&options.scopes, "scopes", string(auth.ReadSyncs)+","+string(auth.WriteSyncs), "")
		flags.StringVar(&options.expires, "expires", "", "")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("keys %s: %w; see syncplane help", action, err)
	}
	if !auth.ValidWorkspace(*workspace) {
		return fmt.Errorf("keys %s: --workspace must be 1 to %d visible ASCII characters other than #, got %q", action, auth.MaxWorkspace, *workspace)
	}
	store, err := openKeys(ctx, env)
	if err != nil {
		return err
	}
	switch action {
	case "create":
		options.workspace = *workspace
		return createKey(ctx, env, store, options)
	case "list":
		return listKeys(ctx, env, store, *workspace)
	case "revoke":
		if flags.NArg() != 1 {
			return errors.New("keys revoke takes one argument, the ID of the key, as keys list prints it")
		}
		return store.RevokeKey(ctx, *workspace, flags.Arg(0), time.Now())
	default:
		return fmt.Errorf("unknown command %q; see syncplane help", "keys "+action)
	}
}

// keyOptions are the options of keys create.
type keyOptions struct {
	workspace, name, scopes, expires string
}

// createKey creates a key and prints it. It cannot be printed again.
func createKey(ctx context.Context, env environment, store apikey.Store, options keyOptions) error {
	now := time.Now()
	end, err := parseExpiry(now, options.expires)
	if err != nil {
		return err
	}
	granted := strings.FieldsFunc(options.scopes, func(c rune) bool { return c == ',' || c == ' ' })
	for _, scope := range granted {
		if !auth.Known(auth.Action(scope)) {
			return fmt.Errorf("--scopes must be some of %v, got %q", auth.Actions(), scope)
		}
	}
	key, text, err := apikey.New(rand.Reader, options.workspace, options.name, granted, now, end)
	if err != nil {
		return err
	}
	if err := store.CreateKey(ctx, key); err != nil {
		return err
	}
	fmt.Fprintf(env.stderr, "This is the key %s of the workspace %s. It is shown only once; store it like a password.\n", key.ID, options.workspace)
	fmt.Fprintln(env.stdout, text)
	return nil
}

// parseExpiry returns when a key expires, from a duration such as 720h or a date.
func parseExpiry(now time.Time, expires string) (time.Time, error) {
	if expires == "" {
		return time.Time{}, nil
	}
	if life, err := time.ParseDuration(expires); err == nil && life > 0 {
		return now.Add(life), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if end, err := time.Parse(layout, expires); err == nil && end.After(now) {
			return end, nil
		}
	}
	return time.Time{}, fmt.Errorf("--expires must be a duration such as 720h, or a future date such as %s, got %q", now.AddDate(0, 3, 0).Format(time.DateOnly), expires)
}

func listKeys(ctx context.Context, env environment, store apikey.Store, workspace string) error {
	all, err := store.Keys(ctx, workspace)
	if err != nil {
		return err
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
			k.ID, k.LastFour, k.Name, strings.Join(k.Scopes, ","), day(k.CreatedAt), day(k.ExpiresAt), day(k.RevokedAt))
	}
	return table.Flush()
}
