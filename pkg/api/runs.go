package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"syncplane/pkg/fault"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// openRunsPath is the path of the workspace's runs that have not ended.
const openRunsPath = "/api/v1/sync_runs"

// WorkspaceHeader names the workspace of a run for executors of all workspaces.
const WorkspaceHeader = "Syncplane-Workspace"

// runPath returns the path of a run, with the prefix of the client's URL.
func (c call) runPath(key runs.Key) string {
	return c.prefix + syncsPath + "/" + syncjson.RunPath(key)
}

// runKey returns the key of the run in the path.
func (c call) runKey() (runs.Key, error) {
	at, ok := syncjson.ParseRunTime(c.time)
	if !ok {
		return runs.Key{}, runs.ErrNotFound
	}
	return runs.Key{Workspace: c.workspace, SyncID: syncs.CanonicalID(c.id), Time: at}, nil
}

// triggerRun handles POST /api/v1/syncs/{id}/sync_runs.
func (a *API) triggerRun(ctx context.Context, c call) (response, error) {
	key, given, err := idempotencyKey(c.header)
	if err != nil {
		return response{}, err
	}
	in, err := syncjson.DecodeTrigger(&a.decoders, c.body)
	if err != nil {
		return runWarningsOnly(in.RunRequest), err
	}
	request := runs.TriggerRequest{SyncID: syncs.CanonicalID(c.id), Type: in.Type, Trigger: runs.ByAPI}
	if given {
		fingerprint, err := syncjson.TriggerFingerprint(request)
		if err != nil {
			return response{}, err
		}
		now := a.Now()
		request.IdempotencyKey = &syncs.IdempotencyKey{Key: key, Fingerprint: fingerprint, Now: now, Expires: now.Add(syncs.KeyLife)}
	}
	out, err := a.Runs.Trigger(ctx, c.caller, request)
	if err != nil {
		return runWarningsOnly(in.RunRequest), locateKey(err)
	}
	status := http.StatusOK
	if out.Created {
		status = http.StatusCreated
	}
	response := withRunWarnings(in.RunRequest, c.runResponse(status, out.Run, 0))
	response.header.Set("Location", c.runPath(out.Run.Key))
	if out.Replayed {
		response.header.Set("Idempotent-Replayed", "true")
	}
	return response, nil
}

// readRun handles GET /api/v1/syncs/{id}/sync_runs/{time}.
func (a *API) readRun(ctx context.Context, c call) (response, error) {
	key, err := c.runKey()
	if err != nil {
		return response{}, err
	}
	run, steps, err := a.Runs.Read(ctx, c.caller, key)
	if err != nil {
		return response{}, err
	}
	out := c.runResponse(http.StatusOK, run, steps)
	tag := out.header.Get("Etag")
	if err := c.requireRun(tag); err != nil {
		return response{}, err
	}
	if isNotModified(c.header, tag) {
		return response{status: http.StatusNotModified, header: http.Header{"Etag": {tag}}}, nil
	}
	return out, nil
}

// requireRun returns a fault.PreconditionFailed if If-Match does not allow the run with an
// entity tag. As with syncs, the tags of both media types name the version.
func (c call) requireRun(etag string) error {
	tags, star, given, ok := parseTags(c.header, "If-Match")
	version := func(tag string) string { return strings.TrimSuffix(strings.Trim(tag, `"`), jsonAPISuffix) }
	switch {
	case !given || star:
		return nil
	case !ok:
		return invalidTags("If-Match")
	case slices.ContainsFunc(tags, func(tag entityTag) bool { return !tag.weak && version(tag.opaque) == version(etag) }):
		return nil
	}
	return fault.New(fault.PreconditionFailed, "version_mismatch", "the run is no longer in a version that the request requires; read it again")
}

