package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"syncplane/pkg/fault"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// The query parameters of a list.
const (
	parameterSize  = "page[size]"
	parameterAfter = "page[after]"
)

// listSyncs handles GET /api/v1/syncs.
func (a *API) listSyncs(ctx context.Context, c call) (response, error) {
	query, err := parseListQuery(c.caller.Workspace, c.query)
	if err != nil {
		return response{}, err
	}
	page, err := a.Syncs.List(ctx, c.caller, query)
	if err != nil {
		return response{}, err
	}
	now := a.Now()
	b := []byte(`{`)
	if c.media == mediaJSONAPI {
		b = append(b, `"jsonapi":{"version":"1.1"},`...)
	}
	b = append(b, `"data":[`...)
	for i, sync := range page.Syncs {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.appendSync(b, sync, now)
	}
	next := []byte("null")
	if page.Next != "" {
		next = quote(c.linkTo(query, encodeCursor(c.caller.Workspace, page.Next)))
	}
	self := quote(c.linkTo(query, encodeCursor(c.caller.Workspace, query.After)))
	b = fmt.Appendf(b, `],"links":{"self":%s,"next":%s},"meta":{"page":{"size":%d}}}`, self, next, query.Size)
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {string(c.media)}}, body: b}, nil
}

// parseListQuery parses the parameters of a list. The error names every parameter
// that is unknown, repeated or out of bounds.
func parseListQuery(workspace, raw string) (syncs.Query, error) {
	query := syncs.Query{Size: syncs.DefaultPage}
	var faults []fault.Field
	reject := func(name, code, format string, args ...any) {
		faults = append(faults, fault.Field{Parameter: name, Code: code, Detail: fmt.Sprintf(format, args...)})
	}
	values, err := parseQuery(raw)
	if err != nil {
		return query, err
	}
	number := func(name, text string, most int64) int64 {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 || n > most || text[0] == '+' {
			reject(name, "invalid_parameter", "%s must be an integer from 1 to %d, got %q", name, most, syncjson.Shorten(text))
		}
		return n
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		text := values[name][0]
		if len(values[name]) > 1 {
			reject(name, "invalid_parameter", "%s must be given once", syncjson.Shorten(name))
			continue
		}
		switch name {
		case parameterSize:
			query.Size = int(number(name, text, syncs.MaxPage))
		case parameterAfter:
			id, ok := decodeCursor(workspace, text)
			if !ok {
				reject(name, "invalid_cursor", "%s must be taken from the next link of a page of this workspace", name)
			}
			query.After = id
		case "filter[status]":
			query.Status = syncs.Status(text)
			if !slices.Contains(syncs.Statuses(), query.Status) {
				reject(name, "invalid_parameter", "%s must be one of %v, got %q", name, syncs.Statuses(), syncjson.Shorten(text))
			}
		case "filter[source_id]":
			query.SourceID = number(name, text, syncs.MaxID)
		case "filter[destination_id]":
			query.DestinationID = number(name, text, syncs.MaxID)
		case "filter[model_id]":
			query.ModelID = number(name, text, syncs.MaxID)
		default:
			reject(syncjson.Shorten(name), "unknown_parameter", "unknown query parameter %q", syncjson.Shorten(name))
		}
	}
	if len(faults) > 0 {
		return query, &fault.Error{Kind: fault.Malformed, Fields: faults}
	}
	return query, nil
}

// parseQuery parses the query of a request.
func parseQuery(raw string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Malformed, Code: "invalid_query", Message: "the query must be percent-encoded as RFC 3986 specifies, such as page%5Bsize%5D=20"}
	}
	return values, nil
}

// linkTo returns the address of a page of the list that query asks for.
func (c call) linkTo(query syncs.Query, after string) string {
	var parts []string
	add := func(name, value string) {
		parts = append(parts, url.QueryEscape(name)+"="+url.QueryEscape(value))
	}
	if query.Status != "" {
		add("filter[status]", string(query.Status))
	}
	for _, filter := range []struct {
		name  string
		value int64
	}{{"filter[source_id]", query.SourceID}, {"filter[destination_id]", query.DestinationID}, {"filter[model_id]", query.ModelID}} {
		if filter.value != 0 {
			add(filter.name, strconv.FormatInt(filter.value, 10))
		}
	}
	if after != "" {
		add(parameterAfter, after)
	}
	add(parameterSize, strconv.Itoa(query.Size))
	return c.prefix + syncsPath + "?" + strings.Join(parts, "&")
}
