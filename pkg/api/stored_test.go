package api_test

import (
	stdjson "encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/schedule"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
	"syncplane/pkg/testkit/dynamotest"
)

// earlier returns a store of each storage backend that an early version has written.
func earlier(t *testing.T) map[string]syncs.Store {
	t.Helper()
	file := bolttest.OpenFile(t, storagetest.StoredFile(t))
	table := app.DynamoDB(dynamotest.NewTable(t))
	for _, item := range storagetest.StoredItems(t) {
		put := &dynamodb.PutItemInput{TableName: &table.Table, Item: map[string]types.AttributeValue{}}
		for name, value := range item {
			if text, ok := value["S"]; ok {
				put.Item[name] = &types.AttributeValueMemberS{Value: text}
			} else {
				put.Item[name] = &types.AttributeValueMemberN{Value: value["N"]}
			}
		}
		if _, err := table.Client.PutItem(t.Context(), put); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]syncs.Store{"bolt": file, "dynamo": table}
}

// TestEarlierSyncs checks that a sync which was created before a rule became
// stricter is listed, runs and can be changed.
func TestEarlierSyncs(t *testing.T) {
	t.Parallel()
	const list, workspace = "/api/v1/syncs", storagetest.StoredWorkspace
	for backend, store := range earlier(t) {
		t.Run(backend, func(t *testing.T) {
			do := func(want int, method, target, body string) (header http.Header, attributes map[string]any) {
				t.Helper()
				status, header, text := sendTo(t, store, workspace, method, target, body)
				if status != want {
					t.Fatalf("%s %s %.200s: got %d %.500s", method, target, body, status, text)
				}
				var document struct {
					Attributes map[string]any `json:"attributes"`
				}
				if err := json.Unmarshal(text, &document); err != nil {
					t.Fatal(err)
				}
				return header, document.Attributes
			}
			listed := map[string]bool{}
			_, _, text := sendTo(t, store, workspace, http.MethodGet, list+"?page[size]=100", "")
			var page struct {
				Data []struct {
					ID string `json:"id"`
				} `json:"data"`
			}
			if err := json.Unmarshal(text, &page); err != nil {
				t.Fatal(err)
			}
			for _, s := range page.Data {
				listed[s.ID] = true
			}
			for id, cron := range storagetest.Stored() {
				if !listed[id] {
					t.Errorf("%s is not listed", id)
				}
				location := list + "/" + id
				s, err := store.Read(t.Context(), workspace, id)
				if err != nil {
					t.Fatal(err)
				}
				want := schedule.Every(s.SyncInterval, s.ScheduledAt)
				if cron != "" {
					parsed, err := schedule.Parse(cron)
					if err != nil {
						t.Fatal(err)
					}
					want = schedule.At(parsed)
				}
				at := time.Date(2026, time.December, 1, 0, 0, 0, 0, time.UTC)
				if next, ok := s.NextRun(at); !ok || !next.Equal(want.Next(at)) {
					t.Errorf("%s: runs at %v, want %v", id, next, want.Next(at))
				}

				// What was read can be sent back, edited or not.
				header, read := do(200, http.MethodGet, location, "")
				if read["next_run_at"] == nil {
					t.Errorf("%s does not run: %v", id, read)
				}
				whole := func() string {
					body, err := stdjson.Marshal(map[string]any{"sync": read})
					if err != nil {
						t.Fatal(err)
					}
					return strings.Replace(string(body), `{"n":1}`, `{"n":1.0}`, 1)
				}
				again, same := do(200, http.MethodPut, location, whole())
				same["next_run_at"] = read["next_run_at"] // time has passed
				if diff := cmp.Diff(read, same); diff != "" || again.Get("Etag") != header.Get("Etag") {
					t.Errorf("%s: a change of nothing made %s: %s", id, again.Get("Etag"), diff)
				}
				read["source_id"] = 9.0
				_, changed := do(200, http.MethodPut, location, whole())
				read["updated_at"], read["next_run_at"] = changed["updated_at"], changed["next_run_at"]
				if diff := cmp.Diff(read, changed); diff != "" {
					t.Errorf("%s: %s", id, diff)
				}
				do(200, http.MethodPatch, location, `{"sync":{"model_id":10}}`)
				_, paused := do(200, http.MethodPatch, location+"/enable", `{"enable":false}`)
				if paused["status"] != "disabled" {
					t.Errorf("%s: it is %v", id, paused["status"])
				}
				_, resumed := do(200, http.MethodPatch, location+"/enable", `{"enable":true}`)
				if resumed["cron_expression"] != read["cron_expression"] || resumed["cursor_field"] != read["cursor_field"] || resumed["stream_name"] != read["stream_name"] {
					t.Errorf("%s: it is now %v", id, resumed)
				}

				// A new value must satisfy the current rules.
				const cursor = `"cursor_field":" \tid2\n","stream_name":"\u2800",`
				for fields, want := range map[string]string{
					cursor + `"cron_expression":"0 0 * * \u017fUN"`:                  "/sync/cron_expression /sync/cursor_field /sync/stream_name",
					`"cron_expression":"1` + strings.Repeat(",1", 200) + ` 6 * * *"`: "/sync/cron_expression",
				} {
					status, _, text := sendTo(t, store, workspace, http.MethodPatch, location, `{"sync":{`+fields+`}}`)
					var refused struct {
						Errors []struct {
							Source struct {
								Pointer string `json:"pointer"`
							} `json:"source"`
						} `json:"errors"`
					}
					if err := json.Unmarshal(text, &refused); err != nil {
						t.Fatal(err)
					}
					var pointers []string
					for _, e := range refused.Errors {
						pointers = append(pointers, e.Source.Pointer)
					}
					slices.Sort(pointers)
					if status != http.StatusUnprocessableEntity || strings.Join(pointers, " ") != want {
						t.Errorf("%s: %s: got %d %s", id, fields, status, text)
					}
				}
				_, fixed := do(200, http.MethodPatch, location, `{"sync":{"cron_expression":"5 4 * * *","stream_name":"contacts"}}`)
				if fixed["cron_expression"] != "5 4 * * *" || fixed["stream_name"] != "contacts" {
					t.Errorf("%s: it is now %v", id, fixed)
				}
				if status, _, text := sendTo(t, store, workspace, http.MethodDelete, location, ""); status != 204 {
					t.Errorf("%s: got %d %s", id, status, text)
				}
			}
		})
	}
}

