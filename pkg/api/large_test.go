package api_test

import (
	"bytes"
	stdjson "encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
	"syncplane/pkg/app"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
	"syncplane/pkg/testkit/dynamotest"
)

// storageBackends returns an empty store of each storage backend.
func storageBackends(t *testing.T) map[string]syncs.Store {
	t.Helper()
	return map[string]syncs.Store{"bolt": openStorage(t, "bolt"), "dynamo": openStorage(t, "dynamo")}
}

// openStorage returns an empty store of a storage backend.
func openStorage(t *testing.T, backend string) syncs.Store {
	t.Helper()
	if backend == "dynamo" {
		return app.DynamoDB(dynamotest.NewTable(t))
	}
	return bolttest.Open(t)
}

// sendTo sends a request to an API over store, as a client of a workspace that
// may do everything.
func sendTo(t *testing.T, store syncs.Store, workspace, method, target, body string) (status int, header http.Header, text []byte) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+workspace+" syncs:read syncs:write")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set(api.RequestIDHeader, uuid.NewString())
	w := httptest.NewRecorder()
	apiOver(store, nil).ServeHTTP(w, r)
	text = w.Body.Bytes()
	if len(text) < syncs.MaxSize { // of many pages it takes longer than all the rest
		apitest.Check(t, r, w.Code, w.Header(), text)
	}
	return w.Code, w.Header(), text
}

// longCron returns a valid expression of this many characters, as early versions
// accepted.
func longCron(length int) string {
	const rest = " 6 * * *"
	text := "0" + strings.Repeat(",0", (length-len(rest)-1)/2) + rest
	return text + strings.Repeat(" ", length-len(text))
}

// escapedSize returns the length of text as encoding/json writes it into the response of
// a function. To write it takes longer than all the rest.
func escapedSize(text []byte) int {
	size := len(text) + len(`""`)
	for _, escapes := range []struct {
		size       int
		characters string
	}{
		{len(`\n`), "\"\\\b\f\n\r\t"},
		{len(`\u0000`), "<>&\u2028\u2029\x00\x01\x02\x03\x04\x05\x06\x07\x0b\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f"},
	} {
		for _, c := range escapes.characters {
			size += bytes.Count(text, []byte(string(c))) * (escapes.size - utf8.RuneLen(c))
		}
	}
	return size
}

// TestEscapedSize compares escapedSize with what encoding/json writes.
func TestEscapedSize(t *testing.T) {
	t.Parallel()
	characters := []rune{'\u2027', '\u2028', '\u2029', '\u202a', '🚀'}
	for c := range rune(0x100) {
		characters = append(characters, c)
	}
	for _, c := range characters {
		text := string(c) + "a"
		encoded, err := stdjson.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := escapedSize([]byte(text)); got != len(encoded) {
			t.Errorf("%+q: got %d, want %d", text, got, len(encoded))
		}
	}
}

