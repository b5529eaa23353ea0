package syncs

import (
	"context"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
)

// The bounds of a page of a list.
const (
	DefaultPage = 20 // syncs
	MaxPage     = 100

	// maxPageSize bounds the syncs on a page of more than one, in bytes as
	// Size counts them. Our own choice: escaped, a character may take six
	// bytes, and the page must fit the response of every entry point.
	maxPageSize = 900 << 10
)

// The bounds of a request with a filter. Our own choices.
const (
	firstSearch = 250    // syncs that the first search of a request reads; each further one reads twice as many
	maxSearch   = 10_000 // at most

	// A page that is not full ends after searchTime, an empty one searchMargin before
	// the deadline of the request or after maxSearchTime.
	searchTime    = time.Second
	searchMargin  = 2 * time.Second
	maxSearchTime = 10 * time.Second
)

// Query selects the syncs of a list.
type Query struct {
	Size  int    // 1 … MaxPage
	After string // the ID of the last sync of the previous page; "" for the first page

	Filter
}

// Filter selects the syncs that have its values. A zero value matches any.
type Filter struct {
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

// Matches reports whether f selects s.
func (f Filter) Matches(s Sync) bool {
	return (f.Status == "" || f.Status == s.Status) &&
		(f.SourceID == 0 || f.SourceID == s.SourceID) &&
		(f.DestinationID == 0 || f.DestinationID == s.DestinationID) &&
		(f.ModelID == 0 || f.ModelID == s.ModelID)
}

// List returns a page of the syncs of the caller's workspace. With large syncs a page
// may have fewer than q.Size syncs and still not be the last one. With a filter that
// may be so too, and a page may be empty if the time of the request ends before a sync
// matches.
func (s *Service) List(ctx context.Context, who auth.Caller, q Query) (Page, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return Page{}, err
	}
	if q.Filter != (Filter{}) {
		return s.search(ctx, who.Workspace, q)
	}
	page, size, after := Page{}, 0, q.After
	for {
		// One more shows whether there is a next page.
		syncs, more, err := s.Store.List(ctx, who.Workspace, after, q.Size+1-len(page.Syncs))
		if err != nil {
			return Page{}, err
		}
		if page.add(syncs, q.Size, &size) || !more {
			return page, nil
		}
		after = syncs[len(syncs)-1].ID
	}
}

// search returns a page of the syncs that match a filter. What is read for it does not
// depend on what matches, so it continues while there is time, with fewer and fewer
// queries of the store for each sync that it reads.
func (s *Service) search(ctx context.Context, workspace string, q Query) (Page, error) {
	soon, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	last, cancel := context.WithTimeout(ctx, maxSearchTime)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		last, cancel = context.WithDeadline(last, deadline.Add(-searchMargin))
		defer cancel()
	}
	page, size, after := Page{}, 0, q.After
	for read := firstSearch; ; read = min(2*read, maxSearch) {
		found, err := s.Store.Search(ctx, workspace, Search{Filter: q.Filter, After: after, Read: read})
		switch {
		case err != nil && after != q.After && ctx.Err() == nil && (fault.Is(err, fault.Throttled) || fault.Is(err, fault.Unavailable)):
			page.Next = after // what was read is not read again
			return page, nil
		case err != nil:
			return Page{}, err
		case page.add(found.Syncs, q.Size, &size), !found.More:
			return page, nil
		}
		after = found.Last
		if len(page.Syncs) > 0 && soon.Err() != nil || last.Err() != nil {
			page.Next = after
			return page, nil
		}
	}
}

// add appends syncs to p and their sizes to size. It sets p.Next and returns true if the
// page is full before the last of them.
func (p *Page) add(syncs []Sync, most int, size *int) (full bool) {
	for _, sync := range syncs {
		*size += sync.Size()
		if n := len(p.Syncs); n == most || n > 0 && *size > maxPageSize {
			p.Next = p.Syncs[n-1].ID
			return true
		}
		p.Syncs = append(p.Syncs, sync)
	}
	return false
}
