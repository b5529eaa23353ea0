package api

import (
	"net/http"
	"strings"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// idempotencyKey parses Idempotency-Key: a structured-field string (RFC 8941, section
// 3.3.3) or the bare key, 1 to 255 visible ASCII characters. given is false without
// the header. The header must not be repeated. API Gateway joins repeated headers
// with a comma, so a bare key with a comma is refused: it may be two keys.
func idempotencyKey(header http.Header) (key string, given bool, err error) {
	values, given := header["Idempotency-Key"]
	if !given {
		return "", false, nil
	}
	key = strings.Trim(values[0], " \t")
	ok := !strings.Contains(key, ",")
	if strings.HasPrefix(key, `"`) {
		key, ok = parseQuoted(key)
	}
	if !ok || len(values) > 1 || !syncs.ValidKey(key) {
		return "", true, &fault.Error{Kind: fault.Malformed, Fields: []fault.Field{{
			Header: "Idempotency-Key", Code: "invalid_header",
			Detail: `Idempotency-Key must be given once, with 1 to 255 visible ASCII characters, bare without a comma or as a quoted string such as "8e03978e-40d5-43e8-bc93-6894a57f9324"`,
		}}}
	}
	return key, true, nil
}

// parseQuoted parses a structured-field string.
func parseQuoted(text string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			return b.String(), i == len(text)-1
		case '\\':
			i++
			if i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", false
			}
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
