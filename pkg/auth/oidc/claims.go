package oidc

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// claims holds the claims that are evaluated. The time of an absent claim is zero.
type claims struct {
	issuer    string   // iss
	subject   string   // sub
	audience  []string // aud
	expiry    time.Time
	notBefore time.Time
	issuedAt  time.Time
	scopes    []string // scope (RFC 9068), and scp, which some issuers use
	workspace *string  // "" if the claim is not a string
}

// readClaims parses the payload of a verified token. ok is false if it is not an
// object, has a duplicate member, or a claim of another type than in RFC 7519.
func (v *Verifier) readClaims(payload []byte) (c claims, ok bool) {
	dec := v.pool.Get(payload)
	defer v.pool.Put(dec)
	ok = readMembers(&dec.Decoder, func(name string, value jsontext.Value) bool {
		return c.set(name, value, v.config.WorkspaceClaim)
	})
	return c, ok
}

// readMembers reads one object, which nothing may follow, and calls set with each
// member. set must not keep the value. It reports whether the object is well-formed
// and set returned true for every member.
func readMembers(dec *jsontext.Decoder, set func(name string, value jsontext.Value) bool) bool {
	if token, err := dec.ReadToken(); err != nil || token.Kind() != jsontext.KindBeginObject {
		return false
	}
	for dec.PeekKind() == jsontext.KindString {
		token, err := dec.ReadToken()
		if err != nil {
			return false
		}
		name := token.String()
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

// set sets a claim, and reports whether the value has the type of the claim.
func (c *claims) set(name string, value jsontext.Value, workspaceClaim string) (ok bool) {
	if name == workspaceClaim {
		workspace, _ := textOf(value)
		c.workspace = &workspace
	}
	ok = true
	switch name {
	case "iss":
		c.issuer, ok = textOf(value)
	case "sub":
		c.subject, ok = textOf(value)
	case "aud":
		c.audience, ok = listOf(value)
	case "exp":
		c.expiry, ok = dateOf(value)
	case "nbf":
		c.notBefore, ok = dateOf(value)
	case "iat":
		c.issuedAt, ok = dateOf(value)
	case "scope":
		var words string
		words, ok = textOf(value)
		c.scopes = append(c.scopes, strings.Fields(words)...)
	case "scp":
		var list []string
		list, ok = listOf(value)
		for _, words := range list {
			c.scopes = append(c.scopes, strings.Fields(words)...)
		}
	}
	return ok
}

// textOf returns the text of a JSON string. ok is false for other types.
func textOf(value jsontext.Value) (text string, ok bool) {
	if value.Kind() != jsontext.KindString {
		return "", false
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
