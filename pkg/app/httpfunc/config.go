package httpfunc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"syncplane/pkg/app"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/ratelimit"
)

// Config is the configuration of the function. template.yaml and
// docs/configuration.md name the same variables; a test compares the three.
type Config struct {
	app.Config

	TokenIssuer    string // TOKEN_ISSUER, the value of iss
	TokenAudience  string // TOKEN_AUDIENCE, a value of aud
	TokenJWKSURL   string // TOKEN_JWKS_URL; if "", the issuer's discovery document names it
	TokenJWKS      string // TOKEN_JWKS, a pinned key set, in place of one that is fetched
	WorkspaceClaim string // TOKEN_WORKSPACE_CLAIM

	Mapping apigateway.Mapping // API_URL, the address of the API at a custom domain; zero if there is none

	CreateLimit ratelimit.Policy // CREATE_LIMIT, such as 100/1m; zero is no limit
}

// defaultWorkspaceClaim is the claim that names the workspace.
const defaultWorkspaceClaim = "workspace_id"

// Read reads the environment of the function. The error names every invalid
// variable.
func Read(getenv func(string) string) (Config, error) {
	e := &app.Environment{Getenv: getenv}
	c := Config{Config: e.Common()}
	c.TokenIssuer = e.Required("TOKEN_ISSUER", "the issuer of the bearer tokens, as in their iss claim")
	c.TokenAudience = e.Required("TOKEN_AUDIENCE", "the audience of the bearer tokens, as in their aud claim")
	c.TokenJWKSURL = e.Address("TOKEN_JWKS_URL")
	c.TokenJWKS = getenv("TOKEN_JWKS")
	if c.WorkspaceClaim = getenv("TOKEN_WORKSPACE_CLAIM"); c.WorkspaceClaim == "" {
		c.WorkspaceClaim = defaultWorkspaceClaim
	}
	if c.TokenJWKS != "" && !json.Valid([]byte(c.TokenJWKS)) {
		e.Reject(errors.New(`TOKEN_JWKS must be a JSON Web Key Set such as {"keys":[…]}`))
	}
	if c.TokenJWKS != "" && c.TokenJWKSURL != "" {
		e.Reject(errors.New("TOKEN_JWKS and TOKEN_JWKS_URL exclude each other; set one or none"))
	}
	if c.TokenJWKS == "" && c.TokenJWKSURL == "" {
		e.Address("TOKEN_ISSUER") // its discovery document is fetched from this address
	}
	if address, err := url.Parse(e.Address("API_URL")); err == nil {
		c.Mapping = apigateway.Mapping{Domain: address.Hostname(), Path: strings.TrimRight(address.EscapedPath(), "/")}
	}
	if text := getenv("CREATE_LIMIT"); text != "" {
		var err error
		if c.CreateLimit, err = ratelimit.ParsePolicy(text); err != nil {
			e.Reject(fmt.Errorf("CREATE_LIMIT %w", err))
		}
	}
	return c, e.Err()
}
