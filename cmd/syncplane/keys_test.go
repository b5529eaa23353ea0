package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"syncplane/pkg/testkit/dynamotest"
)

// TestTerminal checks that no output and no message has characters that control a terminal,
// from a name or a file that another person wrote.
func TestTerminal(t *testing.T) {
	t.Parallel()
	env := []string{"DATA_DIR=" + t.TempDir()}
	for _, test := range []struct{ args, input string }{
		{"keys create a\u202eb\u2066", ""},
		{"keys list", ""},
		{"apply -f -", "name: a\u202eb\nsource_id: 1\nstatus\u202e: x\n"},
		{"apply -f -", "name: \"a\\u009b31m\"\n"},
	} {
		cmd := command(t, env, strings.Fields(test.args)...)
		cmd.Stdin = strings.NewReader(test.input)
		out, _ := cmd.CombinedOutput() // some of them fail
		invisible := func(c rune) bool { return !unicode.IsPrint(c) && c != '\n' }
		if len(out) == 0 || strings.ContainsFunc(string(out), invisible) {
			t.Errorf("%q: got %q", test.args, out)
		}
	}
}

// TestKeys makes a key while a server runs, uses it, and revokes it, in both
// storage backends, and in the DynamoDB that an AWS profile names.
func TestKeys(t *testing.T) {
	t.Parallel()
	for name, backend := range map[string]func(t *testing.T) []string{
		"bolt": func(*testing.T) []string { return []string{"STORE=bolt"} },
		"dynamodb": func(t *testing.T) []string {
			t.Helper()
			return []string{"STORE=dynamodb", "TABLE_NAME=keys-test", "AWS_ENDPOINT_URL_DYNAMODB=" + dynamotest.Endpoint(t)}
		},
		"profile": func(t *testing.T) []string {
			t.Helper()
			profile := "[default]\nregion = us-east-1\naws_access_key_id = local\naws_secret_access_key = local\nendpoint_url = " + dynamotest.Endpoint(t) + "\n"
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"STORE=dynamodb", "TABLE_NAME=keys-profile-test", "AWS_CONFIG_FILE=" + file, "AWS_SHARED_CREDENTIALS_FILE=" + file}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dataDir := t.TempDir()
			env := backend(t)
			s := serve(t, dataDir, env...)
			keys := func(args ...string) string {
				t.Helper()
				out, err := command(t, append(env, "DATA_DIR="+dataDir), append([]string{"keys"}, args...)...).Output()
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(string(out))
			}
			key := keys("create", "--workspace", "acme", "--name", "CI", "--expires", "1h")
			reader := keys("create", "reader", "--workspace", "acme", "--scopes", "syncs:read")
			if status, answer := s.create(t, key); status != http.StatusOK {
				t.Errorf("got %d %s", status, answer)
			}
			if status, answer := s.create(t, reader); status != http.StatusForbidden {
				t.Errorf("got %d %s", status, answer)
			}
			last := "a"
			if strings.HasSuffix(key, last) {
				last = "b"
			}
			if status, answer := s.create(t, key[:len(key)-1]+last); status != http.StatusUnauthorized {
				t.Errorf("got %d %s", status, answer)
			}
			id := strings.Split(key, "_")[1]
			list := keys("list", "--workspace", "acme")
			if !strings.Contains(list, id) || !strings.Contains(list, "…"+key[len(key)-4:]) || strings.Contains(list, key) || strings.Contains(keys("list", "--workspace", "other"), id) {
				t.Errorf("listed are\n%s", list)
			}
			keys("revoke", "--workspace", "acme", id)
			s.stop(t, os.Interrupt) // a new server remembers nothing
			s = serve(t, dataDir, env...)
			if status, answer := s.create(t, key); status != http.StatusUnauthorized || !strings.Contains(answer, "revoked") {
				t.Errorf("got %d %s", status, answer)
			}
			s.stop(t, os.Interrupt)
			if strings.Contains(s.log.String(), key) {
				t.Error("the log holds a key")
			}
		})
	}
}
