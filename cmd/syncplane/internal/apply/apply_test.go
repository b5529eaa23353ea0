package apply_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/cmd/syncplane/internal/apply"
	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
	"syncplane/pkg/client"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
)

// harness is an API over a store.
type harness struct {
	store  syncs.Store
	server *httptest.Server
	client *client.ClientWithResponses

	workspace atomic.Value // of the caller, a string

	read sync.Map // what apply.Read returns for a file, which no apply changes

	// around, if set, handles a request in place of the API, which is next.
	around atomic.Pointer[func(w http.ResponseWriter, r *http.Request, next http.Handler)]
}

// overEach runs a test over both storage backends.
func overEach(t *testing.T, test func(t *testing.T, h *harness)) {
	t.Helper()
	t.Parallel()
	t.Run("bolt", func(t *testing.T) {
		t.Parallel()
		store, err := bolt.Open(filepath.Join(t.TempDir(), "syncs.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		test(t, newHarness(t, store))
	})
	t.Run("dynamodb", func(t *testing.T) {
		t.Parallel()
		test(t, newHarness(t, app.DynamoDB(dynamotest.NewTable(t))))
	})
}

func newHarness(t *testing.T, store syncs.Store) *harness {
	t.Helper()
	h := &harness{store: store}
	h.workspace.Store("acme")
	caller := func(context.Context, string) (auth.Caller, error) {
		return auth.Caller{Workspace: h.workspace.Load().(string), Scopes: []string{string(auth.ReadSyncs), string(auth.WriteSyncs)}}, nil
	}
	api := httpfunc.API(httpfunc.Deps{Store: store, Caller: caller, Log: app.Logger(io.Discard, "")})
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if around := h.around.Load(); around != nil {
			(*around)(w, r, api)
			return
		}
		api.ServeHTTP(w, r)
	}))
	t.Cleanup(h.server.Close)
	var err error
	if h.client, err = client.NewClientWithResponses(h.server.URL, client.WithHTTPClient(h.server.Client())); err != nil {
		t.Fatal(err)
	}
	return h
}

// apply applies a file and returns the counts and what was printed.
func (h *harness) apply(ctx context.Context, text string, prune bool) (counts, printed string, err error) {
	read, found := h.read.Load(text)
	if !found {
		if read, err = apply.Read(apply.File{Name: "syncs.yaml", Text: []byte(text)}); err != nil {
			return "", "", err
		}
		h.read.Store(text, read)
	}
	var out bytes.Buffer
	a := apply.Applier{Client: h.client, Out: &out, Prune: prune}
	report, err := a.Apply(ctx, read.([]apply.Sync))
	return report.String(), out.String(), err
}

// must applies a file and checks the counts.
func (h *harness) must(t *testing.T, text, want string, prune bool) (printed string) {
	t.Helper()
	counts, printed, err := h.apply(t.Context(), text, prune)
	if err != nil || counts != want {
		t.Fatalf("got %v, %s, want %s:\n%s", err, counts, want, printed)
	}
	return printed
}

// all returns the syncs of the workspace by their names.
func (h *harness) all(t *testing.T) map[string][]syncs.Sync {
	t.Helper()
	all := map[string][]syncs.Sync{}
	after := ""
	for more := true; more; {
		var page []syncs.Sync
		var err error
		if page, more, err = h.store.List(t.Context(), h.workspace.Load().(string), after, 100); err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			_, rest, _ := strings.Cut(s.Configuration, `"syncplane.name":"`)
			name, _, _ := strings.Cut(rest, `"`)
			all[name] = append(all[name], s)
			after = s.ID
		}
	}
	return all
}

// file returns a file of many syncs with an interval.
func file(many, interval int) string {
	var text strings.Builder
	text.WriteString("syncs:\n")
	for i := range many {
		fmt.Fprintf(&text, "- {name: sync-%d, source_id: 1, destination_id: 2, model_id: 3, stream_name: contacts, sync_interval: %d, configuration: {n: 9007199254740993, d: 1.10}, enabled: %t}\n", i, interval, i%5 > 0)
	}
	return text.String()
}

