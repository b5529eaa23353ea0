package apply_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/cmd/syncplane/internal/apply"
)

// good is a sync in YAML, without a configuration.
const good = `name: a
source_id: 1
destination_id: 2
model_id: 3
stream_name: contacts
sync_interval: 30
`

// TestReadForms reads files of each form that hold the same syncs.
func TestReadForms(t *testing.T) {
	t.Parallel()
	const one = `{"name":"NAME","source_id":1,"destination_id":2,"model_id":3,"stream_name":"contacts","sync_interval":30}`
	a, b := strings.Replace(one, "NAME", "a", 1), strings.Replace(one, "NAME", "b", 1)
	flow := func(json string) string { return strings.ReplaceAll(strings.ReplaceAll(json, `"`, ""), ":", ": ") }
	block := strings.TrimSpace(strings.ReplaceAll(good, "\n", "\n  "))
	for form, text := range map[string]string{
		"documents":         good + "---\n" + strings.Replace(good, "name: a", "name: b", 1),
		"with an empty one": "---\n---\n" + good + "---\n# nothing\n---\n" + strings.Replace(good, "name: a", "name: b", 1),
		"a list":            "- " + block + "\n- " + strings.Replace(block, "name: a", "name: b", 1) + "\n",
		"syncs":             "syncs:\n- " + block + "\n- " + strings.Replace(block, "name: a", "name: b", 1) + "\n",
		"a merge":           "syncs:\n- &a\n  " + block + "\n- <<: *a\n  name: b\n",
		"merges":            "syncs:\n- &a\n  " + block + "\n- <<: [*a, {name: c}]\n  name: b\n",
		"JSON documents":    a + "\n" + b,
		"a JSON list":       "[" + a + "," + b + "]",
		"JSON syncs":        "\ufeff{\"syncs\":\t[" + a + "," + b + "]}",
		"flow":              "{syncs: [" + flow(a) + ", " + flow(b) + "]}",
	} {
		got, err := apply.Read(apply.File{Name: "syncs.yaml", Text: []byte(text)})
		if err != nil || len(got) != 2 || got[0].Name != "a" || got[1].Name != "b" {
			t.Errorf("%s: got %v, %+v", form, err, got)
			continue
		}
		if *got[1].Draft.SourceID != 1 || *got[1].Draft.SyncMode != "full_refresh" || *got[1].Draft.Configuration != `{"syncplane.name":"b"}` {
			t.Errorf("%s: got %+v", form, got[1].Draft)
		}
	}
	two, err := apply.Read(apply.File{Name: "x", Text: []byte(a)}, apply.File{Name: "y", Text: []byte(b)})
	if err != nil || len(two) != 2 {
		t.Errorf("got %v, %v", err, two)
	}
	if none, err := apply.Read(apply.File{Name: "x", Text: []byte("syncs: []")}); err != nil || len(none) != 0 {
		t.Errorf("got %v, %v", err, none)
	}
}

