package oidc

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/jsonpool"
)

// claims holds the claims that are evaluated. The time of an absent claim is zero.
type claims struct {
	issuer    string   // iss
	subject   string   // sub
	audience  []string // the audience claim
	aud       []string // aud if another is the audience claim; nil if absent
	expiry    time.Time
	notBefore time.Time
	issuedAt  time.Time
	scopes    []string // those that the issuer may grant
	workspace *string  // the workspace claim; "" if it is not a string
	other     bool     // the token is not an access token
	matched   int      // the number of required claims that have one of their values
}

// readClaims parses the payload of a verified token. ok is false if it is not an
// object, has a duplicate member, or a claim of another type than in RFC 7519.
func (v *Verifier) readClaims(payload []byte, from *issuer) (c claims, ok bool) {
	config := &from.config
	dec := v.pool.Get(payload)
	defer v.pool.Put(dec)
	ok = readMembers(&dec.Decoder, func(name string, value jsontext.Value) bool {
		if !isPointer(name) && !c.setNamed(name, value, config) {
			return false
		}
		for _, nested := range from.nested[name] {
			if !v.within(value, nested.path, func(value jsontext.Value) bool { return c.setNamed(nested.name, value, config) }) {
				return false
			}
		}
		return c.setRegistered(name, value)
	})
	if config.GrantScopes != nil {
		c.scopes = config.GrantScopes
	}
	return c, ok
}

// readIssuer returns the claim iss of a payload that is not verified yet, "" if there
// is none.
func (v *Verifier) readIssuer(payload []byte) (name string) {
	dec := v.pool.Get(payload)
	defer v.pool.Put(dec)
	readMembers(&dec.Decoder, func(member string, value jsontext.Value) bool {
		if member == "iss" {
			name, _ = textOf(value)
		}
		return member != "iss"
	})
	return name
}

// readMembers reads one object, which nothing may follow, and calls set with each
// member. set must not keep the value. It reports whether the object is well-formed
// and set returned true for every member.
func readMembers(dec *jsontext.Decoder, set func(name string, value jsontext.Value) bool) bool {
	if token, err := dec.ReadToken(); err != nil || token.Kind() != jsontext.KindBeginObject {
		return false
	}
	for dec.PeekKind() == jsontext.KindString {
		quoted, err := dec.ReadValue()
		if err != nil {
			return false
		}
		name := memberName(jsonpool.Unquote(quoted))
		value, err := dec.ReadValue()
		if err != nil || !set(name, value) {
			return false
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	_, err := dec.ReadToken()
	return errors.Is(err, io.EOF)
}

// memberName returns the name of a member. The usual names are not allocated.
func memberName(name []byte) string {
	for _, usual := range [...]string{"alg", "kid", "typ", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "scp", "client_id", "token_use", "workspace_id"} {
		if string(name) == usual {
			return usual
		}
	}
	return string(name)
}

// setNamed sets a claim if a setting has its name, and reports whether the value has
// the type of the claim.
func (c *claims) setNamed(name string, value jsontext.Value, config *Config) (ok bool) {
	if name == config.WorkspaceClaim {
		workspace, _ := textOf(value)
		c.workspace = &workspace
	}
	switch name {
	case config.AudienceClaim:
		if c.audience, ok = listOf(value); !ok {
			return false
		}
	case "aud":
		if c.aud, ok = listOf(value); !ok {
			return false
		}
	}
	if slices.Contains(config.ScopeClaims, name) && !c.addScopes(name, value, config) {
		return false
	}
	if wanted, required := config.RequiredClaims[name]; required {
		list, ok := listOf(value)
		if ok && slices.ContainsFunc(list, func(text string) bool { return slices.Contains(wanted, text) || slices.Contains(wanted, anyValue) }) {
			c.matched++
		}
	}
	return true
}

// setRegistered sets a claim whose name is always the same, and reports whether the
// value has the type of the claim.
func (c *claims) setRegistered(name string, value jsontext.Value) (ok bool) {
	ok = true
	switch name {
	case "iss":
		c.issuer, ok = textOf(value)
	case "sub":
		c.subject, ok = textOf(value)
	case "exp":
		c.expiry, ok = dateOf(value)
	case "nbf":
		c.notBefore, ok = dateOf(value)
	case "iat":
		c.issuedAt, ok = dateOf(value)
	case "token_use": // Amazon Cognito: access or id
		use, _ := textOf(value)
		c.other = c.other || use != "access"
	case "typ": // Keycloak: Bearer, ID, Refresh, Offline or Logout
		use, _ := textOf(value)
		c.other = c.other || slices.Contains([]string{"ID", "Refresh", "Offline", "Logout"}, use)
	case "at_hash", "c_hash": // only an ID token has them (OpenID Connect Core 1.0, section 3.3.2.11)
		c.other = true
	}
	return ok
}

// addScopes adds the scopes in a claim: the words of a string (RFC 8693, section
// 4.2), or the elements of an array. A scope claim named scope must be a string.
func (c *claims) addScopes(name string, value jsontext.Value, config *Config) (ok bool) {
	var list []string
	if name == "scope" || value.Kind() == jsontext.KindString {
		var words string
		words, ok = textOf(value)
		list = strings.Fields(words)
	} else {
		list, ok = listOf(value)
	}
	for _, scope := range list {
		if scope, ok := config.scope(scope); ok {
			c.scopes = append(c.scopes, scope)
		}
	}
	return ok
}

// textOf returns the text of a JSON string. ok is false for other types.
func textOf(value jsontext.Value) (text string, ok bool) {
	if value.Kind() != jsontext.KindString {
		return "", false
	}
	if !slices.ContainsFunc(value, func(c byte) bool { return c == '\\' || c >= utf8.RuneSelf }) {
		return string(value[1 : len(value)-1]), true
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	return string(unquoted), err == nil
}

// listOf returns the texts in a JSON array of strings, or the text of a single
// string.
func listOf(value jsontext.Value) ([]string, bool) {
	if value.Kind() != jsontext.KindBeginArray {
		text, ok := textOf(value)
		return []string{text}, ok
	}
	var list []string
	ok := readElements(value, func(item jsontext.Value) bool {
		text, ok := textOf(item)
		list = append(list, text)
		return ok
	})
	return list, ok
}

// readElements reads an array and calls add with each element. add must not keep
// it. It reports whether the array is well-formed and add returned true for every
// element.
func readElements(array jsontext.Value, add func(item jsontext.Value) bool, options ...jsontext.Options) bool {
	dec := jsontext.NewDecoder(bytes.NewBuffer(array), options...)
	if token, err := dec.ReadToken(); err != nil || token.Kind() != jsontext.KindBeginArray {
		return false
	}
	for dec.PeekKind() != jsontext.KindEndArray {
		item, err := dec.ReadValue()
		if err != nil || !add(item) {
			return false
		}
	}
	return true
}

// dateOf returns the time of a NumericDate: seconds since 1970, possibly with a
// fraction (RFC 7519, section 2). ok is false for a time after the year 9999.
func dateOf(value jsontext.Value) (date time.Time, ok bool) {
	if value.Kind() != jsontext.KindNumber {
		return time.Time{}, false
	}
	const endOfTime = 253402300799 // the last second of the year 9999
	seconds, err := strconv.ParseFloat(string(value), 64)
	if err != nil || math.Abs(seconds) > endOfTime {
		return time.Time{}, false
	}
	return time.Unix(int64(math.Floor(seconds)), 0).UTC(), true
}
