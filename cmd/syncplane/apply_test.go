package main_test

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"syncplane/pkg/testkit/dynamotest"
)

// manyNamed returns a file of syncs.
func manyNamed(many, interval int) string {
	var text strings.Builder
	for i := range many {
		fmt.Fprintf(&text, "---\n{name: sync-%d, source_id: 1, destination_id: 2, model_id: 3, stream_name: contacts, sync_interval: %d, configuration: {n: 9007199254740993}}\n", i, interval)
	}
	return text.String()
}

// TestApplyKilled kills an apply while it creates and while it changes, has two at once
// complete it, and finds each sync once, over both storage backends.
func TestApplyKilled(t *testing.T) {
	t.Parallel()
	for name, backend := range map[string]func(t *testing.T) []string{
		"bolt": func(*testing.T) []string { return nil },
		"dynamodb": func(t *testing.T) []string {
			t.Helper()
			return []string{"STORE=dynamodb", "TABLE_NAME=apply-" + rand.Text(), "AWS_ENDPOINT_URL_DYNAMODB=" + dynamotest.Endpoint(t)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const many = 60
			dataDir := t.TempDir()
			s := serve(t, dataDir, backend(t)...)
			env := []string{"DATA_DIR=" + dataDir, "SYNCPLANE_URL=" + s.address}
			file := filepath.Join(t.TempDir(), "syncs.yaml")
			apply := func(args ...string) string {
				t.Helper()
				out, err := command(t, env, append([]string{"apply", "-f", file}, args...)...).CombinedOutput()
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				lines := strings.Split(strings.TrimSpace(string(out)), "\n")
				return lines[len(lines)-1]
			}
			for _, interval := range []int{30, 31} { // the second changes what the first created
				if err := os.WriteFile(file, []byte(manyNamed(many, interval)), 0o600); err != nil {
					t.Fatal(err)
				}
				killed := command(t, env, "apply", "-f", file)
				stdout, err := killed.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := killed.Start(); err != nil {
					t.Fatal(err)
				}
				lines, created := bufio.NewScanner(stdout), 0
				for created < many/3 && lines.Scan() {
					if strings.HasPrefix(lines.Text(), "+ ") || strings.HasPrefix(lines.Text(), "~ ") {
						created++
					}
				}
				if err := killed.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				_ = killed.Wait() // it was killed
				left := apply("--dry-run")
				if strings.HasPrefix(left, "0 created, 0 changed") || !strings.HasSuffix(left, "(dry run: nothing was changed)") || created < many/3 {
					t.Errorf("after %d: got %s", created, left)
				}
				var two sync.WaitGroup
				for range 2 {
					two.Go(func() { apply() })
				}
				two.Wait()
				if got, want := apply("--prune"), fmt.Sprintf("0 created, 0 changed, 0 deleted, %d unchanged", many); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			}
			if err := os.WriteFile(file, []byte("syncs: []"), 0o600); err != nil {
				t.Fatal(err)
			}
			if got, want := apply("--prune"), fmt.Sprintf("0 created, 0 changed, %d deleted, 0 unchanged", many); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			s.stop(t, os.Interrupt)
		})
	}
}

// TestAPICredentials calls the API with a token, with a key and without either, and
// checks what is refused.
func TestAPICredentials(t *testing.T) {
	t.Parallel()
	dataDir, empty := t.TempDir(), t.TempDir()
	s := serve(t, dataDir)
	url := "SYNCPLANE_URL=" + s.address
	file := filepath.Join(t.TempDir(), "syncs.yaml")
	if err := os.WriteFile(file, []byte(manyNamed(1, 30)), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := command(t, []string{"DATA_DIR=" + dataDir}, "keys", "create", "CI").Output()
	if err != nil {
		t.Fatal(err)
	}
	bearer, secret := token(t, dataDir), strings.TrimSpace(string(key))
	for name, env := range map[string][]string{
		"made here": {url, "DATA_DIR=" + dataDir},
		"a token":   {url, "DATA_DIR=" + empty, "SYNCPLANE_TOKEN=" + bearer},
		"a key":     {url, "DATA_DIR=" + empty, "SYNCPLANE_API_KEY=" + secret},
	} {
		out, err := newCall(t, env, "apply", "-f", file, "--dry-run").CombinedOutput()
		if err != nil || !regexp.MustCompile(`1 created, .*dry run`).Match(out) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
	for _, test := range []struct {
		code int
		want string
		env  []string
		args string
	}{
		{2, empty + " has no signing key; set DATA_DIR to the data directory of the server, or set SYNCPLANE_TOKEN or SYNCPLANE_API_KEY", []string{url, "DATA_DIR=" + empty}, "apply -f " + file},
		{2, "SYNCPLANE_TOKEN and SYNCPLANE_API_KEY exclude each other; set one", []string{url, "SYNCPLANE_TOKEN=" + bearer, "SYNCPLANE_API_KEY=" + secret}, "apply -f " + file},
		{2, "SYNCPLANE_TOKEN or SYNCPLANE_API_KEY must be set for https://api.example.com", []string{"SYNCPLANE_URL=https://api.example.com"}, "apply -f " + file},
		{2, "SYNCPLANE_URL must be an http or https address", []string{"SYNCPLANE_URL=127.0.0.1:8080"}, "apply -f " + file},
		{2, "SYNCPLANE_TOKEN must be visible ASCII characters without spaces", []string{url, "SYNCPLANE_TOKEN=Bearer x"}, "apply -f " + file},
		{2, "-f must name a file of syncs, such as syncs.yaml; see syncplane apply --help", []string{url}, "apply"},
		{2, file + "x must hold syncs; for none, write syncs: []", []string{url}, "apply -f " + file + "x"},
		{2, `unexpected argument "syncs.yaml"; -f names a file: syncplane apply -f syncs.yaml`, []string{url}, "apply syncs.yaml"},
		{1, "open " + file + "y: no such file or directory", []string{url}, "apply -f " + file + "y"},
	} {
		if err := os.WriteFile(file+"x", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		checkCallFails(t, test.code, test.want, append([]string{"DATA_DIR=" + dataDir}, test.env...), strings.Fields(test.args)...)
	}
	for want, env := range map[string][]string{
		`(?m)^syncplane: the token must be signed with the key .*\(invalid_token\)$`:                                           {url, "SYNCPLANE_TOKEN=" + token(t, empty)},
		`(?m)^syncplane: no server listens at http://127\.0\.0\.1:1; start one with syncplane serve, or set SYNCPLANE_URL$`:    {"SYNCPLANE_URL=http://127.0.0.1:1", "SYNCPLANE_TOKEN=x"},
		`(?m)^syncplane: (sync "sync-0": )?the token lacks the scope "syncs:(read|write)".* \(insufficient_scope\)$`:           {url, "SYNCPLANE_TOKEN=" + token(t, dataDir, "SCOPE=runs:execute")},
		`(?m)^syncplane: the response is not one of the API: status 404, .*$|^syncplane: this path does not exist \(not_found`: {url + "/nowhere", "SYNCPLANE_TOKEN=" + bearer},
	} {
		out, err := newCall(t, env, "apply", "-f", file).CombinedOutput()
		if strings.HasPrefix(string(out), "0 created") && !strings.HasPrefix(string(out), "0 created, 0 changed, 0 deleted, 0 unchanged, 1 failed\n") {
			t.Errorf("it compared nothing, and printed %s", out)
		}
		if err == nil || !regexp.MustCompile(want).Match(out) || strings.Contains(string(out), bearer) {
			t.Errorf("got %v: %s, want %s", err, out, want)
		}
	}
	s.stop(t, os.Interrupt)
}
