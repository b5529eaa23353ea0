// Package eventtest validates events against the published schemas, for tests.
package eventtest

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"syncplane/pkg/event"
)

// location is the base address with which the schemas refer to each other.
const location = "https://schemas.invalid/"

//nolint:gochecknoglobals // compiled once for all tests
var compile = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	for _, name := range event.Schemas() {
		text, _ := event.Schema(name)
		parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := compiler.AddResource(location+name, parsed); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	compiled := map[string]*jsonschema.Schema{}
	for _, name := range event.Schemas() {
		schema, err := compiler.Compile(location + name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		compiled[name] = schema
	}
	return compiled, nil
})

// Event is an event as consumers decode it. The numbers in Data are of type json.Number.
type Event struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Source    string         `json:"source"`
	Subject   string         `json:"subject"`
	Workspace string         `json:"workspace"`
	Time      string         `json:"time"`
	Schema    string         `json:"dataschema"`
	Data      map[string]any `json:"data"`
}

// Check returns the event in text. It fails the test unless the event and its data
// are valid for their schemas.
func Check(tb testing.TB, text []byte) Event {
	tb.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err == nil {
		err = validate("cloudevent.v1.json", value)
	}
	if err != nil {
		tb.Errorf("%v\n%s", err, text)
		return Event{}
	}
	var seen Event
	members, _ := value.(map[string]any) // it is valid
	for name, member := range map[string]*string{
		"id": &seen.ID, "type": &seen.Type, "source": &seen.Source, "subject": &seen.Subject,
		"workspace": &seen.Workspace, "time": &seen.Time, "dataschema": &seen.Schema,
	} {
		*member, _ = members[name].(string) // some are optional
	}
	seen.Data, _ = members["data"].(map[string]any)
	name := path.Base(seen.Schema)
	if strings.TrimSuffix(name, ".json") != seen.Type {
		tb.Errorf("the event of type %s has the schema %s", seen.Type, seen.Schema)
	}
	if err := validate(name, members["data"]); err != nil {
		tb.Errorf("%v\n%s", err, text)
	}
	return seen
}

// Validate returns an error unless text is valid for the schema of this name.
func Validate(name string, text []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read the instance of %s: %w", name, err)
	}
	return validate(name, value)
}

func validate(name string, value any) error {
	compiled, err := compile()
	if err != nil {
		return err
	}
	schema, ok := compiled[name]
	if !ok {
		return fmt.Errorf("unknown schema %s", name)
	}
	return schema.Validate(value)
}
