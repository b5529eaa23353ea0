package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncjson"
)

// The query parameters of several lists.
const (
	parameterSize   = "page[size]"
	parameterAfter  = "page[after]"
	parameterStatus = "filter[status]"
)

// parameters collects what is wrong with the query parameters of a list.
type parameters struct{ fields []fault.Field }

func (p *parameters) reject(name, code, format string, args ...any) {
	p.fields = append(p.fields, fault.Field{Parameter: name, Code: code, Detail: fmt.Sprintf(format, args...)})
}

// integer returns the value of a parameter that must be an integer from 1 to most.
func (p *parameters) integer(name, text string, most int64) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > most || text[0] == '+' {
		p.reject(name, "invalid_parameter", "%s must be an integer from 1 to %d, got %q", name, most, syncjson.Shorten(text))
	}
	return n
}

// oneOf returns the value of a parameter that must be one of values.
func oneOf[T ~string](p *parameters, name, text string, values []T) T {
	if !slices.Contains(values, T(text)) {
		p.reject(name, "invalid_parameter", "%s must be one of %v, got %q", name, values, syncjson.Shorten(text))
	}
	return T(text)
}

// parseParameters calls set for each query parameter, in the order of their names.
// set reports whether it knows the name. The error names every parameter that is
// unknown, repeated or rejected by set.
func parseParameters(raw string, set func(p *parameters, name, text string) (known bool)) error {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return &fault.Error{Kind: fault.Malformed, Code: "invalid_query", Message: "the query must be percent-encoded as RFC 3986 specifies, such as page%5Bsize%5D=20"}
	}
	var p parameters
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch short := syncjson.Shorten(name); {
		case len(values[name]) > 1:
			p.reject(name, "invalid_parameter", "%s must be given once", short)
		case !set(&p, name, values[name][0]):
			p.reject(short, "unknown_parameter", "unknown query parameter %q", short)
		}
	}
	if len(p.fields) > 0 {
		return &fault.Error{Kind: fault.Malformed, Fields: p.fields}
	}
	return nil
}

// pageLink returns path with a query of these names and values; it leaves out empty
// values.
func pageLink(path string, pairs ...string) string {
	var parts []string
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			parts = append(parts, url.QueryEscape(pair[0])+"="+url.QueryEscape(pair[1]))
		}
	}
	return path + "?" + strings.Join(parts, "&")
}

// beginList returns the beginning of a document with a list.
func (c call) beginList() []byte {
	if c.media == mediaJSONAPI {
		return []byte(`{"jsonapi":{"version":"1.1"},"data":[`)
	}
	return []byte(`{"data":[`)
}

// page is a page of a list.
type page struct {
	size  int
	after string // its cursor, "" for the first page
	next  string // the cursor of the next page, "" for none
}

// pageResponse returns the response with a page of a list that beginList has started.
// link returns the link to the page with a cursor.
func (c call) pageResponse(b []byte, p page, link func(after string) string) response {
	next, after := []byte("null"), []byte("null")
	if p.next != "" {
		next, after = quote(link(p.next)), quote(p.next)
	}
	return c.listResponse(fmt.Appendf(b, `],"links":{"self":%s,"next":%s},"meta":{"page":{"size":%d,"after":%s}}}`, quote(link(p.after)), next, p.size, after))
}

func (c call) listResponse(body []byte) response {
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {string(c.media)}}, body: body}
}
