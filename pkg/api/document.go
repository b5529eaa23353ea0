package api

import (
	"net/http"
	"time"

	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// syncsPath is the path of the list of syncs.
const syncsPath = "/api/v1/syncs"

// syncPath returns the path of a sync, with the prefix of the client's URL.
func (c call) syncPath(s syncs.Sync) string { return c.prefix + syncsPath + "/" + s.ID }

// syncResponse returns a response with one sync as it is at a time.
func (c call) syncResponse(status int, s syncs.Sync, at time.Time) response {
	b := make([]byte, 0, 1024+len(s.Configuration))
	if c.media == mediaJSONAPI {
		b = append(b, `{"jsonapi":{"version":"1.1"},"data":`...)
		b = append(c.appendSync(b, s, at), '}')
	} else {
		b = c.appendSync(b, s, at)
	}
	values := []string{string(c.media), etag(s, c.media)} // in one allocation
	return response{
		status: status,
		header: http.Header{"Content-Type": values[:1:1], "Etag": values[1:]},
		body:   b,
	}
}

// appendSync appends s as it is at a time, in the media type of the response.
func (c call) appendSync(b []byte, s syncs.Sync, at time.Time) []byte {
	b = syncjson.Append(b, s, at)
	if c.media == mediaJSONAPI {
		b = append(b[:len(b)-1], `,"links":{"self":`...)
		b = append(syncjson.AppendText(b, c.syncPath(s)), "}}"...)
	}
	return b
}

// quote returns s as a JSON string.
func quote(s string) []byte { return syncjson.AppendText(nil, s) }
