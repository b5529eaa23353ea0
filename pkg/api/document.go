package api

import (
	"net/http"
	"time"

	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// syncsPath is where the syncs are.
const syncsPath = "/api/v1/syncs"

// syncPath returns the path of a sync in the address that the client uses.
func (c call) syncPath(s syncs.Sync) string { return c.prefix + syncsPath + "/" + s.ID }

// syncResponse is the answer with one sync as it is at a moment, in the form that
// the client takes.
func (c call) syncResponse(status int, s syncs.Sync, at time.Time) response {
	b := make([]byte, 0, 1024+len(s.Configuration))
	if c.media == mediaJSONAPI {
		b = append(b, `{"jsonapi":{"version":"1.1"},"data":`...)
		b = append(c.appendSync(b, s, at), '}')
	} else {
		b = c.appendSync(b, s, at)
	}
	return response{
		status: status,
		header: http.Header{"Content-Type": {string(c.media)}, "Etag": {etag(s, c.media)}},
		body:   b,
	}
}

// appendSync appends s as it is at a moment, in the form that the client takes.
func (c call) appendSync(b []byte, s syncs.Sync, at time.Time) []byte {
	b = syncjson.Append(b, s, at)
	if c.media == mediaJSONAPI {
		b = append(b[:len(b)-1], `,"links":{"self":`...)
		b = append(syncjson.AppendText(b, c.syncPath(s)), "}}"...)
	}
	return b
}

// quote is s as a JSON string.
func quote(s string) []byte { return syncjson.AppendText(nil, s) }
