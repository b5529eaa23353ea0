package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"syncplane/pkg/auth"
	"syncplane/pkg/local/server"
)

// tokenConfig holds the settings of a token for the local server.
type tokenConfig struct {
	dataDir   string
	workspace string
	scopes    []string
	ttl       time.Duration
}

// newToken returns the command that prints a token.
func newToken(env environment) *cobra.Command {
	var c tokenConfig
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a bearer token for the local server",
		Long: `Token prints a bearer token that the local server with the same data directory
accepts. It is signed with the key in that directory, which is made if there is
none. It is for development; a deployed stack accepts the tokens of its issuer.`,
		Example: `  syncplane token
  syncplane token --workspace acme --scope syncs:read --ttl 15m
  curl -sS http://127.0.0.1:8080/api/v1/syncs -H "Authorization: Bearer $(syncplane token)"`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			signed, err := c.sign(time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintln(env.stdout, signed)
			return nil
		},
	}
	defineDataDir(cmd, &c.dataDir)
	defineToken(cmd, &c)
	return cmd
}

// defineToken adds the flags of the claims of a token.
func defineToken(cmd *cobra.Command, c *tokenConfig) {
	defineWorkspace(cmd, &c.workspace)
	define(cmd, cmd.Flags(), &c.scopes, setting[[]string]{
		flag: "scope", variable: "SCOPE", kind: "scopes", parse: parseScopes,
		fallback: string(auth.ReadSyncs) + " " + string(auth.WriteSyncs) + " " + string(auth.ExecuteRuns),
		usage:    "what the token permits, separated by spaces or commas: " + scopeNames(),
	})
	define(cmd, cmd.Flags(), &c.ttl, setting[time.Duration]{
		flag: "ttl", variable: "TTL", fallback: "1h", kind: "duration", parse: parseDuration,
		usage: "how long the token is valid; a negative one makes an expired token",
	})
}

// defineWorkspace adds --workspace.
func defineWorkspace(cmd *cobra.Command, to *string) {
	define(cmd, cmd.PersistentFlags(), to, setting[string]{
		flag: "workspace", variable: "WORKSPACE", fallback: "demo", kind: "name", parse: parseWorkspace,
		usage: "the workspace",
	})
}

// sign returns a token.
func (c tokenConfig) sign(now time.Time) (string, error) {
	key, err := server.OpenKey(c.dataDir)
	if err != nil {
		return "", err
	}
	return key.Token(server.Claims{Workspace: c.workspace, Scopes: c.scopes, Issued: now, Expires: now.Add(c.ttl)})
}
