package api

import (
	"context"
	"slices"
	"strconv"

	"syncplane/pkg/syncs"
)

// listSyncs handles GET /api/v1/syncs.
func (a *API) listSyncs(ctx context.Context, c call) (response, error) {
	query, err := parseListQuery(c.caller.Workspace, c.query)
	if err != nil {
		return response{}, err
	}
	found, err := a.Syncs.List(ctx, c.caller, query)
	if err != nil {
		return response{}, err
	}
	now := a.Now()
	size := 512 // bytes of the page, approximately
	for i := range found.Syncs {
		size += found.Syncs[i].Size()
	}
	b := slices.Grow(c.beginList(), size)
	for i, sync := range found.Syncs {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.appendSync(b, sync, now)
	}
	cursor := func(id string) string { return encodeCursor(c.caller.Workspace, id) }
	return c.pageResponse(b, page{size: query.Size, after: cursor(query.After), next: cursor(found.Next)}, func(after string) string {
		return c.linkTo(query, after)
	}), nil
}

// parseListQuery parses the parameters of a list of syncs; see parseParameters.
func parseListQuery(workspace, raw string) (syncs.Query, error) {
	query := syncs.Query{Size: syncs.DefaultPage}
	err := parseParameters(raw, func(p *parameters, name, text string) (known bool) {
		switch name {
		case parameterSize:
			query.Size = int(p.integer(name, text, syncs.MaxPage))
		case parameterAfter:
			id, ok := decodeCursor(workspace, text)
			if !ok {
				p.reject(name, "invalid_cursor", "%s must be meta.page.after of a page of this workspace", name)
			}
			query.After = id
		case parameterStatus:
			query.Status = oneOf(p, name, text, syncs.Statuses())
		case "filter[source_id]":
			query.SourceID = p.integer(name, text, syncs.MaxID)
		case "filter[destination_id]":
			query.DestinationID = p.integer(name, text, syncs.MaxID)
		case "filter[model_id]":
			query.ModelID = p.integer(name, text, syncs.MaxID)
		default:
			return false
		}
		return true
	})
	return query, err
}

// linkTo returns the address of a page of the list of query.
func (c call) linkTo(query syncs.Query, after string) string {
	filter := func(id int64) string {
		if id == 0 {
			return ""
		}
		return strconv.FormatInt(id, 10)
	}
	return pageLink(
		c.prefix+syncsPath,
		parameterStatus, string(query.Status),
		"filter[source_id]", filter(query.SourceID), "filter[destination_id]", filter(query.DestinationID), "filter[model_id]", filter(query.ModelID),
		parameterAfter, after, parameterSize, strconv.Itoa(query.Size),
	)
}