// claimRun handles POST /api/v1/syncs/{id}/sync_runs/{time}/claim.
func (a *API) claimRun(ctx context.Context, c call) (response, error) {
	key, err := c.runKey()
	if err != nil {
		return response{}, err
	}
	in, claim, err := syncjson.DecodeClaim(&a.decoders, c.body)
	if err != nil {
		return runWarningsOnly(in), err
	}
	run, sync, err := a.Runs.Claim(ctx, c.caller, key, claim)
	if err != nil {
		return runWarningsOnly(in), in.Explain(err)
	}
	now := a.Now()
	b := make([]byte, 0, 2048+len(sync.Configuration))
	if c.media == mediaJSONAPI {
		b = append(b, `{"jsonapi":{"version":"1.1"},"data":`...)
		b = c.appendRun(b, run)
		b = append(b[:len(b)-1], `,"relationships":{"sync":{"data":{"type":"syncs","id":`...)
		b = append(syncjson.AppendText(b, sync.ID), `}}}},"included":[`...)
		b = append(c.appendSync(b, sync, now), `]}`...)
	} else {
		b = c.appendRun(b, run)
		b = append(c.appendSync(append(b[:len(b)-1], `,"sync":`...), sync, now), '}')
	}
	return withRunWarnings(in, response{
		status: http.StatusOK, body: b,
		header: http.Header{"Content-Type": {string(c.media)}, "Etag": {c.runTag(run, 0)}},
	}), nil
}

// heartbeatRun handles POST /api/v1/syncs/{id}/sync_runs/{time}/heartbeat.
func (a *API) heartbeatRun(ctx context.Context, c call) (response, error) {
	key, err := c.runKey()
	if err != nil {
		return response{}, err
	}
	in, beat, err := syncjson.DecodeHeartbeat(&a.decoders, c.body)
	if err != nil {
		return runWarningsOnly(in), err
	}
	run, err := a.Runs.Heartbeat(ctx, c.caller, key, beat)
	if err != nil {
		return runWarningsOnly(in), in.Explain(err)
	}
	return withRunWarnings(in, c.runResponse(http.StatusOK, run, 0)), nil
}

// finishRun handles POST /api/v1/syncs/{id}/sync_runs/{time}/finish.
func (a *API) finishRun(ctx context.Context, c call) (response, error) {
	key, err := c.runKey()
	if err != nil {
		return response{}, err
	}
	in, report, err := syncjson.DecodeReport(&a.decoders, c.body)
	if err != nil {
		return runWarningsOnly(in), err
	}
	run, err := a.Runs.Finish(ctx, c.caller, key, report)
	if err != nil {
		return runWarningsOnly(in), in.Explain(err)
	}
	return withRunWarnings(in, c.runResponse(http.StatusOK, run, 0)), nil
}

// cancelRun handles POST /api/v1/syncs/{id}/sync_runs/{time}/cancel. It responds
// 202 if the run continues until its executor stops.
func (a *API) cancelRun(ctx context.Context, c call) (response, error) {
	key, err := c.runKey()
	if err != nil {
		return response{}, err
	}
	in, force, err := syncjson.DecodeCancel(&a.decoders, c.body)
	if err != nil {
		return runWarningsOnly(in), err
	}
	run, underWay, err := a.Runs.Cancel(ctx, c.caller, key, force)
	if err != nil {
		return runWarningsOnly(in), in.Explain(err)
	}
	status := http.StatusOK
	if underWay {
		status = http.StatusAccepted
	}
	return withRunWarnings(in, c.runResponse(status, run, 0)), nil
}

// listRecords handles GET /api/v1/syncs/{id}/sync_runs/{time}/sync_records.
func (a *API) listRecords(ctx context.Context, c call) (response, error) {
	key, err := c.runKey()
	if err != nil {
		return response{}, err
	}
	records, err := a.Runs.Records(ctx, c.caller, key)
	if err != nil {
		return response{}, err
	}
	b := c.beginList()
	for i, record := range records {
		if i > 0 {
			b = append(b, ',')
		}
		b = syncjson.AppendRecord(b, key, i, record)
	}
	b = fmt.Appendf(b, `],"links":{"self":%s,"next":null}}`, quote(c.runPath(key)+"/sync_records"))
	return c.listResponse(b), nil
}

// listRuns handles GET /api/v1/syncs/{id}/sync_runs.
func (a *API) listRuns(ctx context.Context, c call) (response, error) {
	id := syncs.CanonicalID(c.id)
	scope := c.caller.Workspace + "/" + id
	query := runs.Query{SyncID: id}
	page, err := parseRunQuery(c.query, func(cursor string) bool {
		text, ok := decodePosition(scope, cursor)
		at, valid := syncjson.ParseRunTime(text)
		query.Before = at
		return ok && valid
	})
	if err != nil {
		return response{}, err
	}
	query.Size, query.Status = page.size, page.status
	found, err := a.Runs.List(ctx, c.caller, query)
	if err != nil {
		return response{}, err
	}
	next := ""
	if !found.Next.IsZero() {
		next = encodePosition(scope, syncjson.FormatRunTime(found.Next))
	}
	return c.runListResponse(c.prefix+syncsPath+"/"+url.PathEscape(id)+"/sync_runs", page, found.Runs, next), nil
}

