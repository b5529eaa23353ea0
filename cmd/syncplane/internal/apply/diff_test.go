package apply_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"syncplane/cmd/syncplane/internal/apply"
)

// TestIsSecret compares what is not printed with a regular expression, which would take
// longer than the rest of an apply.
func TestIsSecret(t *testing.T) {
	t.Parallel()
	const words = `(?i)(password|passphrase|secret|token|credential|private|api_?key)`
	path, member := regexp.MustCompile(words), regexp.MustCompile(words+`[^"]*"\s*:`)
	check := func(t interface{ Errorf(string, ...any) }, name, value string) {
		want := path.MatchString(name) || member.MatchString(value)
		if got := apply.IsSecret(name, jsontext.Value(value)); got != want {
			t.Errorf("%s, %s: got %t, want %t", name, value, got, want)
		}
	}
	for _, name := range []string{
		"password", "db_PassWord2", "passphrase", "secret", "token", "credentials", "private_key", "apikey", "API_KEY", "api__key", "pass", "key", "pa\u017f\u017fword", "to\u212aen", "",
	} {
		check(t, name, `1`)
		for _, value := range []string{`{"NAME":1}`, `{"a":{"NAME" :1}}`, `["NAME"]`, `{"a":"NAME"}`, `{"a":"NAME","b":1}`, "{\"NAME\"\n\t\r :1}", `{"NAME\"x":1}`, `{"x\"NAME":1}`, `NAME":1`} {
			check(t, "a", strings.Replace(value, "NAME", name, 1))
		}
	}
	part := rapid.SampledFrom([]string{"token", "Secret", "\"", "\\\"", ":", " ", "\t", ",", "{", "}", "x", "\f"})
	rapid.Check(t, func(t *rapid.T) {
		check(t, "a", strings.Join(rapid.SliceOfN(part, 0, 12).Draw(t, "value"), ""))
	})
}
