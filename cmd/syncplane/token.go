package main

import (
	"fmt"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/local/server"
)

// Defaults for settings that the environment does not have.
const (
	defaultDataDir   = ".syncs"
	defaultWorkspace = "demo"
	defaultScope     = string(auth.ReadSyncs) + " " + string(auth.WriteSyncs) + " " + string(auth.ExecuteRuns)
	defaultTTL       = "1h"
)

// token prints a bearer token for the local server.
func token(env environment) error {
	signed, err := newToken(env)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.stdout, signed)
	return nil
}

func newToken(env environment) (string, error) {
	ttl, err := time.ParseDuration(env.valueOr("TTL", defaultTTL))
	if err != nil {
		return "", fmt.Errorf("TTL must be a duration such as 15m, 1h or -1h, got %q", env.getenv("TTL"))
	}
	key, err := server.OpenKey(env.valueOr("DATA_DIR", defaultDataDir))
	if err != nil {
		return "", err
	}
	now := time.Now()
	return key.Token(server.Claims{
		Workspace: env.valueOr("WORKSPACE", defaultWorkspace),
		Scopes:    strings.Fields(env.valueOr("SCOPE", defaultScope)),
		Issued:    now,
		Expires:   now.Add(ttl),
	})
}
