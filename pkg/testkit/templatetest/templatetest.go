// Package templatetest reads template.yaml, so that tests can compare it with the code
// and the documentation. A tag such as !Ref reads as {"Ref": …}, !GetAtt A.B as
// {"Fn::GetAtt": "A.B"}.
package templatetest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Template is template.yaml.
type Template map[string]any

// Root returns the root of the repository. It is relative, so that copies of the
// repository in several directories use the results of each other in the cache of go test.
func Root(tb testing.TB) string {
	tb.Helper()
	root, err := findRoot()
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for root := "."; ; root = filepath.Join(root, "..") {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return root, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("there is no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

// Read returns the template, which tests must not change.
func Read(tb testing.TB) Template {
	tb.Helper()
	template, err := parse()
	if err != nil {
		tb.Fatal(err)
	}
	return template
}

// parse parses the template.
//
//nolint:gochecknoglobals // parsing it takes longer than most tests
var parse = sync.OnceValues(func() (Template, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, "template.yaml")) //nolint:gosec // a file of the repository
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	value, err := plain(document.Content[0])
	if err != nil {
		return nil, err
	}
	template, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("template.yaml is a %T", value)
	}
	return template, nil
})

// plain returns the value of a node.
func plain(node *yaml.Node) (any, error) {
	value, err := untagged(node)
	if err != nil || !strings.HasPrefix(node.Tag, "!") || strings.HasPrefix(node.Tag, "!!") {
		return value, err
	}
	name := strings.TrimPrefix(node.Tag, "!")
	if name != "Ref" && name != "Condition" {
		name = "Fn::" + name
	}
	return map[string]any{name: value}, nil
}

func untagged(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(node.Content); i += 2 {
			value, err := plain(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			name := node.Content[i].Value
			if _, ok := m[name]; ok {
				return nil, fmt.Errorf("line %d: %s appears twice", node.Content[i].Line, name)
			}
			m[name] = value
		}
		return m, nil
	case yaml.SequenceNode:
		list := []any{}
		for _, element := range node.Content {
			value, err := plain(element)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.ScalarNode:
		if strings.HasPrefix(node.Tag, "!!") {
			var value any
			err := node.Decode(&value)
			return value, err
		}
		return node.Value, nil
	case yaml.DocumentNode, yaml.AliasNode:
	}
	return nil, fmt.Errorf("line %d: neither a mapping, a sequence nor a scalar", node.Line)
}

// Names returns the names in a section, such as "Resources", sorted.
func (t Template) Names(section string) []string {
	members, _ := t[section].(map[string]any)
	return slices.Sorted(maps.Keys(members))
}

// OfType returns the logical IDs of the resources of a type, sorted.
func (t Template) OfType(kind string) []string {
	var ids []string
	for _, id := range t.Names("Resources") {
		if t.At("Resources", id, "Type") == kind {
			ids = append(ids, id)
		}
	}
	return ids
}

// Property returns the property of a resource at a path of members, nil if there is
// none.
func (t Template) Property(id string, path ...string) any {
	return t.At(append([]string{"Resources", id, "Properties"}, path...)...)
}

// At returns the value at a path of members, nil if there is none.
func (t Template) At(path ...string) any {
	var value any = map[string]any(t)
	for _, name := range path {
		members, _ := value.(map[string]any)
		value = members[name]
	}
	return value
}

// Walk calls visit for a value and all values in it.
func Walk(value any, visit func(any)) {
	visit(value)
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			Walk(value[name], visit)
		}
	case []any:
		for _, element := range value {
			Walk(element, visit)
		}
	}
}

// Refs returns the names that !Ref, !Sub and !GetAtt in a value name, sorted, without
// pseudo parameters.
func Refs(value any) []string {
	named := regexp.MustCompile(`\$\{([A-Za-z0-9:]+)`)
	found := map[string]bool{}
	Walk(value, func(value any) {
		members, _ := value.(map[string]any)
		if name, ok := members["Ref"].(string); ok {
			found[name] = true
		}
		if name, ok := members["Fn::GetAtt"].(string); ok {
			name, _, _ = strings.Cut(name, ".")
			found[name] = true
		}
		text, _ := members["Fn::Sub"].(string)
		if list, ok := members["Fn::Sub"].([]any); ok {
			text, _ = list[0].(string)
		}
		for _, match := range named.FindAllStringSubmatch(text, -1) {
			found[match[1]] = true
		}
	})
	maps.DeleteFunc(found, func(name string, _ bool) bool { return strings.HasPrefix(name, "AWS::") })
	return slices.Sorted(maps.Keys(found))
}

// Statements returns the statements of a role's policies or of a managed policy. Those
// that depend on a condition are among them.
func (t Template) Statements(id string) []map[string]any {
	if document := t.Property(id, "PolicyDocument"); document != nil {
		return statements(document)
	}
	return statements(t.Property(id, "Policies"))
}

// Trust returns the statements of a role's trust policy.
func (t Template) Trust(role string) []map[string]any {
	return statements(t.Property(role, "AssumeRolePolicyDocument"))
}

// statements returns the statements in a value.
func statements(value any) []map[string]any {
	var all []map[string]any
	Walk(value, func(value any) {
		if members, ok := value.(map[string]any); ok && members["Effect"] != nil {
			all = append(all, members)
		}
	})
	return all
}

// Texts returns the texts in a value that is one or a list of them.
func Texts(value any) []string {
	var all []string
	Walk(value, func(value any) {
		if text, ok := value.(string); ok {
			all = append(all, text)
		}
	})
	return all
}
