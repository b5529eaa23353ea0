package templatetest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/testkit/templatetest"
)

func operations(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(templatetest.Root(t), "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestRunbook checks that each alarm has its entry in docs/operations.md, which names a
// command, a log or a queue, and that no entry is left over.
func TestRunbook(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	_, runbook, _ := strings.Cut(operations(t), "\n## Runbook\n")
	runbook, _, _ = strings.Cut(runbook, "\n## ")
	entries := map[string]string{}
	for _, entry := range strings.Split(runbook, "\n### ")[1:] {
		name, text, _ := strings.Cut(entry, "\n")
		entries[name] = text
		if len(strings.TrimSpace(text)) < 100 || !strings.Contains(text, "`") {
			t.Errorf("the entry of %s does not describe what to look at", name)
		}
	}
	for _, id := range template.OfType("AWS::CloudWatch::Alarm") {
		if entries[id] == "" {
			t.Errorf("%s has no entry", id)
		}
		delete(entries, id)
	}
	if len(entries) > 0 {
		t.Errorf("there are entries of no alarm: %v", entries)
	}
	for _, name := range regexp.MustCompile("`([A-Z][A-Za-z]+(?:Queue|Failures|Function|Arn|Url|Concurrency|Parallelization|Size))`").FindAllStringSubmatch(operations(t), -1) {
		if !slices.Contains(slices.Concat(template.Names("Resources"), template.Names("Parameters"), template.Names("Outputs")), name[1]) {
			t.Errorf("docs/operations.md names %s, which is not in the template", name[1])
		}
	}
}

// TestParameters compares the table of parameters in docs/operations.md with the
// template: names, order, defaults and meanings.
func TestParameters(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	var want []string
	groups, _ := template.At("Metadata", "AWS::CloudFormation::Interface", "ParameterGroups").([]any)
	for _, group := range groups {
		members, _ := group.(map[string]any)
		for _, name := range templatetest.Texts(members["Parameters"]) {
			value := "required"
			if given := template.At("Parameters", name, "Default"); given != nil {
				value = ""
				if text := fmt.Sprint(given); text != "" {
					value = "`" + text + "`"
				}
			}
			want = append(want, fmt.Sprintf("| `%s` | %s | %s |", name, value, template.At("Parameters", name, "Description")))
		}
	}
	if len(want) != len(template.Names("Parameters")) {
		t.Errorf("%d parameters are in groups, want all %d", len(want), len(template.Names("Parameters")))
	}
	_, table, _ := strings.Cut(operations(t), "| parameter | default | meaning |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if diff := cmp.Diff(want, strings.Split(table, "\n")); diff != "" {
		t.Error(diff)
	}
}
