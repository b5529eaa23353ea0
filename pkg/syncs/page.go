package syncs

import (
	"context"

	"syncplane/pkg/auth"
)

// The bounds of a page of a list.
const (
	DefaultPage = 20   // syncs
	MaxPage     = 100  // syncs
	maxRead     = 1000 // syncs that one request reads, including those that its filter drops
	readAhead   = 250  // syncs that one query of the store reads if there is a filter

	// maxPageSize bounds the syncs on a page of more than one, in bytes as
	// Size counts them. Our own choice: escaped, a character may take six
	// bytes, and the page must fit the response of every entry point.
	maxPageSize = 900 << 10
)

// Query selects the syncs of a list.
type Query struct {
	Size  int    // 1 … MaxPage
	After string // the ID of the last sync of the previous page; "" for the first page

	// Filters: only syncs with these values are listed. A zero value matches
	// any.
	Status        Status
	SourceID      int64
	DestinationID int64
	ModelID       int64
}

// Page is one page of a list, newest first.
type Page struct {
	Syncs []Sync
	Next  string // the After of the next page; "" on the last page
}

func (q Query) matches(s Sync) bool {
	return (q.Status == "" || q.Status == s.Status) &&
		(q.SourceID == 0 || q.SourceID == s.SourceID) &&
		(q.DestinationID == 0 || q.DestinationID == s.DestinationID) &&
		(q.ModelID == 0 || q.ModelID == s.ModelID)
}

// filtered reports whether q has a filter.
func (q Query) filtered() bool {
	return q.Status != "" || q.SourceID != 0 || q.DestinationID != 0 || q.ModelID != 0
}

// List returns a page of the syncs of the caller's workspace. With a filter, or
// with large syncs, a page may have fewer than q.Size syncs and still not be the
// last one.
func (s *Service) List(ctx context.Context, who auth.Caller, q Query) (Page, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return Page{}, err
	}
	page, size, after := Page{}, 0, q.After
	for read := 0; read < maxRead; {
		limit := q.Size + 1 - len(page.Syncs) // one more shows whether there is a next page
		if q.filtered() {
			limit = readAhead
		}
		syncs, more, err := s.Store.List(ctx, who.Workspace, after, min(limit, maxRead-read))
		if err != nil {
			return Page{}, err
		}
		for _, sync := range syncs {
			if q.matches(sync) {
				size += sync.Size()
				if n := len(page.Syncs); n == q.Size || n > 0 && size > maxPageSize {
					page.Next = after
					return page, nil
				}
				page.Syncs = append(page.Syncs, sync)
			}
			after = sync.ID
			read++
		}
		if !more {
			return page, nil
		}
	}
	page.Next = after
	return page, nil
}
