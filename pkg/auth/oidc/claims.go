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

// claims are those that count. A time that was not given is zero.
type claims struct {
	issuer    string   // iss
	subject   string   // sub
	audience  []string // aud
	expiry    time.Time
	notBefore time.Time
	issuedAt  time.Time
	scopes    []string // scope, as RFC 9068 has it, and scp, as some issuers do
	workspace *string  // "" where it is of another type
}

// readClaims reads the payload of a genuine token. ok is false if it is not an
// object, says something twice, or has a claim of another type than RFC 7519
// gives it.
func (v *Verifier) readClaims(payload []byte) (said claims, ok bool) {
	dec := v.pool.Get(payload)
	defer v.pool.Put(dec)
	ok = readMembers(&dec.Decoder, func(name string, value jsontext.Value) bool {
		return said.take(name, value, v.config.WorkspaceClaim)
	})
	return said, ok
}

// readMembers reads one object and nothing after it, and gives each member to
// take, which must not keep the value. It reports whether all of it was well.
func readMembers(dec *jsontext.Decoder, take func(name string, value jsontext.Value) bool) bool {
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
		if err != nil || !take(name, value) {
			return false
		}
	}
	if _, err := dec.ReadToken(); err != nil {
		return false
	}
	_, err := dec.ReadToken()
	return errors.Is(err, io.EOF)
}

// take takes one claim over, and reports whether it is of its type.
func (c *claims) take(name string, value jsontext.Value, workspaceClaim string) (ok bool) {
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

func textOf(value jsontext.Value) (string, bool) {
	if value.Kind() != jsontext.KindString {
		return "", false
	}
	text, err := jsontext.AppendUnquote(nil, value)
	return string(text), err == nil
}

// listOf reads a string, or a list of them.
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

// readElements reads an array and calls take with each element, which take must
// not keep. It reports whether the array is well-formed and take accepted all.
func readElements(array jsontext.Value, take func(item jsontext.Value) bool, options ...jsontext.Options) bool {
	dec := jsontext.NewDecoder(bytes.NewBuffer(array), options...)
	if token, err := dec.ReadToken(); err != nil || token.Kind() != jsontext.KindBeginArray {
		return false
	}
	for dec.PeekKind() != jsontext.KindEndArray {
		item, err := dec.ReadValue()
		if err != nil || !take(item) {
			return false
		}
	}
	return true
}

// dateOf reads seconds since 1970, which may have a fraction (RFC 7519, section
// 2). One that no calendar holds is none.
func dateOf(value jsontext.Value) (time.Time, bool) {
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
