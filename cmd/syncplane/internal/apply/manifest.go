// Package apply makes the syncs of a workspace those that a file describes: it reads
// the file, compares it with the syncs of the API, and creates, changes and deletes. It
// knows the HTTP API through its client; it does not know flags or the environment.
package apply

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/client"
	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/syncjson"
	"syncplane/pkg/syncs"
)

// NameMember is the member of a configuration that holds the name of a sync that a file
// describes. The API does not evaluate it.
const NameMember = "syncplane.name"

// The fields of a sync in a file, other than those of the API.
const (
	nameField    = "name"
	enabledField = "enabled"
)

// maxName is the length of the longest name, in characters. Our own choice.
const maxName = 255

// Sync is a sync that a file describes.
type Sync struct {
	Name    string
	Enabled *bool // nil if the file leaves open whether the sync is paused
	Draft   syncs.Draft

	body []byte // of the request that creates it
}

// File is a file of syncs.
type File struct {
	Name string
	Text []byte
}

// Read returns the syncs of files, in YAML or JSON: in each document a sync, a list of
// syncs, or a member syncs with such a list. The error names everything that is wrong.
func Read(files ...File) ([]Sync, error) {
	var all []Sync
	var errs []error
	where := map[string]string{} // the place of each name
	for _, file := range files {
		documents, err := parse(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file.Name, err))
			continue
		}
		found := false
		for _, document := range documents {
			entries, err := entriesOf(document)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", file.Name, err))
			}
			found = found || entries != nil || err != nil
			for _, entry := range entries {
				sync, err := readSync(entry)
				place := fmt.Sprintf("%s: sync %q", file.Name, sync.Name)
				switch before, taken := where[sync.Name]; {
				case err != nil:
					errs = append(errs, fmt.Errorf("%s: %w", place, err))
				case taken:
					errs = append(errs, fmt.Errorf("%s: the name is taken by a sync in %s; names must be unique", place, before))
				default:
					where[sync.Name] = file.Name
					all = append(all, sync)
				}
			}
		}
		if !found {
			errs = append(errs, fmt.Errorf("%s must hold syncs; for none, write syncs: []", file.Name))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return all, nil
}

// parse returns the documents of a file as JSON. JSON is not parsed as YAML, which has
// other escapes.
func parse(file File) ([]jsontext.Value, error) {
	if !utf8.Valid(file.Text) {
		return nil, errors.New("the file must be UTF-8")
	}
	text := bytes.TrimPrefix(file.Text, []byte("\ufeff"))
	start := bytes.TrimLeft(text, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return parseYAML(text)
	}
	documents, err := parseJSON(text)
	if err != nil && !strings.HasSuffix(file.Name, ".json") {
		if flow, yamlErr := parseYAML(text); yamlErr == nil {
			return flow, nil
		}
	}
	return documents, err
}

func parseJSON(text []byte) ([]jsontext.Value, error) {
	var documents []jsontext.Value
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		value, err := decoder.ReadValue()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			line := 1 + bytes.Count(text[:min(decoder.InputOffset(), int64(len(text)))], []byte("\n"))
			return nil, fmt.Errorf("line %d or later: %w", line, err)
		}
		documents = append(documents, value.Clone())
	}
}

// entriesOf returns the syncs of a document; nil for an empty document.
func entriesOf(document jsontext.Value) ([]jsontext.Value, error) {
	switch kind := document.Kind(); {
	case kind == jsontext.KindNull:
		return nil, nil
	case kind == jsontext.KindBeginArray:
		return elementsOf(document)
	case kind != jsontext.KindBeginObject:
		return nil, errors.New("a document must be a sync, a list of syncs, or a member syncs with a list")
	}
	members, err := jsonMembersOf(document)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.name != "syncs" {
			continue
		}
		if len(members) > 1 || m.value.Kind() != jsontext.KindBeginArray {
			return nil, errors.New("syncs must be a list, and the only member of its document")
		}
		return elementsOf(m.value)
	}
	return []jsontext.Value{document}, nil
}

// elementsOf returns the elements of a JSON array, never nil.
func elementsOf(array jsontext.Value) ([]jsontext.Value, error) {
	decoder := jsontext.NewDecoder(bytes.NewReader(array))
	elements := []jsontext.Value{}
	if _, err := decoder.ReadToken(); err != nil {
		return nil, err
	}
	for decoder.PeekKind() != jsontext.KindEndArray {
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		elements = append(elements, value.Clone())
	}
	return elements, nil
}

// jsonMember is a member of a JSON object.
type jsonMember struct {
	name  string
	value jsontext.Value
}

// jsonMembersOf returns the members of a JSON object, in their order. A duplicate name
// is an error.
func jsonMembersOf(object jsontext.Value) ([]jsonMember, error) {
	decoder := jsontext.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.ReadToken(); err != nil {
		return nil, err
	}
	var members []jsonMember
	for decoder.PeekKind() != jsontext.KindEndObject {
		name, err := decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		m := jsonMember{name: name.String()}
		value, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		m.value = value.Clone()
		members = append(members, m)
	}
	return members, nil
}

