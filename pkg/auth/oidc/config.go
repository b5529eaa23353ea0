package oidc

import (
	"maps"
	"slices"
	"strings"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
)

// Config holds what differs between issuers: where their keys are, which claims are
// evaluated, and what their tokens may grant. The zero value of a field is its default.
// The name of a claim is that of a member of the payload, with its dots and slashes; a
// name that begins with a slash is a JSON Pointer to a nested claim (RFC 6901).
type Config struct {
	Issuer  string // equal to iss, compared byte by byte
	JWKS    string // a pinned key set
	JWKSURL string // the address of the key set; if this and JWKS are "", OIDC discovery finds it

	Audiences     []string // the audience claim must hold one of these
	AudienceClaim string   // aud by default. If a token has an aud too, it must also hold one

	ScopeClaims []string // the claims that hold scopes; scope (RFC 9068) and scp by default
	ScopePrefix string   // the prefix of each scope, which is cut off; scopes without it do not count
	GrantScopes []string // the scopes of each token, whatever its claims are; nil means those of ScopeClaims

	// The workspace of a token is Workspace, or the value of the claim
	// WorkspaceClaim: looked up in WorkspaceMap if that is not nil, and otherwise
	// matching one of Workspaces: names, and prefixes that end in *. Workspaces is * by
	// default.
	Workspace        string
	WorkspaceClaim   string
	WorkspaceMap     map[string]string
	Workspaces       []string
	SharesWorkspaces bool // the issuer may name workspaces that other issuers may name

	RequiredClaims map[string][]string // a token must have each of these claims, with one of the values; * is any string
}

// anyValue stands for every value of a required claim and, at its end, for every
// continuation of a workspace's name.
const anyValue = "*"

// DefaultWorkspaceClaim is the claim that names the workspace by default.
const DefaultWorkspaceClaim = "workspace_id"

// complete returns c with its defaults.
func (c Config) complete() Config {
	if c.AudienceClaim == "" {
		c.AudienceClaim = "aud"
	}
	if c.ScopeClaims == nil && c.GrantScopes == nil {
		c.ScopeClaims = []string{"scope", "scp"}
	}
	if c.WorkspaceClaim == "" && c.Workspace == "" {
		c.WorkspaceClaim = DefaultWorkspaceClaim
	}
	return c
}

// source returns the source of the issuer's keys.
func (c *Config) source() KeySource {
	switch {
	case c.JWKS != "":
		return Static([]byte(c.JWKS))
	case c.JWKSURL != "":
		return URL(c.JWKSURL)
	default:
		return Discover(c.Issuer)
	}
}

// audience returns the audiences for an error message.
func (c *Config) audience() string { return strings.Join(c.Audiences, " or ") }

// isAudience reports whether one of the audiences of a token is one of c.
func (c *Config) isAudience(audiences []string) bool {
	return slices.ContainsFunc(audiences, func(audience string) bool { return slices.Contains(c.Audiences, audience) })
}

// scope returns the scope that a word in a scope claim grants. ok is false if the
// issuer cannot grant it: an issuer that is limited to some workspaces does not grant
// the execution of runs in all of them.
func (c *Config) scope(word string) (scope string, ok bool) {
	scope, ok = strings.CutPrefix(word, c.ScopePrefix)
	return scope, ok && (scope != string(auth.ExecuteAllRuns) || c.namesAny())
}

// namesAny reports whether the issuer may name every workspace.
func (c *Config) namesAny() bool {
	return c.Workspace == "" && c.WorkspaceMap == nil && slices.Contains(c.patterns(), anyValue)
}

// patterns returns the workspaces that tokens of the issuer may name: names, and
// prefixes that end in *.
func (c *Config) patterns() []string {
	switch {
	case c.Workspace != "":
		return []string{c.Workspace}
	case c.WorkspaceMap != nil:
		return slices.Sorted(maps.Values(c.WorkspaceMap))
	case c.Workspaces != nil:
		return c.Workspaces
	}
	return []string{anyValue}
}

// workspace returns the workspace of a verified token, "" if it names none; package
// auth permits nothing in a workspace to such a caller.
func (c *Config) workspace(token claims) (string, error) {
	switch {
	case c.Workspace != "":
		return c.Workspace, nil
	case token.workspace == nil:
		return "", nil
	case c.WorkspaceMap != nil:
		if name, ok := c.WorkspaceMap[*token.workspace]; ok {
			return name, nil
		}
		return "", fault.New(fault.Forbidden, "workspace_missing", "the value of the token's claim %s belongs to no workspace", c.WorkspaceClaim)
	case !auth.ValidWorkspace(*token.workspace):
		return "", fault.New(fault.Forbidden, "workspace_missing",
			"the token's claim %s must be a string of 1 to %d visible ASCII characters other than #", c.WorkspaceClaim, auth.MaxWorkspace)
	case c.Workspaces != nil && !slices.ContainsFunc(c.Workspaces, func(pattern string) bool { return matches(pattern, *token.workspace) }):
		return "", fault.New(fault.Forbidden, "workspace_missing", "the token's issuer may not name the workspace in the claim %s", c.WorkspaceClaim)
	}
	return *token.workspace, nil
}

// matches reports whether a pattern holds a name, or another pattern and all that it
// holds.
func matches(pattern, name string) bool {
	prefix, open := strings.CutSuffix(pattern, anyValue)
	return pattern == name || open && strings.HasPrefix(name, prefix)
}

// common returns a pattern of c that has workspaces in common with one of other, and
// that one.
func (c *Config) common(other *Config) (mine, theirs string, found bool) {
	for _, mine := range c.patterns() {
		for _, theirs := range other.patterns() {
			if matches(mine, theirs) || matches(theirs, mine) {
				return mine, theirs, true
			}
		}
	}
	return "", "", false
}
