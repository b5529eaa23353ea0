package main_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"syncplane/pkg/testkit/dynamotest"
)

// TestNames calls the commands for syncs and runs with the names that apply gives, over
// both storage backends, in a workspace with more syncs than a page of the list has.
func TestNames(t *testing.T) {
	t.Parallel()
	for backend, env := range map[string]func(t *testing.T) []string{
		"bolt": func(*testing.T) []string { return nil },
		"dynamodb": func(t *testing.T) []string {
			t.Helper()
			return []string{"STORE=dynamodb", "TABLE_NAME=names-" + rand.Text(), "AWS_ENDPOINT_URL_DYNAMODB=" + dynamotest.Endpoint(t)}
		},
	} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			dataDir := t.TempDir()
			s := serve(t, dataDir, append(env(t), "CREATE_LIMIT=10000/1s")...)
			testNames(t, []string{"DATA_DIR=" + dataDir, "SYNCPLANE_URL=" + s.address})
			s.stop(t, os.Interrupt)
		})
	}
}

func testNames(t *testing.T, env []string) {
	t.Helper()
	run := func(want int, args ...string) string {
		t.Helper()
		var stderr bytes.Buffer
		cmd := command(t, env, args...)
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		code := 0
		if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // Output returns no other
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != want || (want != 0) == (stderr.Len() == 0) {
			t.Fatalf("%q: got exit code %d, want %d: %s%s", args, code, want, out, &stderr)
		}
		return string(out) + strings.TrimSuffix(stderr.String(), "\n")
	}
	apply := func(names ...string) {
		t.Helper()
		var text strings.Builder
		for _, name := range names {
			fmt.Fprintf(&text, "---\n{name: %q, source_id: 1, destination_id: 2, model_id: 3, stream_name: contacts, sync_interval: 30}\n", name)
		}
		file := filepath.Join(t.TempDir(), "syncs.yaml")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		run(0, "apply", "-f", file)
	}
	// The oldest sync is on the last page.
	const uuid = "01900000-0000-7000-8000-000000000000" // also a name
	apply("contacts to crm", uuid)
	var others []string
	for i := range 110 {
		others = append(others, fmt.Sprintf("other-%d", i))
	}
	apply(others...)

	id := idOf(t, run(0, "syncs", "get", "contacts to crm", "--json"))
	for _, args := range [][]string{
		{"syncs", "update", "contacts to crm", "--sync-interval", "45"},
		{"syncs", "pause", "contacts to crm"},
		{"syncs", "resume", "contacts to crm"},
		{"syncs", "get", strings.ToUpper(id)},
	} {
		if got := run(0, args...); !strings.Contains(got, "id              "+id+"\nname            contacts to crm\n") {
			t.Errorf("%q: got %s", args, got)
		}
	}
	// The name stays when the configuration is replaced, and can be changed.
	update := func(configuration string) string {
		t.Helper()
		return run(0, "syncs", "update", id, "--configuration", configuration)
	}
	if got, want := update(`{"n":9007199254740993}`), `configuration   {"syncplane.name":"contacts to crm","n":9007199254740993}`+"\n"; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := update(`{"syncplane.name":null}`); !strings.Contains(got, "name            -\n") {
		t.Errorf("got %s", got)
	}
	if got := update(`{"syncplane.name":"contacts to crm"}`); !strings.Contains(got, "name            contacts to crm\n") {
		t.Errorf("got %s", got)
	}
	triggered := strings.Fields(run(0, "runs", "trigger", "contacts to crm"))[1]
	if got := run(0, "runs", "list", "contacts to crm"); !strings.HasPrefix(triggered, id+"/") || !strings.Contains(got, "\n"+triggered+"  queued") {
		t.Errorf("triggered %s, got %s", triggered, got)
	}
	if got := run(0, "syncs", "list"); !regexp.MustCompile(`(?m)^ID +NAME +STATUS .*(\n.*){111}\n` + id + ` +contacts to crm +pending +contacts `).MatchString(got) {
		t.Errorf("got %s", got)
	}

	// A sync that is created without apply can take a name.
	second := idOf(t, run(0, "syncs", "create", "--json", "--source-id", "1", "--destination-id", "2", "--model-id", "3", "--stream-name", "s",
		"--sync-interval", "30", "--configuration", `{"syncplane.name":"contacts to crm"}`))
	for want, args := range map[string][]string{
		`no sync has the name "nowhere"; syncplane syncs list prints the names and the IDs`:                                                    {"syncs", "get", "nowhere"},
		`no sync has the name "` + id[1:] + `"; syncplane syncs list prints the names and the IDs`:                                             {"syncs", "delete", id[1:]},
		`no sync has the name "Contacts to CRM"; syncplane syncs list prints the names and the IDs`:                                            {"runs", "trigger", "Contacts to CRM"},
		`2 syncs have the name "contacts to crm", ` + id + " and " + second + `; give one of these IDs, or delete the sync that is not wanted`: {"syncs", "delete", "contacts to crm"},
		"there is no sync with this id (not_found)":                                                                                            {"syncs", "get", uuid}, // a UUID is an ID
	} {
		if got := run(1, args...); got != "syncplane: "+want {
			t.Errorf("%q: got %s, want %s", args, got, want)
		}
	}
	run(0, "syncs", "delete", second)
	run(0, "syncs", "delete", "contacts to crm")
	if got := run(1, "syncs", "get", id); !strings.Contains(got, "not_found") {
		t.Errorf("got %s", got)
	}
	for _, args := range [][]string{{"syncs", "get", ""}, {"runs", "list", ""}} {
		if got, want := run(2, args...), "syncplane: the sync must be an ID or a name, as syncplane syncs list prints them, got an empty text"; got != want {
			t.Errorf("%q: got %s, want %s", args, got, want)
		}
	}
}
