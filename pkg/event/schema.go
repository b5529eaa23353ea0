package event

import (
	"embed"
	"io/fs"
	"slices"
)

// SchemaPath is where the API serves the schemas.
const SchemaPath = "/api/v1/schemas/"

//go:embed schemas/*.json
var schemas embed.FS

// Schema returns the JSON Schema in a file of this name, such as
// sync.created.v1.json. ok is false if there is none.
func Schema(name string) (text []byte, ok bool) {
	text, err := fs.ReadFile(schemas, "schemas/"+name)
	return text, err == nil
}

// Schemas returns the names of all files, sorted.
func Schemas() []string {
	entries, _ := schemas.ReadDir("schemas") // the directory is embedded
	names := make([]string, 0, len(entries))
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	slices.Sort(names)
	return names
}
