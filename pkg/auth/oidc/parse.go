package oidc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/auth"
)

// settings returns the members of an issuer in the text that ParseConfigs reads.
func settings() []string {
	return []string{
		"issuer", "jwks_url", "jwks", "audience", "audience_claim", "scope_claims", "scope_prefix", "grant_scopes",
		"workspace", "workspace_claim", "workspace_map", "workspaces", "shares_workspaces", "required_claims",
	}
}

// ParseConfigs parses issuers: a JSON array of objects, whose members docs/tokens.md
// lists. name is that of the variable. The error has every fault, each with its place,
// such as name[0].audience. With several issuers, each must state which workspaces it
// may name, and two of them have none in common unless one shares its workspaces.
func ParseConfigs(name, text string) ([]Config, error) {
	dec := jsontext.NewDecoder(bytes.NewBufferString(text))
	list, err := dec.ReadValue()
	if err != nil {
		return nil, fmt.Errorf("%s must be a JSON array of issuers: %w", name, err)
	}
	r := configReader{name: name}
	var configs []Config
	if list.Kind() == jsontext.KindBeginArray {
		readElements(list, func(item jsontext.Value) bool {
			configs = append(configs, r.read(len(configs), item))
			return true
		})
	}
	if _, err := dec.ReadToken(); len(configs) == 0 || !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s must be one JSON array of one issuer or more", name)
	}
	r.compare(configs)
	return configs, errors.Join(r.faults...)
}

// configReader reads Configs and collects the faults.
type configReader struct {
	name   string // of the variable
	at     int    // the index of the issuer
	faults []error
}

func (r *configReader) add(name, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%s[%d].%s %w", r.name, r.at, name, fmt.Errorf(format, args...)))
}

// read reads the issuer with an index.
func (r *configReader) read(index int, object jsontext.Value) (c Config) {
	r.at = index
	given := map[string]bool{}
	if object.Kind() != jsontext.KindBeginObject {
		r.faults = append(r.faults, fmt.Errorf("%s[%d] must be an object, got %s", r.name, index, short(object)))
		return c
	}
	readMembers(jsontext.NewDecoder(bytes.NewBuffer(object)), func(name string, value jsontext.Value) bool {
		given[name] = true
		switch name {
		case "issuer":
			c.Issuer = r.text(name, value)
		case "jwks_url":
			c.JWKSURL = r.address(name, r.text(name, value))
		case "jwks":
			c.JWKS = r.keys(name, value)
		case "audience":
			c.Audiences = r.texts(name, value)
		case "audience_claim":
			c.AudienceClaim = r.claim(name, r.text(name, value))
		case "scope_claims":
			c.ScopeClaims = r.texts(name, value)
			for _, claim := range c.ScopeClaims {
				r.claim(name, claim)
			}
		case "scope_prefix":
			c.ScopePrefix = r.text(name, value)
		case "grant_scopes":
			c.GrantScopes = r.scopes(name, value)
		case "workspace":
			c.Workspace = r.workspace(name, r.text(name, value))
		case "workspace_claim":
			c.WorkspaceClaim = r.claim(name, r.text(name, value))
		case "workspace_map":
			c.WorkspaceMap = r.names(name, value)
		case "workspaces":
			c.Workspaces = r.patterns(name, value)
		case "shares_workspaces":
			c.SharesWorkspaces = value.Kind() == jsontext.KindTrue
			if !c.SharesWorkspaces && value.Kind() != jsontext.KindFalse {
				r.add(name, "must be true or false, got %s", short(value))
			}
		case "required_claims":
			c.RequiredClaims = r.claims(name, value)
		default:
			r.faults = append(r.faults, fmt.Errorf("%s[%d] has the unknown member %.40q; the members are %s", r.name, index, name, strings.Join(settings(), ", ")))
		}
		return true
	})
	r.check(&c, given)
	return c
}

// check checks what the settings of one issuer mean together.
func (r *configReader) check(c *Config, given map[string]bool) {
	if !given["issuer"] {
		r.add("issuer", "is missing; it must be the issuer of the tokens, as in their iss claim")
	}
	if !given["audience"] {
		r.add("audience", "is missing; it must be the audience of the tokens, as in their audience claim")
	}
	if c.Issuer != "" && !given["jwks"] && !given["jwks_url"] {
		r.address("issuer", c.Issuer) // its discovery document is fetched from this address
	}
	for _, pair := range [][2]string{
		{"jwks", "jwks_url"},
		{"grant_scopes", "scope_claims"},
		{"grant_scopes", "scope_prefix"},
		{"workspace", "workspace_claim"},
		{"workspace", "workspace_map"},
		{"workspace", "workspaces"},
		{"workspace_map", "workspaces"},
	} {
		if given[pair[0]] && given[pair[1]] {
			r.add(pair[0], "and %s exclude each other", pair[1])
		}
	}
	if slices.Contains(c.GrantScopes, string(auth.ExecuteAllRuns)) && !c.namesAny() {
		r.add("grant_scopes", "must not have %s, because the issuer may not name every workspace", auth.ExecuteAllRuns)
	}
}

