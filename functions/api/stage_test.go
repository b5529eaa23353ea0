package main_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"syncplane/pkg/local/server"
	"syncplane/pkg/testkit/dynamotest"
)

// TestNamedStage follows every link in the responses of the function under a named
// stage, through a gateway without other paths.
func TestNamedStage(t *testing.T) {
	function := start(t, &bytes.Buffer{})
	key, now := server.SampleKey(), time.Now()
	for _, stage := range []string{"prod", "api"} {
		t.Run(stage, func(t *testing.T) {
			token, err := key.Token(server.Claims{Workspace: "demo-" + stage, Scopes: []string{"syncs:read", "syncs:write"}, Issued: now, Expires: now.Add(time.Hour)})
			if err != nil {
				t.Fatal(err)
			}
			base := "/" + stage
			follow := func(status int, method, link, body string) (http.Header, string) {
				t.Helper()
				r := httptest.NewRequestWithContext(t.Context(), method, link, strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("Accept", "application/vnd.api+json")
				r.Header.Set("X-Forwarded-Prefix", "//evil.example.com")
				w := httptest.NewRecorder()
				server.Gateway{Function: function, Now: time.Now, Stage: stage}.ServeHTTP(w, r)
				if w.Code != status {
					t.Errorf("%s %s: got %d %s, want %d", method, link, w.Code, w.Body, status)
				}
				if strings.Contains(w.Body.String(), "evil") {
					t.Errorf("%s %s: got %s", method, link, w.Body)
				}
				return w.Header(), w.Body.String()
			}
			for range 3 {
				header, body := follow(201, "POST", base+"/api/v1/syncs", createBody)
				location := header.Get("Location")
				var created struct {
					Data struct {
						Links struct {
							Self string `json:"self"`
						} `json:"links"`
					} `json:"data"`
				}
				if err := json.Unmarshal([]byte(body), &created); err != nil || created.Data.Links.Self != location || !strings.HasPrefix(location, base+"/api/v1/syncs/") {
					t.Errorf("Location is %s in %s", location, body)
				}
				follow(200, "GET", location, "")
				follow(200, "PATCH", location+"/enable", `{"enable":false}`)
			}
			seen, next := 0, base+"/api/v1/syncs?page%5Bsize%5D=2"
			for next != "" && seen < 10 {
				_, body := follow(200, "GET", next, "")
				var page struct {
					Data []struct {
						Links struct {
							Self string `json:"self"`
						} `json:"links"`
					} `json:"data"`
					Links struct {
						Self string `json:"self"`
						Next string `json:"next"`
					} `json:"links"`
				}
				if err := json.Unmarshal([]byte(body), &page); err != nil {
					t.Fatalf("%v: %s", err, body)
				}
				if _, again := follow(200, "GET", page.Links.Self, ""); again != body {
					t.Errorf("links.self returns %s, want %s", again, body)
				}
				for _, sync := range page.Data {
					follow(200, "GET", sync.Links.Self, "")
					seen++
				}
				next = page.Links.Next
			}
			if seen != 3 {
				t.Errorf("the pages have %d syncs, want 3", seen)
			}
			follow(404, "GET", base+"/api/v1/nothing", "")
		})
	}
}

// TestCustomDomain checks the links at the custom domain in API_URL, at another one and
// at the API's own domain.
func TestCustomDomain(t *testing.T) {
	function := startOn(t, dynamotest.NewTable(t), &bytes.Buffer{}, map[string]string{"API_URL": "https://api.example.com/orders/"})
	sample, err := os.ReadFile(filepath.Join(root, "events", "create-sync-named-stage.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ domain, stage, path, want string }{
		{"api.example.com", "$default", "/api/v1/syncs", "/orders/api/v1/syncs/"},
		{"api.example.com", "prod", "/prod/api/v1/syncs", "/orders/api/v1/syncs/"},
		{"www.example.com", "prod", "/prod/api/v1/syncs", "/api/v1/syncs/"},
		{"", "prod", "/prod/api/v1/syncs", "/prod/api/v1/syncs/"},
		{"", "$default", "/api/v1/syncs", "/api/v1/syncs/"},
	} {
		var event events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(sample, &event); err != nil {
			t.Fatal(err)
		}
		event.RawPath, event.RequestContext.Stage = test.path, test.stage
		if test.domain != "" {
			event.RequestContext.DomainName = test.domain
			event.RequestContext.DomainPrefix, _, _ = strings.Cut(test.domain, ".")
		}
		payload, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		text, err := function.Invoke(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		var response events.APIGatewayV2HTTPResponse
		if err := json.Unmarshal(text, &response); err != nil || response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Headers["Location"], test.want) {
			t.Errorf("%+v: got %s", test, text)
		}
	}
}
