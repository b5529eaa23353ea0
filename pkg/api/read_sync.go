package api

import (
	"context"
	"net/http"
)

// readSync handles GET /api/v1/syncs/{id}.
func (a *API) readSync(ctx context.Context, c call) (answer, error) {
	only, err := ifMatch(c.header)
	if err != nil {
		return answer{}, err
	}
	sync, err := a.Syncs.Read(ctx, c.who, c.id)
	if err != nil {
		return answer{}, err
	}
	if err := only.Check(sync.Version); err != nil {
		return answer{}, err
	}
	if matchesNone(c.header, sync, c.media) {
		return answer{status: http.StatusNotModified, header: http.Header{"Etag": {etag(sync, c.media)}}}, nil
	}
	return c.resource(http.StatusOK, sync, a.Now()), nil
}
