package apply

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// maxExpanded is the size of the longest JSON text of a file, in bytes, with its
// aliases expanded. Our own choice: some thousand syncs of usual size.
const maxExpanded = 4 << 20

// maxNesting is how deep the values of a file may be nested. Our own choice, more than
// the API accepts.
const maxNesting = 128

// parseYAML returns the documents of a YAML stream as JSON. Numbers keep their digits.
func parseYAML(text []byte) ([]jsontext.Value, error) {
	var documents []jsontext.Value
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	for {
		var document yaml.Node
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return documents, nil
		} else if err != nil {
			return nil, err
		}
		var c converter
		if err := c.append(&document, 0); err != nil {
			return nil, err
		}
		documents = append(documents, c.text)
	}
}

// converter appends YAML nodes as JSON.
type converter struct{ text []byte }

func fail(node *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %s", node.Line, fmt.Sprintf(format, args...))
}

func (c *converter) append(node *yaml.Node, depth int) error {
	if depth > maxNesting {
		return fail(node, "values must be nested at most %d levels deep", maxNesting)
	}
	if len(c.text) > maxExpanded {
		return fail(node, "the file must have at most %d bytes with its aliases expanded", maxExpanded)
	}
	switch node.Kind {
	case yaml.DocumentNode:
		return c.append(node.Content[0], depth)
	case yaml.AliasNode:
		return c.append(node.Alias, depth+1)
	case yaml.SequenceNode:
		return c.appendSequence(node, depth)
	case yaml.MappingNode:
		return c.appendMapping(node, depth)
	case yaml.ScalarNode:
		return c.appendScalar(node)
	}
	return fail(node, "unknown kind of value")
}

func (c *converter) appendSequence(node *yaml.Node, depth int) error {
	c.text = append(c.text, '[')
	for i, element := range node.Content {
		if i > 0 {
			c.text = append(c.text, ',')
		}
		if err := c.append(element, depth+1); err != nil {
			return err
		}
	}
	c.text = append(c.text, ']')
	return nil
}

func (c *converter) appendMapping(node *yaml.Node, depth int) error {
	members, err := membersOf(node, 0)
	if err != nil {
		return err
	}
	c.text = append(c.text, '{')
	for i, m := range members {
		if i > 0 {
			c.text = append(c.text, ',')
		}
		if c.text, err = jsontext.AppendQuote(c.text, m.name); err != nil {
			return fail(node, "%v", err)
		}
		c.text = append(c.text, ':')
		if err := c.append(m.value, depth+1); err != nil {
			return err
		}
	}
	c.text = append(c.text, '}')
	return nil
}

// yamlMember is a member of a mapping.
type yamlMember struct {
	name  string
	value *yaml.Node
}

// membersOf returns the members of a mapping, with those that a merge key (<<) adds.
// The members of the mapping itself take precedence, then those of earlier merges.
func membersOf(node *yaml.Node, merges int) ([]yamlMember, error) {
	var members []yamlMember
	var merged []*yaml.Node
	own := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.Kind == yaml.ScalarNode && key.Tag == "!!merge":
			merged = append(merged, value)
			continue
		case key.Kind != yaml.ScalarNode || key.Tag != "!!str":
			return nil, fail(node.Content[i], "the key %.40q must be a string; put it in quotation marks", key.Value)
		case own[key.Value]:
			return nil, fail(node.Content[i], "the key %.40q appears twice", key.Value)
		}
		own[key.Value] = true
		members = append(members, yamlMember{key.Value, value})
	}
	for _, from := range merged {
		more, err := merge(from, merges+1)
		if err != nil {
			return nil, err
		}
		for _, m := range more {
			if !own[m.name] {
				own[m.name] = true
				members = append(members, m)
			}
		}
	}
	return members, nil
}

// maxMerges is how deep merge keys may be nested. Our own choice.
const maxMerges = 8

// merge returns the members of the value of a merge key: a mapping or a sequence of
// mappings. merges is the number of merge keys around it.
func merge(node *yaml.Node, merges int) ([]yamlMember, error) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case merges > maxMerges:
		return nil, fail(node, "<< must be nested at most %d levels deep", maxMerges)
	case node.Kind == yaml.MappingNode:
		return membersOf(node, merges)
	case node.Kind != yaml.SequenceNode:
		return nil, fail(node, "<< must be a mapping or a list of mappings")
	}
	var all []yamlMember
	for _, element := range node.Content {
		more, err := merge(element, merges+1)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func (c *converter) appendScalar(node *yaml.Node) (err error) {
	tag := node.ShortTag()
	if tag == "!!str" && node.Style == 0 && isJSONNumber(node.Value) {
		tag = "!!float" // the library reads a number beyond float64 as a text
	}
	switch tag {
	case "!!null":
		c.text = append(c.text, "null"...)
	case "!!bool":
		c.text = append(c.text, strings.ToLower(node.Value)...)
	case "!!int", "!!float":
		number, err := numberOf(node)
		if err != nil {
			return err
		}
		c.text = append(c.text, number...)
	case "!!str", "!!timestamp":
		if !utf8.ValidString(node.Value) {
			return fail(node, "a text must be valid UTF-8")
		}
		if c.text, err = jsontext.AppendQuote(c.text, node.Value); err != nil {
			return fail(node, "%v", err)
		}
	default:
		return fail(node, "the tag %s is not supported", tag)
	}
	return nil
}

// numberOf returns a number of YAML as one of JSON with the same digits. A number that
// YAML 1.1 and 1.2 read as different numbers is refused.
func numberOf(node *yaml.Node) (string, error) {
	text := node.Value
	if isJSONNumber(text) {
		return text, nil
	}
	plain := strings.ReplaceAll(text, "_", "")
	digits, sign := strings.TrimPrefix(plain, "+"), ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		digits, sign = rest, "-"
	}
	switch lower := strings.ToLower(digits); {
	case strings.HasPrefix(lower, "0x"), strings.HasPrefix(lower, "0o"), strings.HasPrefix(lower, "0b"):
		if n, ok := new(big.Int).SetString(digits, 0); ok {
			return sign + n.String(), nil
		}
	case strings.HasPrefix(digits, "."):
		digits = "0" + digits
	case strings.Contains(digits, ".e"), strings.Contains(digits, ".E"), strings.HasSuffix(digits, "."):
		digits = strings.Replace(digits, ".", "", 1)
	}
	if isJSONNumber(sign + digits) {
		return sign + digits, nil
	}
	return "", fail(node, "the number %.40q must be written as in JSON, or as a text in quotation marks", text)
}

// isJSONNumber reports whether text is a number as in RFC 8259, section 6.
func isJSONNumber(text string) bool {
	first := text != "" && (text[0] == '-' || text[0] >= '0' && text[0] <= '9')
	return first && strings.TrimSpace(text) == text && jsontext.Value(text).IsValid()
}
