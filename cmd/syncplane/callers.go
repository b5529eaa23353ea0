package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/fault"
)

// uncached returns a verification of tokens that reads the key store each time. A
// stream whose key was verified from a cache would outlive the revocation of the key
// by the age of the cache.
func uncached(tokens oidc.Authenticator, keys apikey.Store) oidc.Authenticator {
	return func(ctx context.Context, authorization string) (auth.Caller, error) {
		return oidc.ByPrefix(tokens, apikey.Prefix, apikey.NewVerifier(keys, time.Now).Caller)(ctx, authorization)
	}
}

// explained returns next with a reason that names the signing key of this server where
// a token names another one, and on one machine also the data directory: usually the
// token was made with another directory.
func (c serveConfig) explained(next oidc.Authenticator) oidc.Authenticator {
	return func(ctx context.Context, authorization string) (auth.Caller, error) {
		who, err := next(ctx, authorization)
		if fault.Is(err, fault.Unauthenticated) && !isSignedWith(authorization, c.key.ID()) {
			where := ""
			if c.local {
				where = " in " + absolute(c.dataDir)
			}
			return who, fault.New(fault.Unauthenticated, "invalid_token", "the token must be signed with the key %s%s; syncplane token makes one with the same DATA_DIR", c.key.ID(), where)
		}
		return who, err
	}
}

// isSignedWith reports whether the token in an Authorization header names a key, or
// whether there is no token that can be read. It verifies nothing.
func isSignedWith(authorization, id string) bool {
	segments := strings.Split(authorization, ".")
	_, header, _ := strings.Cut(segments[0], " ")
	text, err := base64.RawURLEncoding.DecodeString(header)
	var named struct {
		ID *string `json:"kid"`
	}
	if err != nil || len(segments) != 3 || json.Unmarshal(text, &named) != nil || named.ID == nil {
		return true
	}
	return *named.ID == id
}