// TestPagesFitALambda checks that every page of a list fits what a function may
// answer, whatever the syncs are that make it large, and that nothing is left
// out. Escaped, a character may take six bytes, so a page of several syncs must fit even
// if each of their bytes did: then a few syncs show a missing bound.
func TestPagesFitALambda(t *testing.T) {
	t.Parallel()
	const most = 6 << 20 // of a response (Lambda quotas, "invocation payload"); the headers are within what is left by the bound
	const escaped = 6    // bytes
	for name, test := range map[string]struct {
		backend      string
		syncs, pages int
		edit         func(s *syncs.Sync)
	}{
		"long cron expressions":    {"dynamo", 7, 3, func(s *syncs.Sync) { s.CronExpression = longCron(240_000) }},
		"cron expressions of tabs": {"bolt", 3, 2, func(s *syncs.Sync) { s.CronExpression = "0 6 * * *" + strings.Repeat("\t", 350_000) }},
		"configurations of quotes": {"bolt", 5, 2, func(s *syncs.Sync) { s.Configuration = `{"a":"` + strings.Repeat(`\"`, 105_000) + `"}` }},
		"configurations of lines":  {"bolt", 5, 2, func(s *syncs.Sync) { s.Configuration = `{` + strings.Repeat("\n", 210_000) + `}` }},
		"configurations of markup": {"bolt", 5, 2, func(s *syncs.Sync) { s.Configuration = `{"a":"` + strings.Repeat(`<`, 210_000) + `"}` }},
		"many that are middle-sized": {"bolt", 55, 2, func(s *syncs.Sync) {
			s.Configuration = `{"a":"` + strings.Repeat(`\"`, 4_000) + `"}`
			s.CronExpression = longCron(10_000)
			s.StreamName, s.CursorField = strings.Repeat("🚀", 255), strings.Repeat("\u0001", 255)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := openStorage(t, test.backend)
			s := storagetest.NewSync(t)
			test.edit(&s)
			if test.syncs*s.Size()*escaped <= most {
				t.Fatalf("%d syncs of %d bytes fit one page", test.syncs, s.Size())
			}
			var want []string
			for range test.syncs {
				s.ID = storagetest.NewSync(t).ID
				if err := store.Create(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				want = append(want, s.ID)
			}
			slices.Reverse(want)
			var got []string
			pages := 0
			for target := "/api/v1/syncs?page[size]=100"; target != ""; pages++ {
				status, _, text := sendTo(t, store, s.Workspace, http.MethodGet, target, "")
				if status != http.StatusOK {
					t.Fatalf("got %d %.300s", status, text)
				}
				if size := escapedSize(text); size > most {
					t.Errorf("a page has %d bytes", size)
				}
				var page struct {
					Data []struct {
						ID string `json:"id"`
					} `json:"data"`
					Links struct {
						Next string `json:"next"`
					} `json:"links"`
				}
				if err := json.Unmarshal(text, &page); err != nil {
					t.Fatal(err)
				}
				if n := len(page.Data); n > 1 && n*s.Size()*escaped > most {
					t.Errorf("a page has %d syncs of %d bytes", n, s.Size())
				}
				for _, s := range page.Data {
					got = append(got, s.ID)
				}
				target = page.Links.Next
			}
			if pages != test.pages {
				t.Errorf("got %d pages, want %d", pages, test.pages)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLargestSync checks both sides of the bound on a sync, over each storage backend: a
// change may make it so large, and not larger. Only a sync of an early version
// comes near it, since a request has at most 256 KiB.
func TestLargestSync(t *testing.T) {
	t.Parallel()
	for backend, store := range storageBackends(t) {
		t.Run(backend, func(t *testing.T) {
			s := storagetest.NewSync(t)
			s.Configuration = `{}`
			s.CronExpression = longCron(200_000)
			create := func() string {
				t.Helper()
				s.ID = storagetest.NewSync(t).ID
				if err := store.Create(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				return "/api/v1/syncs/" + s.ID
			}
			configuration := func(size int) string {
				const empty = `{"a":""}`
				return `{"a":"` + strings.Repeat("x", size-len(empty)) + `"}`
			}
			room := syncs.MaxSize - s.Size() + len(s.Configuration)
			for size, want := range map[int]int{room: 200, room + 1: 422, room + 30_000: 422} {
				status, header, text := sendTo(t, store, s.Workspace, http.MethodPatch, create(), `{"sync":{"configuration":`+configuration(size)+`}}`)
				if status != want || status == 422 && !bytes.Contains(text, []byte(`"code":"too_large"`)) || status == 422 && !bytes.Contains(text, []byte(`"pointer":"/sync"`)) {
					t.Errorf("%d bytes over: got %d %v %.500s, want %d", size-room, status, header, text, want)
				}
			}

			// One that is as large as can be is still paused, resumed and made
			// smaller.
			location := create()
			for _, step := range []struct {
				target, body string
				want         int
			}{
				{location, `{"sync":{"configuration":` + configuration(room) + `}}`, 200},
				{location + "/enable", `{"enable":false}`, 200},
				{location + "/enable", `{"enable":true}`, 200},
				{location, `{"sync":{"sync_interval":527040,"source_id":9007199254740991}}`, 200},
				{location, `{"sync":{"stream_name":"a longer name"}}`, 422},
				{location, `{"sync":{"stream_name":"a longer name","cron_expression":"0 6 * * *"}}`, 200},
			} {
				if status, _, text := sendTo(t, store, s.Workspace, http.MethodPatch, step.target, step.body); status != step.want {
					t.Errorf("%.100s: got %d %.300s, want %d", step.body, status, text, step.want)
				}
			}
		})
	}
}
