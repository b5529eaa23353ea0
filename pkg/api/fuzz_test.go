package api_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
	"syncplane/pkg/syncs"
)

// memory is a store of one sync, for fuzzers, which have no time for a disk.
type memory struct{ syncs.Store }

func storedSync() syncs.Sync {
	at := time.Date(2026, time.November, 23, 20, 6, 0, 0, time.UTC)
	return syncs.Sync{
		Workspace: "acme", ID: syncID, Version: 1, SourceID: 1, DestinationID: 2, ModelID: 3, Configuration: "{}", ScheduleType: "automated",
		SyncMode: "full_refresh", SyncInterval: 30, SyncIntervalUnit: "minutes", StreamName: "contacts", Status: syncs.Pending, CreatedAt: at, UpdatedAt: at,
	}
}

func (memory) Create(context.Context, syncs.Sync) error { return nil }

func (memory) CreateOnce(_ context.Context, s syncs.Sync, _ syncs.IdempotencyKey) (syncs.Sync, error) {
	return s, nil
}

func (memory) Read(context.Context, string, string) (syncs.Sync, error) { return storedSync(), nil }

func (memory) List(context.Context, string, string, int) ([]syncs.Sync, bool, error) {
	return []syncs.Sync{storedSync()}, false, nil
}

func (memory) Search(context.Context, string, syncs.Search) (syncs.Found, error) {
	return syncs.Found{Syncs: []syncs.Sync{storedSync()}, Last: syncID}, nil
}

func (memory) Replace(context.Context, syncs.Sync) error { return nil }

// answers returns a function that has an API over memory answer a request, and
// checks that the status is one of these and the response as documented.
func answers(statuses ...int) func(t *testing.T, r *http.Request) {
	handler := api.New(api.Config{
		Syncs:  &syncs.Service{Store: memory{}, Now: time.Now, NewID: func() (string, error) { return syncID, nil }},
		Caller: caller, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	return func(t *testing.T, r *http.Request) {
		t.Helper()
		r.Header.Set("Authorization", "Bearer acme syncs:read syncs:write")
		r.Header.Set(api.RequestIDHeader, requestID)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		apitest.Check(t, r, w.Code, w.Header(), w.Body.Bytes())
		if !slices.Contains(statuses, w.Code) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	}
}

// FuzzCreate checks that the response to any body is as documented.
func FuzzCreate(f *testing.F) {
	f.Add([]byte(goodBody))
	answer := answers(200, 400, 413, 422)
	f.Fuzz(func(t *testing.T, body []byte) { answer(t, good(string(body))) })
}

// FuzzChange does the same for a change.
func FuzzChange(f *testing.F) {
	f.Add([]byte(`{"sync":{"source_id":7,"cron_expression":null}}`))
	f.Add([]byte(`{"sync":{"cursor_field":"id"}}`))
	f.Add([]byte(`{"sync":{}}`))
	answer := answers(200, 400, 413, 422)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := good(string(body))
		r.Method, r.URL.Path = http.MethodPatch, "/api/v1/syncs/"+syncID
		answer(t, r)
	})
}

// FuzzIdempotencyKey does the same for the header of a create.
func FuzzIdempotencyKey(f *testing.F) {
	for _, key := range []string{"k", `"a\"\\"`, `"a`, "", " ", "ä", strings.Repeat("k", 256)} {
		f.Add(key)
	}
	answer := answers(200, 400)
	f.Fuzz(func(t *testing.T, key string) {
		r := good(goodBody)
		r.Header["Idempotency-Key"] = []string{key}
		answer(t, r)
	})
}

// FuzzCursor does the same for the place in a list, and for the whole query.
func FuzzCursor(f *testing.F) {
	for _, cursor := range []string{"", "x", "AaIK4NWrd_6PJh5ADSN0Z7gjj5EFbfQT", "AaIK4NWrd_6PJh5ADSN0Z7gjj5EFbfQT=", strings.Repeat("A", 32)} {
		f.Add(cursor, "")
		f.Add("", cursor)
	}
	f.Add("", "page[size]=5&filter[status]=pending")
	answer := answers(200, 400)
	f.Fuzz(func(t *testing.T, cursor, query string) {
		r := good("")
		r.Method = http.MethodGet
		r.URL.RawQuery = query
		if cursor != "" {
			r.URL.RawQuery = "page[after]=" + url.QueryEscape(cursor)
		}
		answer(t, r)
	})
}
