package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"syncplane/pkg/auth"
	"syncplane/pkg/local/server"
)

// healthTimeout bounds a health check. Our own choice: the server responds within
// milliseconds.
const healthTimeout = 3 * time.Second

// healthWorkspace is the workspace that a health check lists, which has no syncs.
const healthWorkspace = "syncplane-healthcheck"

// healthConfig holds the settings of healthcheck.
type healthConfig struct {
	dataDir string
	host    string
	port    string
}

// newHealthcheck returns the command that checks the local server.
func newHealthcheck(env environment) *cobra.Command {
	var c healthConfig
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Check that the local server responds",
		Long: `Healthcheck lists the syncs of an empty workspace over HTTP, so that it checks the
server, its verification of tokens and its storage. Give it the settings of serve.
The exit code is 0 if the server is healthy and 1 if it is not.`,
		Example: `  syncplane healthcheck
  syncplane healthcheck --port 8081 --data-dir /tmp/syncs`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.check(cmd.Context(), env) },
	}
	definePort(cmd, &c.port)
	defineHost(cmd, &c.host)
	defineDataDir(cmd, &c.dataDir)
	return cmd
}

// check returns an error if the server is not healthy.
func (c healthConfig) check(ctx context.Context, env environment) error {
	switch exists, err := server.HasKey(c.dataDir); {
	case err != nil:
		return err
	case !exists: // a check makes none
		return fmt.Errorf("%s has no signing key; DATA_DIR must be the data directory of the server", absolute(c.dataDir))
	}
	now := time.Now()
	token := tokenConfig{dataDir: c.dataDir, workspace: healthWorkspace, scopes: []string{string(auth.ReadSyncs)}, ttl: time.Minute}
	signed, err := token.sign(now)
	if err != nil {
		return err
	}
	host := c.host
	if address, err := netip.ParseAddr(host); err == nil && address.IsUnspecified() {
		host = loopback
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, c.port) + "/api/v1/syncs"
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("check the server: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+signed)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("check the server: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	_, _ = io.Copy(io.Discard, response.Body)
	if response.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("the server at %s refuses a token that is signed with the key in %s; DATA_DIR must be the data directory of the server", url, absolute(c.dataDir))
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the server at %s must answer 200, got %s", url, response.Status)
	}
	fmt.Fprintln(env.stdout, "healthy")
	return nil
}