// TestUnknownSchedule checks that a sync with a schedule which this version cannot
// read is shown without a next run, and can be changed.
func TestUnknownSchedule(t *testing.T) {
	t.Parallel()
	for backend, store := range storageBackends(t) {
		t.Run(backend, func(t *testing.T) {
			for name, edit := range map[string]func(s *syncs.Sync){
				"a macro":     func(s *syncs.Sync) { s.CronExpression = "@hourly" },
				"six fields":  func(s *syncs.Sync) { s.CronExpression = "0 0 6 * * *" },
				"no interval": func(s *syncs.Sync) { s.CronExpression, s.SyncInterval = "", 0 },
			} {
				s := storagetest.NewSync(t)
				edit(&s)
				if err := store.Create(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				location := "/api/v1/syncs/" + s.ID
				for _, step := range []struct {
					method, target, body string
					runs                 bool
				}{
					{http.MethodGet, location, "", false},
					{http.MethodPatch, location, `{"sync":{"source_id":9}}`, false},
					{http.MethodPatch, location, `{"sync":{"cron_expression":"0 6 * * *"}}`, true},
				} {
					r := httptest.NewRequestWithContext(t.Context(), step.method, step.target, strings.NewReader(step.body))
					server := serverOver(store, nil)
					r.Header.Set("Authorization", "Bearer "+server.Token(t, s.Workspace, "syncs:read", "syncs:write"))
					r.Header.Set("Content-Type", "application/json")
					response, err := server.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					text, err := io.ReadAll(response.Body)
					if err != nil {
						t.Fatal(err)
					}
					if runs := strings.Contains(string(text), "next_run_at"); response.StatusCode != 200 || runs != step.runs {
						t.Errorf("%s: %s %s: got %d %s", name, step.method, step.body, response.StatusCode, text)
					}
				}
			}
		})
	}
}
