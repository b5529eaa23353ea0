package syncjson

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Fingerprint returns a hash that is equal for two bodies that are equal as JSON:
// white space, escapes, the order of members and the notation of numbers do not
// matter. The body must be one well-formed value. Apart from the sorting of members,
// time and memory are linear in its length, independent of its depth.
func Fingerprint(body []byte) (string, error) {
	c := canonicalizer{
		dec:  jsontext.NewDecoder(bytes.NewBuffer(body)),
		text: make([]byte, 0, len(body)),
	}
	if err := c.value(); err != nil {
		return "", fmt.Errorf("canonicalize the body: %w", err)
	}
	hash := sha256.New()
	c.write(hash, 0, len(c.text), 0)
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// canonicalizer writes the canonical form of a JSON value: members sorted by name,
// numbers as an integer and a power of ten. Unlike RFC 8785 it keeps every digit of a
// number.
//
// It works in two passes, so that text is not copied once for each level of nesting.
// The first pass writes everything in the order of the body and records the spans of
// the members of each object; the second pass writes them in the canonical order.
type canonicalizer struct {
	dec     *jsontext.Decoder
	text    []byte
	objects []span // in the order of their start
}

// span is the span of an object in the text, without its braces.
type span struct {
	start, end int
	members    []namedSpan // sorted by name
	next       int         // index of the first object after it
}

// namedSpan is the span of a member of an object, including its name and comma.
type namedSpan struct {
	name       string
	start, end int
	first      int // index of the first object in it, if it has one
}

// value reads the next value and appends it.
func (c *canonicalizer) value() error {
	token, err := c.dec.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case jsontext.KindBeginObject:
		return c.object()
	case jsontext.KindBeginArray:
		c.text = append(c.text, '[')
		for c.dec.PeekKind() != jsontext.KindEndArray {
			if err := c.value(); err != nil {
				return err
			}
			c.text = append(c.text, ',')
		}
		_, err = c.dec.ReadToken()
		c.text = append(c.text, ']')
		return err
	case jsontext.KindNumber:
		n := parseDecimal([]byte(token.String()))
		c.text = strconv.AppendBool(c.text, n.negative)
		c.text = append(append(c.text, ' '), n.digits...)
		c.text = strconv.AppendInt(append(c.text, ' '), int64(n.exponent), 10)
		return nil
	case jsontext.KindString:
		c.text, err = jsontext.AppendQuote(c.text, token.String())
		return err
	case jsontext.KindNull, jsontext.KindTrue, jsontext.KindFalse,
		jsontext.KindInvalid, jsontext.KindEndObject, jsontext.KindEndArray:
	}
	c.text = append(c.text, token.String()...)
	return nil
}

// object appends the object whose opening brace the decoder has read.
func (c *canonicalizer) object() error {
	c.text = append(c.text, '{')
	index := len(c.objects)
	c.objects = append(c.objects, span{start: len(c.text)})
	var members []namedSpan
	for c.dec.PeekKind() == jsontext.KindString {
		token, err := c.dec.ReadToken()
		if err != nil {
			return err
		}
		m := namedSpan{name: token.String(), start: len(c.text), first: len(c.objects)}
		c.text = append(strconv.AppendQuote(c.text, m.name), ':')
		if err := c.value(); err != nil {
			return err
		}
		c.text = append(c.text, ',')
		m.end = len(c.text)
		members = append(members, m)
	}
	if _, err := c.dec.ReadToken(); err != nil {
		return err
	}
	slices.SortFunc(members, func(x, y namedSpan) int { return strings.Compare(x.name, y.name) })
	c.objects[index] = span{start: c.objects[index].start, end: len(c.text), members: members, next: len(c.objects)}
	c.text = append(c.text, '}')
	return nil
}

// write writes a part of the text in the canonical order. first is the index of the
// first object in it.
func (c *canonicalizer) write(w io.Writer, start, end, first int) {
	for first < len(c.objects) && c.objects[first].start < end {
		object := &c.objects[first]
		_, _ = w.Write(c.text[start:object.start]) // a hash returns no error
		for _, m := range object.members {
			c.write(w, m.start, m.end, m.first)
		}
		start, first = object.end, object.next
	}
	_, _ = w.Write(c.text[start:end])
}
