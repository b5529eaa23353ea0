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
	ID        string
	Type      string
	Source    string
	Subject   string
	Workspace string
	Time      string
	Schema    string
	Data      map[string]any
}

// Decode returns the event in text. What is missing or has another type is zero.
func Decode(text []byte) (Event, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	return eventOf(value), err
}

func eventOf(value any) (seen Event) {
	members, _ := value.(map[string]any)
	for name, member := range map[string]*string{
		"id": &seen.ID, "type": &seen.Type, "source": &seen.Source, "subject": &seen.Subject,
		"workspace": &seen.Workspace, "time": &seen.Time, "dataschema": &seen.Schema,
	} {
		*member, _ = members[name].(string)
	}
	seen.Data, _ = members["data"].(map[string]any)
	return seen
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
	seen := eventOf(value)
	name := path.Base(seen.Schema)
	if strings.TrimSuffix(name, ".json") != seen.Type {
		tb.Errorf("the event of type %s has the schema %s", seen.Type, seen.Schema)
	}
	event, _ := value.(map[string]any) // it is valid
	if err := validate(name, event["data"]); err != nil {
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
