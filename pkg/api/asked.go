package api

import (
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/syncs"
)

// Asked is a create that came by another way than HTTP, in the same words.
type Asked struct {
	Draft       syncs.Draft
	Fingerprint string // the same for bodies that are equal as JSON
	sent        request
}

// Ask reads what would be the body of a create. Its errors are
// fault.Malformed and fault.Invalid.
func Ask(pool *jsonpool.Pool, body []byte) (Asked, error) {
	in, err := readCreate(pool, body)
	if err != nil {
		return Asked{}, err
	}
	print, err := fingerprint(body)
	return Asked{in.draft, print, in}, err
}

// Explain adds to what is wrong with the Draft what was sent in its place.
func (a Asked) Explain(err error) error { return a.sent.explain(err) }

// ErrorObjects are the JSON:API error objects that a client is shown for err,
// an array. id is the request's.
func ErrorObjects(err error, id string) []byte {
	shown := publicOf(err)
	status, title := StatusOf(shown.Kind)
	return appendErrors(nil, shown, status, title, id)
}
