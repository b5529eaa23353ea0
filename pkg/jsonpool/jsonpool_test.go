package jsonpool_test

import (
	"errors"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/jsonpool"
)

// read decodes text to its end and returns the error.
func read(p *jsonpool.Pool, text string) error {
	dec := p.Get([]byte(text))
	defer p.Put(dec)
	for dec.PeekKind() != jsontext.KindInvalid {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
	}
	return nil
}

// TestReset checks that a pooled decoder keeps nothing of the text before, no matter where
// that ended, and has the options of its pool.
func TestReset(t *testing.T) {
	t.Parallel()
	strict, loose := &jsonpool.Pool{}, jsonpool.New(jsontext.AllowDuplicateNames(true))
	for range 3 {
		for _, text := range []string{`{"a":1}`, `{"a":{"a":[`, `{"b":1}`, `[1,2]`, `{"a":1`, `{"a":"b"}`} {
			if err := read(strict, text); err != nil {
				t.Errorf("%s: %v", text, err)
			}
		}
		if err := read(strict, `{"a":1,"a":2}`); !errors.Is(err, jsontext.ErrDuplicateName) {
			t.Errorf("a duplicate member: %v", err)
		}
		if err := read(loose, `{"a":1,"a":2}`); err != nil {
			t.Errorf("a duplicate member that is allowed: %v", err)
		}
	}
}

func TestUnquote(t *testing.T) {
	t.Parallel()
	for quoted, want := range map[string]string{
		`""`: "", `"a b"`: "a b", `"ü"`: "ü", `"\u00fc\n\""`: "ü\n\"", `"\ud83d\ude00"`: "😀",
	} {
		if got := string(jsonpool.Unquote(jsontext.Value(quoted))); got != want {
			t.Errorf("%s: got %q, want %q", quoted, got, want)
		}
	}
}
