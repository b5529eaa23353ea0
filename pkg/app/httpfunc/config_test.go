package httpfunc_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/cloud/apigateway"
)

// good returns an environment with every variable that the function needs in the
// cloud.
func good() map[string]string {
	return map[string]string{
		"AWS_REGION":            "eu-central-1",
		"AWS_ACCESS_KEY_ID":     "AKIA",
		"AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_SESSION_TOKEN":     "session",
		"TABLE_NAME":            "syncs",
		"TOKEN_ISSUER":          "https://issuer.example.com/",
		"TOKEN_AUDIENCE":        "syncplane",
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	env := good()
	env["API_URL"] = "https://api.example.com:443/orders/v1/"
	env["AWS_LAMBDA_INITIALIZATION_TYPE"] = "on-demand"
	got, err := httpfunc.Read(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	want := httpfunc.Config{
		Config:  app.Config{Region: "eu-central-1", TableName: "syncs", AccessKeyID: "AKIA", SecretAccessKey: "secret", SessionToken: "session", OnDemand: true, RunRetention: 30 * 24 * time.Hour},
		Issuers: []oidc.Config{{Issuer: "https://issuer.example.com/", Audiences: []string{"syncplane"}, WorkspaceClaim: "workspace_id"}},
		Mapping: apigateway.Mapping{Domain: "api.example.com", Path: "/orders/v1"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// several returns the variables for several issuers.
func several(list string) map[string]string {
	return map[string]string{"TOKEN_ISSUERS": list, "TOKEN_ISSUER": "", "TOKEN_AUDIENCE": "", "TOKEN_WORKSPACE_CLAIM": "workspace_id"}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		set  map[string]string
		want []string // parts of the error, nil for no error
	}{
		"good":                    {nil, nil},
		"local":                   {map[string]string{"AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000", "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, nil},
		"no table":                {map[string]string{"TABLE_NAME": ""}, []string{"TABLE_NAME is not set"}},
		"no region and no issuer": {map[string]string{"AWS_REGION": "", "TOKEN_ISSUER": ""}, []string{"AWS_REGION is not set", "TOKEN_ISSUER is not set"}},
		"no audience":             {map[string]string{"TOKEN_AUDIENCE": ""}, []string{"TOKEN_AUDIENCE is not set"}},
		"no credentials":          {map[string]string{"AWS_ACCESS_KEY_ID": ""}, []string{"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"}},
		"an invalid endpoint":     {map[string]string{"AWS_ENDPOINT_URL_DYNAMODB": "localhost:8000"}, []string{"AWS_ENDPOINT_URL_DYNAMODB must be an http or https address"}},
		"an invalid issuer":       {map[string]string{"TOKEN_ISSUER": "issuer"}, []string{"TOKEN_ISSUER must be an http or https address"}},
		"that with a key set":     {map[string]string{"TOKEN_ISSUER": "issuer", "TOKEN_JWKS": `{"keys":[]}`}, nil},
		"that with an address":    {map[string]string{"TOKEN_ISSUER": "issuer", "TOKEN_JWKS_URL": "https://issuer.example.com/jwks"}, nil},
		"an invalid key set":      {map[string]string{"TOKEN_JWKS": "keys"}, []string{"TOKEN_JWKS must be a JSON Web Key Set"}},
		"an invalid API_URL":      {map[string]string{"API_URL": "api.example.com"}, []string{"API_URL must be an http or https address"}},
		"several issuers":         {several(`[{"issuer":"https://a.example.com","audience":"a","workspaces":["a"]},{"issuer":"https://b.example.com","audience":"b","workspaces":["b"]}]`), nil},
		"faults of several issuers": {several(`[{"issuer":"https://a.example.com","audiences":"a","workspaces":["a"]},{"issuer":"b","audience":"b","workspaces":["a"]}]`), []string{
			`TOKEN_ISSUERS[0] has the unknown member "audiences"`, "TOKEN_ISSUERS[0].audience is missing",
			"TOKEN_ISSUERS[1].issuer must be an http or https address", "TOKEN_ISSUERS[1].workspaces must have no workspace of another issuer",
		}},
		"several issuers and one":       {map[string]string{"TOKEN_ISSUERS": `[{"issuer":"https://a.example.com","audience":"a"}]`}, []string{"TOKEN_ISSUERS and TOKEN_ISSUER, TOKEN_AUDIENCE"}},
		"several issuers and a key set": {map[string]string{"TOKEN_ISSUERS": `[{"issuer":"https://a.example.com","audience":"a"}]`, "TOKEN_ISSUER": "", "TOKEN_AUDIENCE": "", "TOKEN_JWKS": "{}"}, []string{"exclude each other"}},
		"an invalid list":               {several("x"), []string{"TOKEN_ISSUERS must be a JSON array of issuers"}},
		"a nested workspace claim":      {map[string]string{"TOKEN_WORKSPACE_CLAIM": "/tenant/id"}, nil},
		"an address as a claim":         {map[string]string{"TOKEN_WORKSPACE_CLAIM": "https://example.com/workspace"}, nil},
		"an invalid workspace claim":    {map[string]string{"TOKEN_WORKSPACE_CLAIM": "/tenant/"}, []string{`TOKEN_WORKSPACE_CLAIM must be the name of a claim, or a JSON Pointer such as /realm_access/roles to a nested one, in which ~1 stands for / and ~0 for ~, got "/tenant/"`}},
		"a key set and an address":      {map[string]string{"TOKEN_JWKS": `{"keys":[]}`, "TOKEN_JWKS_URL": "https://a.example.com"}, []string{"exclude each other"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := httpfunc.Read(func(name string) string {
				if value, ok := test.set[name]; ok {
					return value
				}
				return good()[name]
			})
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
			if err != nil && strings.Count(err.Error(), "\n")+1 != len(test.want) {
				t.Errorf("got %v, want %d errors", err, len(test.want))
			}
		})
	}
}

// TestSameVariablesEverywhere compares the variables of Config, template.yaml,
// env.local.json and docs/configuration.md.
func TestSameVariablesEverywhere(t *testing.T) {
	t.Parallel()
	names := func(file, pattern string) []string {
		text, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(text), -1) {
			found = append(found, match[1])
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	var read []string
	note := func(name string) string {
		// Lambda sets the first; the others are not the project's, and need no place there.
		if own := strings.HasPrefix(name, "AWS_ENDPOINT_URL_"); own || !strings.HasPrefix(name, "AWS_") {
			read = append(read, name)
		}
		return "x"
	}
	_, _ = httpfunc.Read(note)
	settings := []string{"GOGC", "GOMAXPROCS"} // of the Go runtime
	_, _ = eventfunc.ReadRelay(note)
	_, _ = eventfunc.ReadIntake(note)
	_, _ = eventfunc.ReadReconcile(note)
	slices.Sort(read)
	want := slices.Compact(read)
	for file, pattern := range map[string]string{
		"template.yaml":         `(?m)^ {10}([A-Z][A-Z_]+):`,
		"env.local.json":        `"([A-Z][A-Z_]+)":`,
		"docs/configuration.md": "(?m)^\\| `([A-Z][A-Z_]+)` \\|.*\\| function",
	} {
		got := slices.DeleteFunc(names(file, pattern), func(name string) bool { return slices.Contains(settings, name) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}

// TestRunRetention checks the bounds of how long runs are kept.
func TestRunRetention(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 30, "15": 15, "365": 365, "3653": 3653, "14": 0, "3654": 0, "30d": 0, "-1": 0, "1.5": 0} {
		env := good()
		env["RUN_RETENTION_DAYS"] = text
		got, err := httpfunc.Read(func(name string) string { return env[name] })
		if (err == nil) != (want > 0) || err == nil && got.RunRetention != time.Duration(want)*24*time.Hour {
			t.Errorf("%q: got %v, %v", text, got.RunRetention, err)
		}
	}
}