// compare checks what the issuers mean together.
func (r *configReader) compare(configs []Config) {
	for i := range configs {
		c := &configs[i]
		r.at = i
		if len(configs) > 1 && c.unlimited() {
			r.add("workspaces", `is missing; with several issuers, each must have workspace, workspace_map or workspaces, such as ["acme", "eu-*"]`)
		}
		for j := range configs[:i] {
			other := &configs[j]
			if c.Issuer == other.Issuer && c.Issuer != "" {
				r.add("issuer", "is that of [%d] too", j)
				continue
			}
			if c.unlimited() || other.unlimited() || c.SharesWorkspaces || other.SharesWorkspaces {
				continue
			}
			if mine, theirs, found := c.common(other); found {
				r.add("workspaces", "must have no workspace of another issuer unless one of the two has shares_workspaces; %s is in %s of [%d]", mine, theirs, j)
			}
		}
	}
}

// unlimited reports whether c leaves open which workspaces the issuer may name.
func (c *Config) unlimited() bool {
	return c.Workspace == "" && c.WorkspaceMap == nil && c.Workspaces == nil
}

// text returns a string, which must not be empty.
func (r *configReader) text(name string, value jsontext.Value) string {
	text, ok := textOf(value)
	if !ok || text == "" {
		r.add(name, "must be a string that is not empty, got %s", short(value))
	}
	return text
}

// texts returns the elements of an array of strings, or the only string. None may be
// empty or repeated.
func (r *configReader) texts(name string, value jsontext.Value) []string {
	list, ok := listOf(value)
	if !ok || len(list) == 0 || slices.Contains(list, "") {
		r.add(name, "must be a string or an array of strings, none of them empty, got %s", short(value))
	}
	for i, text := range list {
		if slices.Contains(list[:i], text) {
			r.add(name, "has %.40q twice", text)
		}
	}
	return list
}

// claim returns the name of a claim.
func (r *configReader) claim(name, claim string) string {
	if err := CheckClaim(claim); err != nil {
		r.add(name, "%w", err)
	}
	return claim
}

func (r *configReader) address(name, address string) string {
	parsed, err := url.Parse(address)
	if address != "" && (err != nil || parsed.Host == "" || parsed.Scheme != "https" && parsed.Scheme != "http") {
		r.add(name, "must be an http or https address, got %.100q", address)
	}
	return address
}

func (r *configReader) keys(name string, value jsontext.Value) string {
	if _, err := parseKeys(value); err != nil {
		r.add(name, `must be a JSON Web Key Set such as {"keys":[…]}: %w`, err)
	}
	return string(value)
}

func (r *configReader) scopes(name string, value jsontext.Value) []string {
	list := r.texts(name, value)
	for _, scope := range list {
		if scope != "" && !auth.Known(auth.Action(scope)) {
			r.add(name, "must be some of %v, got %.40q", auth.Actions(), scope)
		}
	}
	return list
}

// workspace returns the name of one workspace. It refuses *, which a reader could take
// for a pattern.
func (r *configReader) workspace(name, workspace string) string {
	if workspace != "" && (!auth.ValidWorkspace(workspace) || strings.Contains(workspace, anyValue)) {
		r.add(name, "must name a workspace: 1 to %d visible ASCII characters other than # and *, got %.140q", auth.MaxWorkspace, workspace)
	}
	return workspace
}

// patterns returns names of workspaces, and prefixes that end in *.
func (r *configReader) patterns(name string, value jsontext.Value) []string {
	list := r.texts(name, value)
	for _, pattern := range list {
		if pattern != anyValue {
			r.workspace(name, strings.TrimSuffix(pattern, anyValue))
		}
	}
	return list
}

// names returns an object of workspaces.
func (r *configReader) names(name string, value jsontext.Value) map[string]string {
	names := map[string]string{}
	r.members(name, value, func(member string, value jsontext.Value) {
		names[member] = r.workspace(name, r.text(name, value))
	})
	return names
}

func (r *configReader) claims(name string, value jsontext.Value) map[string][]string {
	claims := map[string][]string{}
	r.members(name, value, func(member string, value jsontext.Value) {
		claims[r.claim(name, member)] = r.texts(name, value)
	})
	return claims
}

// members calls add with each member of an object, of which there must be one or more,
// with names that are not empty.
func (r *configReader) members(name string, value jsontext.Value, add func(member string, value jsontext.Value)) {
	count, empty := 0, false
	if value.Kind() == jsontext.KindBeginObject {
		readMembers(jsontext.NewDecoder(bytes.NewBuffer(value)), func(member string, value jsontext.Value) bool {
			count++
			empty = empty || member == ""
			add(member, value)
			return true
		})
	}
	if count == 0 || empty {
		r.add(name, "must be an object of one member or more, with names that are not empty, got %s", short(value))
	}
}

// short returns the beginning of a value, for an error message.
func short(value jsontext.Value) string {
	const most = 60
	if len(value) > most {
		return strings.ToValidUTF8(string(value[:most]), "") + "…"
	}
	return string(value)
}
