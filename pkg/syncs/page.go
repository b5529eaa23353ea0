package syncs

import (
	"context"

	"syncplane/pkg/auth"
)

// The bounds of a page of a list.
const (
	DefaultPage = 20   // syncs
	MaxPage     = 100  // syncs
	maxRead     = 1000 // syncs that one request reads, those that a filter drops included
	readAhead   = 250  // syncs read at a time where a filter drops some

	// maxPageSize bounds the syncs on a page, in bytes as Size counts them,
	// but for a single one. A Lambda answers with at most 6 MB, in which a
	// character may take six.
	maxPageSize = 900 << 10
)

// Query is what a client wants listed.
type Query struct {
	Size  int    // 1 … MaxPage
	After string // the ID of the last sync that was seen; "" for the first page

	// Only syncs that have these values; zero values let any pass.
	Status        Status
	SourceID      int64
	DestinationID int64
	ModelID       int64
}

// Page is a part of a list, newest first.
type Page struct {
	Syncs []Sync
	Next  string // the After of the next page; "" if there is none
}

func (q Query) matches(s Sync) bool {
	return (q.Status == "" || q.Status == s.Status) &&
		(q.SourceID == 0 || q.SourceID == s.SourceID) &&
		(q.DestinationID == 0 || q.DestinationID == s.DestinationID) &&
		(q.ModelID == 0 || q.ModelID == s.ModelID)
}

// filtered reports whether q lets some syncs pass and not others.
func (q Query) filtered() bool {
	return q.Status != "" || q.SourceID != 0 || q.DestinationID != 0 || q.ModelID != 0
}

// List returns a page of the syncs of who's workspace. With a filter, or where
// syncs are large, a page may be short and have a next one all the
// same.
func (s *Service) List(ctx context.Context, who auth.Caller, q Query) (Page, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return Page{}, err
	}
	page, size, after := Page{}, 0, q.After
	for read := 0; read < maxRead; {
		limit := q.Size + 1 - len(page.Syncs) // one more tells whether there is a next page
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