// TestApply creates, changes, pauses, resumes and deletes, and applies each file again.
func TestApply(t *testing.T) {
	overEach(t, func(t *testing.T, h *harness) {
		first := good + "cron_expression: 0 6 * * *\nconfiguration: {n: 9007199254740993, d: 0.10, password: hunter2, o: {x: 1, y: [1]}}\n"
		other := strings.Replace(good, "name: a", "name: b", 1) + "cursor_field: updated_at\nenabled: false\n"
		printed := h.must(t, first+"---\n"+other, "2 created, 0 changed, 0 deleted, 0 unchanged", false)
		if !strings.Contains(printed, "+ create a\n") || !strings.Contains(printed, "    configuration.password: (hidden)\n") || strings.Contains(printed, "hunter2") {
			t.Errorf("got %s", printed)
		}
		if diff := cmp.Diff("", h.must(t, first+"---\n"+other, "0 created, 0 changed, 0 deleted, 2 unchanged", true)); diff != "" {
			t.Error(diff)
		}
		before := h.all(t)
		a := before["a"][0]
		if a.Configuration != `{"syncplane.name":"a","n":9007199254740993,"d":0.10,"password":"hunter2","o":{"x":1,"y":[1]}}` || a.Version != 1 || before["b"][0].Status != syncs.Disabled {
			t.Errorf("got %+v", before)
		}

		// The order of members, the notation of numbers and white space make no difference.
		same := strings.Replace(strings.Replace(first, "{n: 9007199254740993, d: 0.10,", "{d: 1.0e-1, n: 9007199254740993.0,", 1), "stream_name: contacts", `stream_name: " contacts "`, 1)
		h.must(t, same, "0 created, 0 changed, 0 deleted, 1 unchanged", false)

		edited := strings.NewReplacer("9007199254740993", "9007199254740994", "x: 1", "x: 2", "cron_expression: 0 6 * * *\n", "", "sync_interval: 30", "sync_interval: 45").Replace(first)
		printed = h.must(t, edited, "0 created, 1 changed, 0 deleted, 0 unchanged", false)
		want := "~ change a (" + a.ID + ")\n    configuration.n: 9007199254740993 → 9007199254740994\n    configuration.o.x: 1 → 2\n    sync_interval: 30 → 45\n    cron_expression: \"0 6 * * *\" → none\n"
		if diff := cmp.Diff(want, printed); diff != "" {
			t.Error(diff)
		}
		h.must(t, edited, "0 created, 0 changed, 0 deleted, 1 unchanged", false)
		if got := h.all(t)["a"][0]; got.Version != 2 || got.CronExpression != "" || got.SyncInterval != 45 {
			t.Errorf("got %+v", got)
		}

		h.must(t, strings.Replace(other, "enabled: false", "enabled: true", 1), "0 created, 1 changed, 0 deleted, 0 unchanged", false)
		h.must(t, strings.Replace(other, "enabled: false\n", "", 1), "0 created, 0 changed, 0 deleted, 1 unchanged", false)
		if got := h.all(t)["b"][0].Status; got != syncs.Pending {
			t.Errorf("got %s", got)
		}

		// Prune leaves a sync without a name.
		body := `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"name":"z"},"stream_name":"c","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}}`
		if r, err := h.client.CreateSyncWithBodyWithResponse(t.Context(), nil, "application/json", strings.NewReader(body)); err != nil || r.JSON200 == nil {
			t.Fatalf("%v: %s", err, r.Body)
		}
		printed = h.must(t, other, "0 created, 1 changed, 1 deleted, 0 unchanged", true)
		if !strings.Contains(printed, "- delete a ("+a.ID+")\n") {
			t.Errorf("got %s", printed)
		}
		h.must(t, "syncs: []", "0 created, 0 changed, 1 deleted, 0 unchanged", true)
		if got := h.all(t); len(got) != 1 || len(got[""]) != 1 {
			t.Errorf("got %+v", got)
		}
		for range 3 { // within the life of the idempotency keys
			h.must(t, first+"---\n"+other, "2 created, 0 changed, 0 deleted, 0 unchanged", true)
			h.must(t, "syncs: []", "0 created, 0 changed, 2 deleted, 0 unchanged", true)
		}
	})
}