// defaults returns the members that a file may leave out, since the API has one value
// for each, and an empty configuration.
func defaults() []jsonMember {
	return []jsonMember{
		{"configuration", jsontext.Value(`{}`)},
		{"schedule_type", jsontext.Value(`"` + syncs.ScheduleAutomated + `"`)},
		{"sync_mode", jsontext.Value(`"` + syncs.ModeFullRefresh + `"`)},
		{"sync_interval_unit", jsontext.Value(`"` + syncs.UnitMinutes + `"`)},
	}
}

// readSync reads a sync. With an error the result has the name, if that can be read.
func readSync(entry jsontext.Value) (Sync, error) {
	if entry.Kind() != jsontext.KindBeginObject {
		return Sync{}, errors.New("a sync must be an object with a name")
	}
	members, err := jsonMembersOf(entry)
	if err != nil {
		return Sync{}, err
	}
	var s Sync
	var fields []jsonMember
	for _, m := range members {
		switch m.name {
		case nameField:
			if s.Name, err = readName(m.value); err != nil {
				return s, err
			}
		case enabledField:
			if kind := m.value.Kind(); kind != jsontext.KindTrue && kind != jsontext.KindFalse {
				return s, fmt.Errorf("enabled must be true or false, got %.40s", m.value)
			}
			enabled := m.value.Kind() == jsontext.KindTrue
			s.Enabled = &enabled
		default:
			fields = append(fields, m)
		}
	}
	if s.Name == "" {
		return s, errors.New("name is required: it identifies the sync in this file and in the workspace")
	}
	for _, d := range defaults() {
		if !slices.ContainsFunc(fields, func(m jsonMember) bool { return m.name == d.name }) {
			fields = append(fields, d)
		}
	}
	return s, s.decode(fields)
}

func readName(value jsontext.Value) (string, error) {
	invalid := fmt.Errorf("name must be a text of 1 to %d characters without control characters and not all invisible, got %.40s", maxName, value)
	if value.Kind() != jsontext.KindString {
		return "", invalid
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	name := string(unquoted)
	if err != nil || strings.TrimSpace(name) != name || syncs.Blank(name) || utf8.RuneCountInString(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		return "", invalid
	}
	return name, nil
}

// decode sets the draft and the body from the fields, as the API would decode them.
func (s *Sync) decode(fields []jsonMember) error {
	body := []byte(`{"sync":{`)
	for i, m := range fields {
		if i > 0 {
			body = append(body, ',')
		}
		value := m.value
		if m.name == "configuration" && value.Kind() == jsontext.KindBeginObject {
			named, err := s.named(value)
			if err != nil {
				return err
			}
			value = named
		}
		body, _ = jsontext.AppendQuote(body, m.name) // it was decoded from JSON
		body = append(append(body, ':'), value...)
	}
	s.body = append(body, "}}"...)
	var pool jsonpool.Pool
	in, err := syncjson.DecodeCreate(&pool, s.body)
	if err != nil {
		return explain(err)
	}
	if len(in.Unknown) > 0 {
		return fmt.Errorf("unknown field %s; must be one of name, enabled, %s", strings.TrimPrefix(in.Unknown[0], "/sync/"), strings.Join(fieldNames(), ", "))
	}
	s.Draft = in.Draft
	if err := s.Draft.Validate(); err != nil {
		return explain(in.Explain(err))
	}
	if len(s.body) > syncjson.MaxBody {
		return fmt.Errorf("the sync must have at most %d bytes as JSON", syncjson.MaxBody)
	}
	return nil
}

// named returns a configuration with the name of s.
func (s *Sync) named(configuration jsontext.Value) (jsontext.Value, error) {
	members, err := jsonMembersOf(configuration)
	if err != nil {
		return nil, err
	}
	if hasName(members) {
		return nil, fmt.Errorf("configuration must not have the member %s, which holds the name", NameMember)
	}
	return withName(members, s.Name), nil
}

// hasName reports whether the members of a configuration include that of the name.
func hasName(members []jsonMember) bool {
	return slices.ContainsFunc(members, func(m jsonMember) bool { return m.name == NameMember })
}

// withName returns a configuration with a name and with members.
func withName(members []jsonMember, name string) jsontext.Value {
	text, _ := jsontext.AppendQuote([]byte(`{"`+NameMember+`":`), name) // it was decoded from JSON
	for _, m := range members {
		text = append(text, ',')
		text, _ = jsontext.AppendQuote(text, m.name) // as above
		text = append(append(text, ':'), m.value...)
	}
	return append(text, '}')
}

// KeepName returns a configuration that is to replace that of a sync, with the name of
// the sync, so that the file of syncs still describes it. A configuration that has the
// member itself stays as it is, as does one that is not an object.
func KeepName(configuration jsontext.Value, s client.Sync) jsontext.Value {
	name := NameOf(s)
	if name == "" || configuration.Kind() != jsontext.KindBeginObject {
		return configuration
	}
	members, err := jsonMembersOf(configuration)
	if err != nil || hasName(members) {
		return configuration
	}
	return withName(members, name)
}

func fieldNames() []string {
	var names []string
	for _, f := range syncs.Fields {
		names = append(names, f.Name)
	}
	return names
}

// explain returns the message of a fault for the user.
func explain(err error) error {
	failure, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err
	}
	var details []string
	for _, f := range failure.Fields {
		details = append(details, f.Detail)
	}
	if len(details) == 0 {
		return err
	}
	return errors.New(strings.Join(details, "; "))
}
