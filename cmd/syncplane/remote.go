package main

import (
	"errors"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/auth"
	"syncplane/pkg/client"
	"syncplane/pkg/local/server"
)

// remoteConfig holds the settings of the commands that call the API.
type remoteConfig struct {
	address string
	bearer  string
	key     string
	local   tokenConfig // of the token for the local server

	rootsFor func(address string)
}

// defaultAddress is the address of the local server without settings.
const defaultAddress = "http://" + loopback + ":" + defaultPort

// defineRemote adds the flags of a command that calls the API to it and to its
// subcommands.
func defineRemote(cmd *cobra.Command, env environment, c *remoteConfig) {
	c.rootsFor = env.rootsFor
	flags := cmd.PersistentFlags()
	define(cmd, flags, &c.address, setting[string]{
		flag: "url", variable: "SYNCPLANE_URL", fallback: defaultAddress, kind: "address", parse: parseAddress,
		usage: "the address of the API",
	})
	define(cmd, flags, &c.bearer, setting[string]{
		flag: "token", variable: "SYNCPLANE_TOKEN", kind: "token", parse: parseSecret,
		usage: "the bearer token; prefer the variable, since other users see the arguments of a process",
	})
	define(cmd, flags, &c.key, setting[string]{
		flag: "api-key", variable: "SYNCPLANE_API_KEY", kind: "key", parse: parseSecret,
		usage: "the API key, in place of a token",
	})
	defineDataDir(cmd, &c.local.dataDir)
	defineWorkspace(cmd, &c.local.workspace)
}

// localTTL is how long a token that a command makes for itself is valid. Our own choice:
// a long apply, and an event stream that is watched for a day.
const localTTL = 24 * time.Hour

// remoteHelp describes the settings of defineRemote.
const remoteHelp = `It calls the API at --url, with a token or an API key. For a local server without
either it makes a token for --workspace with the key in the server's data
directory, as syncplane token does.`

// parseSecret accepts a token or a key. The error does not contain it.
func parseSecret(text string) (string, error) {
	if text == "" || strings.ContainsFunc(text, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", errors.New("must be visible ASCII characters without spaces")
	}
	return text, nil
}

// authorization returns the token for the API.
func (c remoteConfig) authorization() (string, error) {
	switch {
	case c.bearer != "" && c.key != "":
		return "", usageErrorf("SYNCPLANE_TOKEN and SYNCPLANE_API_KEY exclude each other; set one")
	case c.bearer != "":
		return c.bearer, nil
	case c.key != "":
		return c.key, nil
	case !isLocal(c.address):
		return "", usageErrorf("SYNCPLANE_TOKEN or SYNCPLANE_API_KEY must be set for %s", remote.Redacted(c.address))
	}
	switch exists, err := server.HasKey(c.local.dataDir); {
	case err != nil:
		return "", err
	case !exists:
		return "", usageErrorf("%s has no signing key; set DATA_DIR to the data directory of the server, or set SYNCPLANE_TOKEN or SYNCPLANE_API_KEY", absolute(c.local.dataDir))
	}
	now := c.local
	now.scopes, now.ttl = []string{string(auth.ReadSyncs), string(auth.WriteSyncs), string(auth.ExecuteRuns)}, localTTL
	return now.sign(time.Now())
}

// isLocal reports whether an address is one of this machine.
func isLocal(address string) bool {
	parsed, err := url.Parse(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(parsed.Hostname())
	return parsed.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// open returns a client of the API.
func (c remoteConfig) open() (*client.ClientWithResponses, error) {
	token, err := c.authorization()
	if err != nil {
		return nil, err
	}
	c.rootsFor(c.address)
	return remote.New(strings.TrimRight(c.address, "/"), token)
}

// readInput reads a file, or standard input for "-".
func readInput(env environment, name string) ([]byte, error) {
	if name == "-" {
		return readAll(env.stdin)
	}
	file, err := os.Open(name) //nolint:gosec // the file that the user names
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	return readAll(file)
}
