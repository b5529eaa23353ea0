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
		return errors.New("keys create, keys list or keys revoke")
	}
	action := args[0]
	flags := flag.NewFlagSet("syncplane keys "+action, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error below says it
	workspace := flags.String("workspace", "", "")
	name, scopes, expires := new(string), new(string), new(string)
	if action == "create" {
		flags.StringVar(name, "name", "", "")
		flags.StringVar(scopes, "scopes", string(auth.ReadSyncs)+","+string(auth.WriteSyncs), "")
		flags.StringVar(expires, "expires", "", "")
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
		return createKey(ctx, env, store, *workspace, *name, *scopes, *expires)
	case "list":
		return listKeys(ctx, env, store, *workspace)
	case "revoke":
		if flags.NArg() != 1 {
			return errors.New("keys revoke: name the one key by its id, as keys list shows it")
		}
		return store.RevokeKey(ctx, *workspace, flags.Arg(0), time.Now())
	default:
		return fmt.Errorf("there is no command %q; see syncplane help", "keys "+action)
	}
}

// createKey prints the key, the only time that it is seen.
func createKey(ctx context.Context, env environment, store apikey.Store, workspace, name, scopes, expires string) error {
	now := time.Now()
	end, err := parseExpiry(now, expires)
	if err != nil {
		return err
	}
	granted := strings.FieldsFunc(scopes, func(c rune) bool { return c == ',' || c == ' ' })
	for _, scope := range granted {
		if !auth.Known(auth.Action(scope)) {
			return fmt.Errorf("--scopes must be of %v, got %q", auth.Actions(), scope)
		}
	}
	key, text, err := apikey.New(rand.Reader, workspace, name, granted, now, end)
	if err != nil {
		return err
	}
	if err := store.CreateKey(ctx, key); err != nil {
		return err
	}
	fmt.Fprintf(env.stderr, "This is the key %s of the workspace %s. It is shown this once; keep it as you keep a password.\n", key.ID, workspace)
	fmt.Fprintln(env.stdout, text)
	return nil
}

// parseExpiry is when a key expires: after a time such as 720h, or on a date.
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
	return time.Time{}, fmt.Errorf("--expires must be a time from now such as 720h, or a day to come such as %s, got %q", now.AddDate(0, 3, 0).Format(time.DateOnly), expires)
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
