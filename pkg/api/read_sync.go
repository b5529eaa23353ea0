package api

import (
	"context"
	"net/http"
)

// readSync handles GET /api/v1/syncs/{id}.
func (a *API) readSync(ctx context.Context, c call) (response, error) {
	condition, err := ifMatch(c.header)
	if err != nil {
		return response{}, err
	}
	sync, err := a.Syncs.Read(ctx, c.caller, c.id)
	if err != nil {
		return response{}, err
	}
	if err := condition.Check(sync.Version); err != nil {
		return response{}, err
	}
	if tag := etag(sync, c.media); isNotModified(c.header, tag) {
		return response{status: http.StatusNotModified, header: http.Header{"Etag": {tag}}}, nil
	}
	return c.syncResponse(http.StatusOK, sync, a.Now()), nil
}
