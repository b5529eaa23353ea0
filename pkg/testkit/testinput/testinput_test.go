package testinput_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/testkit/testinput"
)

// module is a module whose program imports a package that embeds a file.
var module = map[string]string{
	"go.mod":                    "module example\n\ngo 1.26\n",
	"go.sum":                    "",
	"program/main.go":           "package main\n\nimport _ \"example/library\"\n\nfunc main() {}\n",
	"program/tagged.go":         "//go:build tagged\n\npackage main\n\nimport _ \"example/tagged\"\n",
	"program/main_test.go":      "package main\n",
	"library/library.go":        "package library\n\nimport _ \"embed\"\n\n//go:embed texts/text\nvar text string\n",
	"library/texts/text":        "text\n",
	"tagged/tagged.go":          "package tagged\n",
	"unused/unused.go":          "package unused\n",
	"test/script":               "#!/bin/sh\n",
	"test/folder/folder/script": "#!/bin/sh\n",
	"test/bin/program":          "",
	"test/folder/bin/program":   "",
}

// TestInputs checks which files go test is given as the inputs of a test.
func TestInputs(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range module {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for calls, want := range map[string][]string{
		"packages": {
			"open ../go.mod", "open ../go.sum", "stat ..",
			"open ../program/main.go", "open ../program/tagged.go", "stat ../program",
			"open ../library/library.go", "stat ../library", "open ../library/texts/text", "stat ../library/texts",
		},
		"packages -tags tagged": {
			"open ../go.mod", "open ../go.sum", "stat ..",
			"open ../program/main.go", "open ../program/tagged.go", "stat ../program",
			"open ../library/library.go", "stat ../library", "open ../library/texts/text", "stat ../library/texts",
			"open ../tagged/tagged.go", "stat ../tagged",
		},
		"tree": {
			"stat .", "open script", "stat script", "stat folder", "open folder", "open folder/folder", "open folder/folder/script",
			"open folder/bin", "open folder/bin/program",
		},
	} {
		t.Run(calls, func(t *testing.T) {
			slices.Sort(want)
			if diff := cmp.Diff(want, inputs(t, filepath.Join(root, "test"), calls)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// inputs runs TestNested in a directory, and returns the files of the log from which go
// test knows the inputs of a test.
func inputs(t *testing.T, directory, calls string) []string {
	t.Helper()
	program, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "log")
	command := exec.CommandContext(t.Context(), program, "-test.run=^TestNested$", "-test.testlogfile="+log)
	command.Dir = directory
	command.Env = append(os.Environ(), "TESTINPUT_CALLS="+calls, "GORACE=atexit_sleep_ms=0") // by default a second
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		kind, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if (kind == "open" || kind == "stat") && !filepath.IsAbs(name) {
			names = append(names, kind+" "+name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestNested makes the calls that TestInputs names.
func TestNested(t *testing.T) {
	calls := strings.Fields(os.Getenv("TESTINPUT_CALLS"))
	if len(calls) == 0 {
		return
	}
	var err error
	if calls[0] == "packages" {
		_, err = testinput.Packages(t.Context(), append(calls[1:], "../program")...)
	} else {
		var names []string
		names, err = testinput.Tree(".", "bin")
		if want := []string{"folder", "script"}; !slices.Equal(names, want) {
			t.Errorf("got %v, want %v", names, want)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// TestFiles checks that the digest changes with the contents of a file and with the names
// in its directory, and that it does not depend on anything else.
func TestFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	seen := map[string]string{}
	check := func(change string, isNew bool) {
		t.Helper()
		digest, err := testinput.Files([]string{"a", "b"})
		if err != nil {
			t.Fatal(err)
		}
		if same, found := seen[string(digest)]; found == isNew {
			t.Errorf("%s: got the digest of %q, want a new one: %t", change, same, isNew)
		}
		seen[string(digest)] = change
	}
	for _, file := range []struct {
		name, text string
		isNew      bool
	}{{"b", "", false}, {"a", "1", true}, {"a", "2", true}, {"b", "2", true}, {"b", "2", false}, {"c", "", true}, {"c", "1", false}} {
		if err := os.WriteFile(file.name, []byte(file.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if file.name == "b" && file.text == "" {
			continue // a is not there yet
		}
		check(file.name+" is "+file.text, file.isNew)
	}
	if err := os.Chtimes("a", time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	check("another time", false)
	if err := os.Remove("b"); err != nil {
		t.Fatal(err)
	}
	if _, err := testinput.Files([]string{"a", "b"}); !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}

// TestErrors checks the errors for what is not there.
func TestErrors(t *testing.T) {
	if _, err := testinput.Packages(t.Context(), "./none"); err == nil || !strings.Contains(err.Error(), "none: directory not found") {
		t.Errorf("got %v", err)
	}
	if names, err := testinput.Tree("none"); !os.IsNotExist(err) {
		t.Errorf("got %v, %v", names, err)
	}
}
