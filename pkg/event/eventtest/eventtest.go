// Package eventtest holds events to the schemas that are told to the world.
package eventtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"syncplane/pkg/event"
)

// location is what the schemas refer to each other by.
const location = "https://schemas.invalid/"

//nolint:gochecknoglobals // read once, however many tests ask
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

// Seen is an event as its readers see it.
type Seen struct {
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Source    string         `json:"source"`
	Subject   string         `json:"subject"`
	Workspace string         `json:"workspace"`
	Time      string         `json:"time"`
	Schema    string         `json:"dataschema"`
	Data      map[string]any `json:"data"`
}

// Check fails the test unless text is an event and its data are what its
// schema says. It returns the event.
func Check(tb testing.TB, text []byte) Seen {
	tb.Helper()
	if err := Validate("cloudevent.v1.json", text); err != nil {
		tb.Errorf("%v\n%s", err, text)
		return Seen{}
	}
	var seen Seen
	if err := json.Unmarshal(text, &seen); err != nil {
		tb.Error(err)
		return seen
	}
	data, err := json.Marshal(seen.Data)
	if err != nil {
		tb.Error(err)
	}
	name := path.Base(seen.Schema)
	if strings.TrimSuffix(name, ".json") != seen.Type {
		tb.Errorf("an event of type %s names the schema %s", seen.Type, seen.Schema)
	}
	if err := Validate(name, data); err != nil {
		tb.Errorf("%v\n%s", err, text)
	}
	return seen
}

// Validate returns nil if text is what the schema of this name says.
func Validate(name string, text []byte) error {
	compiled, err := compile()
	if err != nil {
		return err
	}
	schema, ok := compiled[name]
	if !ok {
		return fmt.Errorf("there is no schema %s", name)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("read what %s is for: %w", name, err)
	}
	return schema.Validate(value)
}
