package httpfunc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"syncplane/pkg/app"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/cloud/apigateway"
	"syncplane/pkg/ratelimit"
)

// Config is the configuration of the function. template.yaml and
// docs/configuration.md name the same variables; a test compares the three.
type Config struct {
	app.Config

	// TOKEN_ISSUERS; or one of TOKEN_ISSUER, TOKEN_AUDIENCE, TOKEN_JWKS_URL,
	// TOKEN_JWKS and TOKEN_WORKSPACE_CLAIM.
	Issuers []oidc.Config

	Mapping apigateway.Mapping // API_URL, the address of the API at a custom domain; zero if there is none

	CreateLimit ratelimit.Policy // CREATE_LIMIT, such as 100/1m; zero is no limit
}

// Read reads the environment of the function. The error names every invalid
// variable.
func Read(getenv func(string) string) (Config, error) {
	e := &app.Environment{Getenv: getenv}
	c := Config{Config: e.Common()}
	c.Issuers = issuers(e)
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

// issuers reads the issuers of the bearer tokens.
func issuers(e *app.Environment) []oidc.Config {
	one := oidc.Config{
		Issuer: e.Getenv("TOKEN_ISSUER"), JWKS: e.Getenv("TOKEN_JWKS"), JWKSURL: e.Address("TOKEN_JWKS_URL"),
		Audiences: []string{e.Getenv("TOKEN_AUDIENCE")}, WorkspaceClaim: e.Getenv("TOKEN_WORKSPACE_CLAIM"),
	}
	if text := e.Getenv("TOKEN_ISSUERS"); text != "" {
		if one.Issuer != "" || one.Audiences[0] != "" || one.JWKS != "" || one.JWKSURL != "" {
			e.Reject(errors.New("TOKEN_ISSUERS and TOKEN_ISSUER, TOKEN_AUDIENCE, TOKEN_JWKS, TOKEN_JWKS_URL exclude each other; set the list alone, or the variables of one issuer"))
		}
		several, err := oidc.ParseConfigs("TOKEN_ISSUERS", text)
		if err != nil {
			e.Reject(err)
		}
		return several
	}
	e.Required("TOKEN_ISSUER", "the issuer of the bearer tokens, as in their iss claim; or set TOKEN_ISSUERS")
	e.Required("TOKEN_AUDIENCE", "the audience of the bearer tokens, as in their aud claim")
	if one.WorkspaceClaim == "" {
		one.WorkspaceClaim = oidc.DefaultWorkspaceClaim
	}
	if err := oidc.CheckClaim(one.WorkspaceClaim); err != nil {
		e.Reject(fmt.Errorf("TOKEN_WORKSPACE_CLAIM %w", err))
	}
	if one.JWKS != "" && !json.Valid([]byte(one.JWKS)) {
		e.Reject(errors.New(`TOKEN_JWKS must be a JSON Web Key Set such as {"keys":[…]}`))
	}
	if one.JWKS != "" && one.JWKSURL != "" {
		e.Reject(errors.New("TOKEN_JWKS and TOKEN_JWKS_URL exclude each other; set one or none"))
	}
	if one.JWKS == "" && one.JWKSURL == "" {
		e.Address("TOKEN_ISSUER") // its discovery document is fetched from this address
	}
	return []oidc.Config{one}
}
