package apply

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/client"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// current is a sync of the workspace.
type current struct {
	id     client.SyncID
	name   string // "" if it has none
	draft  syncs.Draft
	paused bool
	etag   string // "" if it was not read by itself
}

// currentOf returns a sync of the API in the form that a file has.
func currentOf(s client.Sync, etag string) (current, error) {
	attributes, err := json.Marshal(s.Attributes)
	if err != nil {
		return current{}, fmt.Errorf("encode the sync %s: %w", s.ID, err)
	}
	var pool jsonpool.Pool
	in, err := syncjson.DecodeChange(&pool, append(append([]byte(`{"sync":`), attributes...), '}'))
	if err != nil {
		return current{}, fmt.Errorf("decode the sync %s: %w", s.ID, err)
	}
	return current{
		id: s.ID, name: NameOf(s), draft: in.Draft,
		paused: s.Attributes.Status == client.SyncStatusDisabled, etag: etag,
	}, nil
}

// NameOf returns the name of a sync, "" if it has none.
func NameOf(s client.Sync) string {
	members, err := jsonMembersOf(jsontext.Value(s.Attributes.Configuration))
	if err != nil {
		return ""
	}
	for _, m := range members {
		if m.name == NameMember {
			name, err := readName(m.value)
			if err != nil {
				return ""
			}
			return name
		}
	}
	return ""
}

// difference is a value that differs.
type difference struct {
	path     string // such as configuration.batch
	from, to jsontext.Value
}

// differences compares two drafts. fields are the names of the fields that differ.
func differences(from, to *syncs.Draft) (all []difference, fields []string) {
	for i := range syncs.Fields {
		f := &syncs.Fields[i]
		before, after := valueOf(f, from), valueOf(f, to)
		if isSame(before, after) {
			continue
		}
		fields = append(fields, f.Name)
		all = appendDifferences(all, difference{f.Name, before, after})
	}
	return all, fields
}

// valueOf returns the value of a field as JSON, nil for none. Texts are compared
// without surrounding white space, which the API removes.
func valueOf(f *syncs.Field, d *syncs.Draft) jsontext.Value {
	if f.Integer != nil {
		if n := *f.DraftInteger(d); n != nil {
			return strconv.AppendInt(nil, *n, 10)
		}
		return nil
	}
	text := *f.DraftText(d)
	switch {
	case text == nil || f.Optional && *text == "":
		return nil
	case f.Object:
		return jsontext.Value(*text)
	}
	quoted, _ := jsontext.AppendQuote(nil, strings.TrimSpace(*text)) // it was decoded from JSON
	return quoted
}

// isSame reports whether two values are equal as JSON: the order of members and the
// notation of numbers and texts do not matter.
func isSame(x, y jsontext.Value) bool {
	if x == nil || y == nil || bytes.Equal(x, y) {
		return bytes.Equal(x, y)
	}
	first, err := syncjson.Fingerprint(x)
	second, err2 := syncjson.Fingerprint(y)
	return err == nil && err2 == nil && first == second
}

// appendDifferences appends d, or if it is between two objects, or none and an object
// with members, the differences between their members. It leaves the name out.
func appendDifferences(all []difference, d difference) []difference {
	if d.path == "configuration."+NameMember {
		return all
	}
	before, after, ok := objects(d.from, d.to)
	if !ok || d.from == nil && len(after) == 0 {
		return append(all, d)
	}
	find := func(members []jsonMember, name string) jsontext.Value {
		for _, m := range members {
			if m.name == name {
				return m.value
			}
		}
		return nil
	}
	for _, m := range after {
		if old := find(before, m.name); !isSame(old, m.value) {
			all = appendDifferences(all, difference{d.path + "." + m.name, old, m.value})
		}
	}
	for _, m := range before {
		if find(after, m.name) == nil {
			all = append(all, difference{d.path + "." + m.name, m.value, nil})
		}
	}
	return all
}

// objects returns the members of two values if the second is an object and the first
// one or none.
func objects(x, y jsontext.Value) (first, second []jsonMember, ok bool) {
	if x != nil && x.Kind() != jsontext.KindBeginObject || y == nil || y.Kind() != jsontext.KindBeginObject {
		return nil, nil, false
	}
	var err error
	if x != nil {
		if first, err = jsonMembersOf(x); err != nil {
			return nil, nil, false
		}
	}
	second, err = jsonMembersOf(y)
	return first, second, err == nil
}

// maxShown is the longest value that is printed, in bytes. Our own choice.
const maxShown = 80

// secretWords matches a word for a secret, and the name of a member with one.
//
//nolint:gochecknoglobals // they are compiled once
var secretWords = sync.OnceValues(func() (word, member *regexp.Regexp) {
	const words = `(?i)(password|passphrase|secret|token|credential|private|api_?key)`
	return regexp.MustCompile(words), regexp.MustCompile(words + `[^"]*"\s*:`)
})

// isSecret reports whether a value is not printed: its path, or the name of a member in
// it, is that of a secret.
func isSecret(path string, value jsontext.Value) bool {
	word, member := secretWords()
	return word.MatchString(path) || member.Match(value)
}

// String returns a line such as "sync_interval: 30 → 60", without secrets.
func (d difference) String() string {
	show := func(v jsontext.Value) string {
		switch {
		case v == nil:
			return "none"
		case isSecret(d.path, v):
			return "(hidden)"
		}
		return remote.Printable(shorten(string(v)))
	}
	if d.from == nil {
		return remote.Printable(d.path) + ": " + show(d.to)
	}
	return remote.Printable(d.path) + ": " + show(d.from) + " → " + show(d.to)
}

func shorten(text string) string {
	if len(text) > maxShown {
		return strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

// patch returns the body of a request that changes some fields to those of a draft.
func patch(to *syncs.Draft, fields []string) []byte {
	body := []byte(`{"sync":{`)
	for i := range syncs.Fields {
		f := &syncs.Fields[i]
		for _, name := range fields {
			if name != f.Name {
				continue
			}
			value := valueOf(f, to)
			if value == nil {
				value = jsontext.Value(`""`) // clears an optional field
			}
			if body[len(body)-1] != '{' {
				body = append(body, ',')
			}
			body = append(append(append(append(body, '"'), f.Name...), `":`...), value...)
		}
	}
	return append(body, "}}"...)
}
