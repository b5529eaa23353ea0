package oidc

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// nestedClaim is a claim that a setting names with a JSON Pointer (RFC 6901), such as
// /realm_access/roles. Other settings name a member of the payload as it is, with its
// dots and slashes, such as https://example.com/roles.
type nestedClaim struct {
	name string   // the pointer
	path []string // the members below that of the payload
}

// isPointer reports whether the name of a claim is a JSON Pointer. A member of the
// payload whose name begins with a slash is named by a pointer, too: /~1name.
func isPointer(name string) bool { return strings.HasPrefix(name, "/") }

// CheckClaim checks the name of a claim in a setting. Its error begins with "must be".
func CheckClaim(name string) error {
	if _, ok := pathOf(name); isPointer(name) && !ok {
		return fmt.Errorf("must be the name of a claim, or a JSON Pointer such as /realm_access/roles to a nested one, in which ~1 stands for / and ~0 for ~, got %.100q", name)
	}
	return nil
}

// pathOf returns the parts of a JSON Pointer. Unlike in RFC 6901, none may be empty: no
// claim has an empty name, and a slash too many is a mistake.
func pathOf(pointer string) (path []string, ok bool) {
	path = slices.Collect(jsontext.Pointer(pointer).Tokens())
	return path, jsontext.Pointer(pointer).IsValid() && len(path) > 0 && !slices.Contains(path, "")
}

// nested returns the claims that c names with a pointer, by the member of the payload
// that holds them; nil if there are none.
func (c *Config) nested() map[string][]nestedClaim {
	var all map[string][]nestedClaim
	add := func(name string) {
		path, ok := pathOf(name)
		if !isPointer(name) || !ok {
			return
		}
		if slices.ContainsFunc(all[path[0]], func(known nestedClaim) bool { return known.name == name }) {
			return // for another setting
		}
		if all == nil {
			all = map[string][]nestedClaim{}
		}
		all[path[0]] = append(all[path[0]], nestedClaim{name, path[1:]})
	}
	add(c.WorkspaceClaim)
	add(c.AudienceClaim)
	for _, name := range c.ScopeClaims {
		add(name)
	}
	for name := range c.RequiredClaims {
		add(name)
	}
	return all
}

// within calls use with the value at a path of member names below value. If there is
// none, which includes a path that meets an array, it returns true.
func (v *Verifier) within(value jsontext.Value, path []string, use func(jsontext.Value) bool) bool {
	if len(path) == 0 {
		return use(value)
	}
	if value.Kind() != jsontext.KindBeginObject {
		return true
	}
	dec := v.pool.Get(value)
	defer v.pool.Put(dec)
	return readMembers(&dec.Decoder, func(name string, member jsontext.Value) bool {
		return name != path[0] || v.within(member, path[1:], use)
	})
}
