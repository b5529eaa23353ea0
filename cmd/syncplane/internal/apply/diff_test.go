package apply_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/cmd/syncplane/internal/apply"
)

// TestIsSecret checks what is not printed: a value whose path has a word for a secret, and
// one with a member whose name has.
func TestIsSecret(t *testing.T) {
	t.Parallel()
	check := func(path, value string, want bool) {
		t.Helper()
		if got := apply.IsSecret(path, jsontext.Value(value)); got != want {
			t.Errorf("%s, %s: got %t, want %t", path, value, got, want)
		}
	}
	for name, want := range map[string]bool{
		"password": true, "db_PassWord2": true, "passphrase": true, "secret": true, "token": true, "credentials": true,
		"private_key": true, "apikey": true, "API_KEY": true, "pa\u017f\u017fword": true, "to\u212aen": true,
		"api__key": false, "pass": false, "key": false, "": false,
	} {
		check(name, `1`, want)
		for value, has := range map[string]bool{
			`{"NAME":1}`: true, `{"a":{"NAME" :1}}`: true, "{\"NAME\"\n\t\r :1}": true, `{"x\"NAME":1}`: true, `NAME":1`: true,
			`["NAME"]`: false, `{"a":"NAME"}`: false, `{"a":"NAME","b":1}`: false, `{"NAME\"x":1}`: false,
		} {
			check("a", strings.Replace(value, "NAME", name, 1), want && has)
		}
	}
}
