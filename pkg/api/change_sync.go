package api

import (
	"context"
	"net/http"

	"syncplane/pkg/syncjson"
)

// changeSync handles PATCH and PUT /api/v1/syncs/{id}. Both change only the fields in
// the body, as clients of the public API expect.
func (a *API) changeSync(ctx context.Context, c call) (response, error) {
	condition, err := precondition(c.header)
	if err != nil {
		return response{}, err
	}
	in, err := syncjson.DecodeChange(&a.decoders, c.body)
	if err != nil {
		return warningsOnly(in), err
	}
	sync, err := a.Syncs.Change(ctx, c.caller, c.id, in.Draft, condition)
	if err != nil {
		return warningsOnly(in), in.Explain(err)
	}
	return withWarnings(in, c.syncResponse(http.StatusOK, sync, a.Now())), nil
}

// enableSync handles PATCH /api/v1/syncs/{id}/enable.
func (a *API) enableSync(ctx context.Context, c call) (response, error) {
	condition, err := precondition(c.header)
	if err != nil {
		return response{}, err
	}
	in, err := syncjson.DecodeEnable(&a.decoders, c.body)
	if err != nil {
		return warningsOnly(in), err
	}
	change := a.Syncs.Pause
	if in.Enable {
		change = a.Syncs.Resume
	}
	sync, err := change(ctx, c.caller, c.id, condition)
	if err != nil {
		return warningsOnly(in), err
	}
	return withWarnings(in, c.syncResponse(http.StatusOK, sync, a.Now())), nil
}

// deleteSync handles DELETE /api/v1/syncs/{id}.
func (a *API) deleteSync(ctx context.Context, c call) (response, error) {
	condition, err := precondition(c.header)
	if err != nil {
		return response{}, err
	}
	if err := a.Syncs.Delete(ctx, c.caller, c.id, condition); err != nil {
		return response{}, err
	}
	return response{status: http.StatusNoContent, header: http.Header{}}, nil
}