// TestApplyRefuses checks that a sync that cannot be changed is reported and does not
// stop the others.
func TestApplyRefuses(t *testing.T) {
	overEach(t, func(t *testing.T, h *harness) {
		other := strings.Replace(good, "name: a", "name: b", 1)
		h.must(t, good+"cursor_field: x\n", "1 created, 0 changed, 0 deleted, 0 unchanged", false)
		counts, _, err := h.apply(t.Context(), good+"cursor_field: y\n---\n"+other, false)
		if err == nil || !strings.Contains(err.Error(), `sync "a": cursor_field cannot be changed`) || counts != "1 created, 0 changed, 0 deleted, 0 unchanged, 1 failed" {
			t.Errorf("got %v, %s", err, counts)
		}
		copied := h.all(t)["b"][0]
		copied.ID = "01900000-0000-7000-8000-000000000000"
		if err := h.store.Create(t.Context(), copied); err != nil {
			t.Fatal(err)
		}
		if _, _, err := h.apply(t.Context(), other, false); err == nil || !strings.Contains(err.Error(), `sync "b": there are 2 syncs with this name, `+copied.ID) {
			t.Errorf("got %v", err)
		}
	})
}

// TestApplyEndedAnywhere ends an apply at each of its requests, before and after the
// API handled it, and checks that the next one completes it.
func TestApplyEndedAnywhere(t *testing.T) {
	overEach(t, func(t *testing.T, h *harness) {
		for _, handled := range []bool{false, true} {
			for last := 1; ; last++ {
				// One sync to change and two to delete, in a workspace of this round alone,
				// in which no idempotency key is in use.
				text := file(3, 30)
				h.workspace.Store(fmt.Sprintf("round-%t-%d", handled, last))
				for _, name := range []string{"sync-0", "gone-0", "gone-1"} {
					s := storagetest.NewSync(t)
					s.Workspace, s.Configuration, s.CursorField = h.workspace.Load().(string), `{"syncplane.name":"`+name+`"}`, ""
					if err := h.store.Create(t.Context(), s); err != nil {
						t.Fatal(err)
					}
				}
				var requests atomic.Int64
				around := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
					n := requests.Add(1)
					if n < int64(last) || n == int64(last) && handled {
						recorder := httptest.NewRecorder()
						next.ServeHTTP(recorder, r)
						if n < int64(last) {
							maps.Copy(w.Header(), recorder.Header())
							w.WriteHeader(recorder.Code)
							_, _ = w.Write(recorder.Body.Bytes())
							return
						}
					}
					panic(http.ErrAbortHandler) // the connection is lost
				}
				h.around.Store(&around)
				_, _, err := h.apply(t.Context(), text, true)
				h.around.Store(nil)
				if _, _, err := h.apply(t.Context(), text, true); err != nil {
					t.Fatalf("after request %d: %v", last, err)
				}
				h.must(t, text, "0 created, 0 changed, 0 deleted, 3 unchanged", true)
				got := h.all(t)
				if len(got) != 3 {
					t.Fatalf("after request %d: got %+v", last, got)
				}
				for name, found := range got {
					if len(found) != 1 {
						t.Fatalf("after request %d there are %d syncs %s", last, len(found), name)
					}
				}
				if err == nil {
					if last < 8 {
						t.Errorf("an apply took only %d requests", last-1)
					}
					break
				}
			}
		}
	})
}

