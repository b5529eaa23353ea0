package api

import (
	"iter"
	"strings"
)

// parameter is a parameter of a media type (RFC 9110, section 5.6.6).
type parameter struct {
	name   string // as sent; names are compared without regard to case
	value  string // without its quotation marks
	quoted bool
}

// is reports whether p has a name.
func (p parameter) is(name string) bool { return strings.EqualFold(p.name, name) }

// parseMedia parses a media type or a media range (RFC 9110, sections 8.3.1 and
// 12.5.1): type/subtype and parameters; empty parameters are skipped. ok is false if
// text is malformed.
func parseMedia(text string) (name string, parameters []parameter, ok bool) {
	text = strings.Trim(text, " \t")
	kind := tokenLen(text)
	if kind == 0 || kind == len(text) || text[kind] != '/' {
		return "", nil, false
	}
	subtype := tokenLen(text[kind+1:])
	if subtype == 0 {
		return "", nil, false
	}
	name, text = text[:kind+1+subtype], text[kind+1+subtype:]
	for {
		if text = strings.TrimLeft(text, " \t"); text == "" {
			return name, parameters, true
		}
		if text[0] != ';' {
			return "", nil, false
		}
		if text = strings.TrimLeft(text[1:], " \t"); text == "" || text[0] == ';' {
			continue
		}
		var p parameter
		if p, text, ok = cutParameter(text); !ok {
			return "", nil, false
		}
		parameters = append(parameters, p)
	}
}

// cutParameter cuts a parameter name=value off text. White space around the equals
// sign is malformed.
func cutParameter(text string) (p parameter, rest string, ok bool) {
	n := tokenLen(text)
	if n == 0 || n == len(text) || text[n] != '=' {
		return parameter{}, "", false
	}
	p.name, text = text[:n], text[n+1:]
	if strings.HasPrefix(text, `"`) {
		p.quoted = true
		p.value, rest, ok = cutQuoted(text)
		return p, rest, ok
	}
	n = tokenLen(text)
	p.value = text[:n]
	return p, text[n:], n > 0
}

// cutQuoted cuts a quoted-string (RFC 9110, section 5.6.4) off text, which
// begins with its quotation mark, and resolves its escapes.
func cutQuoted(text string) (value, rest string, ok bool) {
	end, escaped := quotedLen(text)
	if end == 0 {
		return "", "", false
	}
	value = text[1 : end-1]
	if strings.ContainsFunc(value, func(c rune) bool { return c < ' ' && c != '\t' || c == '\x7f' }) {
		return "", "", false
	}
	if escaped {
		var b strings.Builder
		for i := 0; i < len(value); i++ {
			if value[i] == '\\' {
				i++ // in range: quotedLen has skipped the escaped character
			}
			b.WriteByte(value[i])
		}
		value = b.String()
	}
	return value, text[end:], true
}

// quotedLen returns the length of the quoted-string at the beginning of text,
// including both quotation marks, and whether it has a backslash; 0 if it is not
// terminated.
func quotedLen(text string) (n int, escaped bool) {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i++
		}
	}
	return 0, escaped
}

// listMembers yields the members of a comma-separated list (RFC 9110, section 5.6.1).
// A comma in a quoted-string does not separate. Empty members are left out.
func listMembers(values []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, text := range values {
			for text != "" {
				member, rest := cutMember(text)
				if text = rest; strings.Trim(member, " \t") != "" && !yield(member) {
					return
				}
			}
		}
	}
}

// cutMember cuts the first member off a list. An unterminated quoted-string extends
// to the end of the list.
func cutMember(list string) (member, rest string) {
	for i := 0; i < len(list); i++ {
		switch list[i] {
		case ',':
			return list[:i], list[i+1:]
		case '"':
			n, _ := quotedLen(list[i:])
			if n == 0 {
				return list, ""
			}
			i += n - 1
		}
	}
	return list, ""
}

// tokenLen returns the length of the token at the beginning of text (RFC 9110,
// section 5.6.2).
func tokenLen(text string) int {
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0:
			return i
		}
	}
	return len(text)
}