// listOpenRuns handles GET /api/v1/sync_runs.
func (a *API) listOpenRuns(ctx context.Context, c call) (response, error) {
	query := runs.OpenQuery{}
	page, err := parseRunQuery(c.query, func(cursor string) (ok bool) {
		query.After, ok = decodePosition(c.caller.Workspace, cursor)
		return ok && query.After != "" && query.After == syncs.CanonicalID(query.After)
	})
	if err != nil {
		return response{}, err
	}
	query.Size, query.Status = page.size, page.status
	found, err := a.Runs.Open(ctx, c.caller, query)
	if err != nil {
		return response{}, err
	}
	next := ""
	if found.Next != "" {
		next = encodePosition(c.caller.Workspace, found.Next)
	}
	return c.runListResponse(c.prefix+openRunsPath, page, found.Runs, next), nil
}

// runPage holds the query parameters of a list of runs.
type runPage struct {
	size   int
	after  string // the cursor as sent, "" for the first page
	status runs.Status
}

// parseRunQuery parses the parameters of a list of runs; see parseParameters.
// acceptCursor reports whether a cursor is one of this list.
func parseRunQuery(raw string, acceptCursor func(cursor string) bool) (runPage, error) {
	page := runPage{size: runs.DefaultPage}
	err := parseParameters(raw, func(p *parameters, name, text string) (known bool) {
		switch name {
		case parameterSize:
			page.size = int(p.integer(name, text, runs.MaxPage))
		case parameterAfter:
			if page.after = text; !acceptCursor(text) {
				p.reject(name, "invalid_cursor", "%s must be meta.page.after of a page of this list", name)
			}
		case parameterStatus:
			page.status = oneOf(p, name, text, runs.Statuses())
		default:
			return false
		}
		return true
	})
	return page, err
}

// link returns the link to a page.
func (p runPage) link(path, after string) string {
	return pageLink(path, parameterStatus, string(p.status), parameterAfter, after, parameterSize, strconv.Itoa(p.size))
}

// runListResponse returns the response with a page of runs. next is the cursor of the
// next page, "" for none.
func (c call) runListResponse(path string, query runPage, found []runs.Run, next string) response {
	b := c.beginList()
	for i, run := range found {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.appendRun(b, run)
	}
	return c.pageResponse(b, page{size: query.size, after: query.after, next: next}, func(after string) string {
		return query.link(path, after)
	})
}

// runResponse returns the response with one run. steps is that of runs.Run.At.
func (c call) runResponse(status int, run runs.Run, steps int) response {
	b := make([]byte, 0, 1024)
	if c.media == mediaJSONAPI {
		b = append(b, `{"jsonapi":{"version":"1.1"},"data":`...)
		b = append(c.appendRun(b, run), '}')
	} else {
		b = c.appendRun(b, run)
	}
	return response{
		status: status, body: b,
		header: http.Header{"Content-Type": {string(c.media)}, "Etag": {c.runTag(run, steps)}},
	}
}

// appendRun appends run in the media type of the response.
func (c call) appendRun(b []byte, run runs.Run) []byte {
	b = syncjson.AppendRun(b, run)
	if c.media == mediaJSONAPI {
		b = append(b[:len(b)-1], `,"links":{"self":`...)
		b = append(syncjson.AppendText(b, c.runPath(run.Key)), "}}"...)
	}
	return b
}

// runTag returns the strong entity tag of a run: its version, followed by steps (see
// runs.Run.At) if time has changed the run since it was stored.
func (c call) runTag(run runs.Run, steps int) string {
	tag := strconv.FormatInt(run.Version, 10)
	if steps > 0 {
		tag += "." + strconv.Itoa(steps)
	}
	if c.media == mediaJSONAPI {
		tag += jsonAPISuffix
	}
	return `"` + tag + `"`
}

// runWarningsOnly returns a response that has only the warnings.
func runWarningsOnly(in syncjson.RunRequest) response {
	return withRunWarnings(in, response{header: http.Header{}})
}

// withRunWarnings adds a Warning header for each member that was ignored.
func withRunWarnings(in syncjson.RunRequest, out response) response {
	var w warnings
	w.ignored(in.Unknown)
	return w.addTo(out)
}