// TestApplyAtOnce applies the same file and another one several times at once, while
// another writer changes the syncs. No sync is created twice, and a last apply makes
// them those of its file.
func TestApplyAtOnce(t *testing.T) {
	overEach(t, func(t *testing.T, h *harness) {
		const many = 8
		ctx := t.Context()
		var writer, all sync.WaitGroup
		// The other writer changes a sync for every few requests of the applies, so that it
		// does not take the processor from them, however fast the storage is.
		const pace = 4
		var requests, changed atomic.Int64
		turns := make(chan struct{}, 1)
		around := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Header.Get("Other-Writer") == "" && requests.Add(1)%pace == 0 {
				select {
				case turns <- struct{}{}:
				default:
				}
			}
			next.ServeHTTP(w, r)
		}
		h.around.Store(&around)
		other := func(_ context.Context, r *http.Request) error {
			r.Header.Set("Other-Writer", "true")
			return nil
		}
		writer.Go(func() {
			for range turns { // the list takes a turn, too, as it may be empty
				page, err := h.client.ListSyncsWithResponse(ctx, nil, other)
				if err != nil || page.JSON200 == nil {
					continue
				}
				for i, s := range page.JSON200.Data {
					if _, more := <-turns; !more {
						return
					}
					name := fmt.Sprintf("other-%d", changed.Add(1))
					_, _ = h.client.ChangeSyncWithResponse(ctx, s.ID, nil, client.ChangeSync{Sync: client.SyncChange{StreamName: &name}}, other)
					_, _ = h.client.EnableSyncWithResponse(ctx, s.ID, nil, client.Enable{Enable: i%2 == 0}, other)
				}
			}
		})
		for i := range 6 {
			all.Go(func() {
				for range 3 {
					if _, printed, err := h.apply(ctx, file(many, 30+i/3), i%2 == 0); err != nil {
						t.Errorf("%v\n%s", err, printed)
					}
				}
			})
		}
		all.Wait()
		h.around.Store(nil)
		close(turns)
		writer.Wait()
		if changed.Load() == 0 {
			t.Error("the other writer changed nothing")
		}
		for name, found := range h.all(t) {
			if len(found) != 1 {
				t.Errorf("there are %d syncs %s", len(found), name)
			}
		}
		if counts, printed, err := h.apply(t.Context(), file(many, 30), true); err != nil || !strings.HasPrefix(counts, "0 created") {
			t.Errorf("got %v, %s\n%s", err, counts, printed)
		}
		h.must(t, file(many, 30), "0 created, 0 changed, 0 deleted, 8 unchanged", true)
		for name, found := range h.all(t) {
			if s := found[0]; s.StreamName != "contacts" || !strings.HasSuffix(s.Configuration, `,"n":9007199254740993,"d":1.10}`) {
				t.Errorf("%s: got %+v", name, s)
			}
		}
	})
}

// TestApplyCreatesAndDeletesAtOnce has some applies create what others delete. Whatever
// is left has each name once.
func TestApplyCreatesAndDeletesAtOnce(t *testing.T) {
	overEach(t, func(t *testing.T, h *harness) {
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for range 5 {
					text := file(4, 30+i)
					if i == 0 {
						text = "syncs: []"
					}
					if _, printed, err := h.apply(t.Context(), text, true); err != nil {
						t.Errorf("%v\n%s", err, printed)
					}
				}
			})
		}
		all.Wait()
		for name, found := range h.all(t) {
			if len(found) != 1 {
				t.Errorf("there are %d syncs %s", len(found), name)
			}
		}
		if _, _, err := h.apply(t.Context(), file(4, 30), true); err != nil {
			t.Fatal(err)
		}
		h.must(t, file(4, 30), "0 created, 0 changed, 0 deleted, 4 unchanged", true)
	})
}

// TestApplySettles has another writer create a sync with the same name, but without the
// idempotency key, between the list and the create. The second one is deleted, and the
// first one changed.
func TestApplySettles(t *testing.T) {
	overEach(t, func(t *testing.T, h *harness) {
		var once sync.Once
		around := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
			if r.Method == http.MethodPost {
				once.Do(func() {
					recorder := httptest.NewRecorder()
					body := `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"syncplane.name":"a"},"stream_name":"c","sync_mode":"full_refresh","sync_interval":99,"sync_interval_unit":"minutes"}}`
					first := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/v1/syncs", strings.NewReader(body))
					first.Header.Set("Content-Type", "application/json")
					next.ServeHTTP(recorder, first)
					if recorder.Code != http.StatusOK {
						t.Errorf("got %d %s", recorder.Code, recorder.Body)
					}
				})
			}
			next.ServeHTTP(w, r)
		}
		h.around.Store(&around)
		h.must(t, good, "0 created, 1 changed, 0 deleted, 0 unchanged", false)
		if got := h.all(t)["a"]; len(got) != 1 || got[0].SyncInterval != 30 || got[0].Version != 2 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestApplyStops checks that a canceled apply ends and returns the reason.
func TestApplyStops(t *testing.T) {
	overEach(t, func(t *testing.T, h *harness) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := h.apply(ctx, good, false); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
