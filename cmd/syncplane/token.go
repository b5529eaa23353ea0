package main

import (
	"fmt"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/local/server"
)

// The claims of a token where the environment does not set them.
const (
	defaultDataDir   = ".syncs"
	defaultWorkspace = "demo"
	defaultScope     = string(auth.ReadSyncs) + " " + string(auth.WriteSyncs) + " " + string(auth.ExecuteRuns)
	defaultTTL       = "1h"
)

// token prints a bearer token for the local server.
func token(m machine) error {
	signed, err := newToken(m)
	if err != nil {
		return err
	}
	fmt.Fprintln(m.stdout, signed)
	return nil
}

func newToken(m machine) (string, error) {
	ttl, err := time.ParseDuration(m.setting("TTL", defaultTTL))
	if err != nil {
		return "", fmt.Errorf("TTL must be a duration such as 15m, 1h or -1h, got %q", m.getenv("TTL"))
	}
	key, err := server.OpenKey(m.setting("DATA_DIR", defaultDataDir))
	if err != nil {
		return "", err
	}
	now := time.Now()
	return key.Token(server.Claims{
		Workspace: m.setting("WORKSPACE", defaultWorkspace),
		Scopes:    strings.Fields(m.setting("SCOPE", defaultScope)),
		Issued:    now,
		Expires:   now.Add(ttl),
	})
}
