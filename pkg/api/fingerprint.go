package api

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// fingerprint is the same for two bodies that are equal as JSON, however they
// are spelled: white space, escapes, the order of members and the form of
// numbers do not count. The body must be one well-formed value.
func fingerprint(body []byte) (string, error) {
	canonical, err := appendCanonical(make([]byte, 0, len(body)), jsontext.NewDecoder(bytes.NewBuffer(body)))
	if err != nil {
		return "", fmt.Errorf("canonicalize the body: %w", err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(canonical)), nil
}

// appendCanonical appends the next value of dec in its one spelling: members
// sorted by name, numbers as an integer and a power of ten. Unlike RFC 8785 it
// keeps every digit of a number.
func appendCanonical(b []byte, dec *jsontext.Decoder) ([]byte, error) {
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case jsontext.KindBeginObject:
		return appendCanonicalObject(b, dec)
	case jsontext.KindBeginArray:
		b = append(b, '[')
		for dec.PeekKind() != jsontext.KindEndArray {
			if b, err = appendCanonical(b, dec); err != nil {
				return nil, err
			}
			b = append(b, ',')
		}
		_, err = dec.ReadToken()
		return append(b, ']'), err
	case jsontext.KindNumber:
		n := parseDecimal([]byte(token.String()))
		return fmt.Appendf(b, "%t %s %d", n.negative, n.digits, n.exponent), nil
	case jsontext.KindString:
		return jsontext.AppendQuote(b, token.String())
	case jsontext.KindNull, jsontext.KindTrue, jsontext.KindFalse,
		jsontext.KindInvalid, jsontext.KindEndObject, jsontext.KindEndArray:
	}
	return append(b, token.String()...), nil
}

// appendCanonicalObject appends the members of the object that dec is in.
func appendCanonicalObject(b []byte, dec *jsontext.Decoder) ([]byte, error) {
	type member struct {
		name  string
		value []byte
	}
	var members []member
	for dec.PeekKind() == jsontext.KindString {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		value, err := appendCanonical(nil, dec)
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, value})
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	slices.SortFunc(members, func(x, y member) int { return strings.Compare(x.name, y.name) })
	b = append(b, '{')
	for _, m := range members {
		b = append(strconv.AppendQuote(b, m.name), ':')
		b = append(append(b, m.value...), ',')
	}
	return append(b, '}'), nil
}
