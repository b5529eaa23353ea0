package syncs_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/fault"
	"syncplane/pkg/syncs"
)

// rows is a store of many syncs whose searches take time. It numbers the syncs from the
// newest, 0.
type rows struct {
	syncs.Store
	count    int
	matching int // every so many syncs match
	took     time.Duration
	failing  int // the number of the search that fails, from 1
	searches int
}

func (r *rows) Search(ctx context.Context, _ string, search syncs.Search) (syncs.Found, error) {
	if r.searches++; r.searches == r.failing {
		return syncs.Found{}, fault.New(fault.Throttled, "throttled", "slow down")
	}
	timer := time.NewTimer(r.took)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return syncs.Found{}, ctx.Err()
	}
	next := 0
	if search.After != "" {
		last, err := strconv.Atoi(search.After)
		if err != nil {
			return syncs.Found{}, err
		}
		next = last + 1
	}
	end := min(next+search.Read, r.count)
	found := syncs.Found{More: end < r.count}
	if next < end {
		found.Last = strconv.Itoa(end - 1)
	}
	for match := next - next%r.matching + r.matching - 1; match < end; match += r.matching {
		found.Syncs = append(found.Syncs, syncs.Sync{ID: strconv.Itoa(match)})
	}
	return found, nil
}

// list lists with a filter and returns the page and the time that it took.
func list(t *testing.T, store *rows, after string, deadline time.Duration) (syncs.Page, time.Duration) {
	t.Helper()
	ctx := t.Context()
	if deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, deadline)
		defer cancel()
	}
	start := time.Now()
	service := &syncs.Service{Store: store}
	page, err := service.List(ctx, auth.Caller{Workspace: "acme", Scopes: []string{string(auth.ReadSyncs)}}, syncs.Query{
		Size: 100, After: after, Filter: syncs.Filter{ModelID: 7},
	})
	if err != nil {
		t.Fatal(err)
	}
	return page, time.Since(start)
}

// TestSearchUsesItsTime checks how long a request with a filter reads, with a store of
// which each search takes 100 ms.
func TestSearchUsesItsTime(t *testing.T) {
	t.Parallel()
	const took = 100 * time.Millisecond
	for name, test := range map[string]struct {
		store    rows
		deadline time.Duration
		most     time.Duration
		least    int // syncs on the page
		next     bool
	}{
		"a full page":              {rows{count: 1_000_000, matching: 2, took: took}, 0, took, 100, true},
		"the end":                  {rows{count: 1000, matching: 10, took: took}, 0, 5 * took, 100, false},
		"a page that is not full":  {rows{count: 1_000_000, matching: 10_000, took: took}, 0, 1100 * time.Millisecond, 4, true},
		"no match for a long time": {rows{count: 1_000_000, matching: 200_000, took: took}, 29 * time.Second, 3 * time.Second, 1, true},
		"no match in time":         {rows{count: 10_000_000, matching: 10_000_000, took: took}, 29 * time.Second, 10*time.Second + took, 0, true},
		"a near deadline":          {rows{count: 10_000_000, matching: 10_000_000, took: took}, 4 * time.Second, 2*time.Second + took, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := test.store
				page, spent := list(t, &store, "", test.deadline)
				if spent > test.most || len(page.Syncs) < test.least || (page.Next != "") != test.next {
					t.Errorf("got %d syncs and next %q after %v", len(page.Syncs), page.Next, spent)
				}
			})
		})
	}
}

// TestSearchReadsAMillion checks how many requests read the syncs of which 1 in 10,000
// matches, and that they yield each once.
func TestSearchReadsAMillion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &rows{count: 1_000_000, matching: 10_000, took: 50 * time.Millisecond} // 1 MB of DynamoDB takes less
		requests, got, after := 0, 0, ""
		for {
			page, _ := list(t, store, after, 0)
			requests++
			for _, s := range page.Syncs {
				if got++; s.ID != fmt.Sprint(got*10_000-1) {
					t.Fatalf("match %d is %s", got, s.ID)
				}
			}
			if after = page.Next; after == "" {
				break
			}
		}
		if got != 100 || requests > 10 {
			t.Errorf("got %d syncs with %d requests", got, requests)
		}
	})
}

// TestSearchKeepsItsProgress checks that a request whose store fails after some searches
// returns what it has found, so that the next one continues there.
func TestSearchKeepsItsProgress(t *testing.T) {
	t.Parallel()
	store := &rows{count: 10_000, matching: 100, failing: 3}
	page, _ := list(t, store, "", 0)
	if len(page.Syncs) != 7 || page.Next != "749" {
		t.Errorf("got %d syncs, next %q", len(page.Syncs), page.Next)
	}
	service := &syncs.Service{Store: &rows{count: 1, matching: 1, failing: 1}}
	_, err := service.List(t.Context(), auth.Caller{Workspace: "acme", Scopes: []string{string(auth.ReadSyncs)}}, syncs.Query{Size: 1, Filter: syncs.Filter{ModelID: 7}})
	if !fault.Is(err, fault.Throttled) {
		t.Errorf("got %v", err)
	}
}