// TestReadValues checks that values of a configuration keep their digits and texts.
func TestReadValues(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]string{
		`9007199254740993`:               `9007199254740993`,
		`123456789012345678901234567890`: `123456789012345678901234567890`,
		`0.1000000000000000055511151231`: `0.1000000000000000055511151231`,
		`1e400`:                          `1e400`,
		`-0.0`:                           `-0.0`,
		`1.10`:                           `1.10`,
		`0x1F`:                           `31`,
		`0o17`:                           `15`,
		`1_000`:                          `1000`,
		`+5`:                             `5`,
		`.5`:                             `0.5`,
		`-.5`:                            `-0.5`,
		`5.`:                             `5`,
		`true`:                           `true`,
		`False`:                          `false`,
		`~`:                              `null`,
		``:                               `null`,
		`yes`:                            `"yes"`,
		`on`:                             `"on"`,
		`2026-11-30`:                     `"2026-11-30"`,
		`12:30`:                          `"12:30"`,
		`"010"`:                          `"010"`,
		`!!str 5`:                        `"5"`,
		`"a\tb\u00e9\U0001F600"`:         `"a\tbé😀"`,
		`|` + "\n    two\n    lines":     `"two\nlines\n"`,
		`[1, {b: 2, a: [~]}]`:            `[1,{"b":2,"a":[null]}]`,
		`{on: 1, "1": 2}`:                `{"on":1,"1":2}`,
	} {
		got, err := apply.Read(apply.File{Name: "a.yaml", Text: []byte(good + "configuration:\n  v: " + yaml + "\n")})
		if err != nil {
			t.Errorf("%s: %v", yaml, err)
			continue
		}
		if diff := cmp.Diff(`{"syncplane.name":"a","v":`+want+`}`, *got[0].Draft.Configuration); diff != "" {
			t.Errorf("%s: %s", yaml, diff)
		}
	}
	const json = `{"name":"a","source_id":1,"destination_id":2,"model_id":3,"stream_name":"c","sync_interval":30,"configuration":{"s":"\ud83d\ude00\/","n":1.10,"b":9007199254740993}}`
	got, err := apply.Read(apply.File{Name: "-", Text: []byte(json)})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"syncplane.name":"a","s":"\ud83d\ude00\/","n":1.10,"b":9007199254740993}`, *got[0].Draft.Configuration); diff != "" {
		t.Error(diff)
	}
}

// TestReadRefuses checks the error for each fault of a file.
func TestReadRefuses(t *testing.T) {
	t.Parallel()
	with := func(line string) string { return good + line + "\n" }
	without := func(name string) string {
		var lines []string
		for line := range strings.Lines(good) {
			if !strings.HasPrefix(line, name+":") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
	laughs := "a0: &a0 " + strings.Repeat("x", 300) + "\n"
	for i := range 8 {
		n, m := string(rune('0'+i+1)), string(rune('0'+i))
		laughs += "a" + n + ": &a" + n + " [" + strings.TrimSuffix(strings.Repeat("*a"+m+", ", 10), ", ") + "]\n"
	}
	for name, test := range map[string]struct{ text, want string }{
		"nothing":                {"", "x.yaml must hold syncs; for none, write syncs: []"},
		"only a comment":         {"# syncs\n", "x.yaml must hold syncs; for none, write syncs: []"},
		"a text":                 {"syncs", "a document must be a sync, a list of syncs, or a member syncs with a list"},
		"syncs that are none":    {"syncs: 1", "syncs must be a list, and the only member of its document"},
		"syncs and more":         {"syncs: []\nprune: true", "syncs must be a list, and the only member of its document"},
		"a list of texts":        {"[a]", "a sync must be an object with a name"},
		"not UTF-8":              {"a: \xff", "the file must be UTF-8"},
		"not YAML":               {"a: [", "did not find expected node content"},
		"a JSON fault":           {`{"name":"a",}`, ""},
		"no name":                {without("name"), "name is required: it identifies the sync in this file and in the workspace"},
		"an empty name":          {strings.Replace(good, "name: a", `name: ""`, 1), `name must be a text of 1 to 255 characters without control characters and not all invisible, got ""`},
		"an invisible name":      {strings.Replace(good, "name: a", `name: "\u200b"`, 1), "name must be a text of 1 to 255 characters without control characters and not all invisible, got \"\u200b\""},
		"a C1 control in a name": {strings.Replace(good, "name: a", `name: "a\u009bb"`, 1), "name must be a text of 1 to 255 characters without control characters and not all invisible, got \"a\u009bb\""},
		"a number as a name":     {strings.Replace(good, "name: a", "name: 5", 1), "name must be a text of 1 to 255 characters without control characters and not all invisible, got 5"},
		"a long name":            {strings.Replace(good, "name: a", "name: "+strings.Repeat("a", 256), 1), "name must be a text of 1 to 255 characters"},
		"a line break in one":    {strings.Replace(good, "name: a", `name: "a\nb"`, 1), "name must be a text of 1 to 255 characters"},
		"one name twice":         {good + "---\n" + good, `x.yaml: sync "a": the name is taken by a sync in x.yaml; names must be unique`},
		"an unknown field":       {with("sorce_id: 1"), `x.yaml: sync "a": unknown field sorce_id; must be one of name, enabled, source_id, destination_id,`},
		"a status":               {with("status: disabled"), "unknown field status"},
		"a missing field":        {without("sync_interval"), "sync_interval"},
		"a text for a number":    {strings.Replace(good, "source_id: 1", `source_id: "1"`, 1), "source_id"},
		"two faults":             {with("cron_expression: 0 0 30 2 *\nsync_mode: fast"), "sync_mode"},
		"enabled":                {with("enabled: maybe"), `enabled must be true or false, got "maybe"`},
		"the reserved member":    {with("configuration: {syncplane.name: b}"), "configuration must not have the member syncplane.name, which holds the name"},
		"no configuration":       {with("configuration: []"), "configuration"},
		"a key twice":            {with("configuration: {a: 1, a: 2}"), `line 7: the key "a" appears twice`},
		"a JSON key twice":       {`{"name":"a","name":"b"}`, "duplicate"},
		"a number as a key":      {with("configuration: {1: a}"), `line 7: the key "1" must be a string; put it in quotation marks`},
		"an ambiguous number":    {with("configuration: {a: 010}"), `line 7: the number "010" must be written as in JSON, or as a text in quotation marks`},
		"infinity":               {with("configuration: {a: .inf}"), `the number ".inf" must be written as in JSON`},
		"a binary":               {with("configuration: {a: !!binary aGk=}"), "the tag !!binary is not supported"},
		"an unknown tag":         {with("configuration: {a: !x 1}"), "the tag !x is not supported"},
		"nested too deep":        {with("configuration: {a: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}"), "64"},
		"an alias of itself":     {with("configuration: &c {a: *c}"), "nested at most"},
		"many aliases":           {laughs, "the file must have at most 4194304 bytes with its aliases expanded"},
		"a merge of a text":      {with("<<: a"), "line 7: << must be a mapping or a list of mappings"},
		"larger than a request":  {with("configuration: {a: " + strings.Repeat("x", 256<<10) + "}"), "the sync must have at most 262144 bytes as JSON"},
	} {
		got, err := apply.Read(apply.File{Name: "x.yaml", Text: []byte(test.text)})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %+v, want %q", name, err, got, test.want)
		}
	}
	_, err := apply.Read(apply.File{Name: "x", Text: []byte(with("a: 1"))}, apply.File{Name: "y", Text: []byte(with("b: 1"))})
	if err == nil || strings.Count(err.Error(), "unknown field") != 2 {
		t.Errorf("got %v, want both faults", err)
	}
}
