package testbuild_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"syncplane/pkg/testkit/testbuild"
)

// built builds testdata/program with flags, and returns its path.
func built(t *testing.T, flags ...string) string {
	t.Helper()
	dir, err := testbuild.Programs(t.Context(), []string{"CGO_ENABLED=0"}, append(flags, "./testdata/program")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return filepath.Join(dir, "program")
}

func info(t *testing.T, file string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// TestPrograms checks that a program is linked once, that other flags make another
// program, and that what was returned stays when its directory is removed.
func TestPrograms(t *testing.T) {
	t.Setenv("SYNCPLANE_CACHE", t.TempDir()) // on the file system of the programs
	first, second := built(t), built(t)
	other := built(t, "-ldflags=-X main.text=other")
	if !os.SameFile(info(t, first), info(t, second)) {
		t.Error("the same program was linked twice")
	}
	if err := os.RemoveAll(filepath.Dir(first)); err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string]string{second: "the default\n", other: "other\n"} {
		if out, err := exec.CommandContext(t.Context(), program).CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("got %q, %v, want %q", out, err, want)
		}
	}
}

// TestSources checks that nothing is built as long as the sources and the settings of Go
// are the same, and that a program is built again when one of them has changed.
func TestSources(t *testing.T) {
	t.Setenv("SYNCPLANE_CACHE", t.TempDir())
	t.Chdir(t.TempDir())
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example\n\ngo 1.26\n")
	write("go.sum", "")
	write("main.go", "package main\n\nvar text = \"one\"\n\nfunc main() { println(text) }\n")
	check := func(change, want string) {
		t.Helper()
		dir, err := testbuild.Programs(t.Context(), []string{"CGO_ENABLED=0"}, "-trimpath", ".")
		if err != nil {
			t.Fatalf("%s: %v", change, err)
		}
		defer os.RemoveAll(dir) //nolint:errcheck // it is in a temporary directory
		if out, err := exec.CommandContext(t.Context(), filepath.Join(dir, "example")).CombinedOutput(); err != nil || string(out) != want+"\n" {
			t.Errorf("%s: got %q, %v, want %q", change, out, err, want)
		}
	}
	check("no program", "one")
	t.Run("without go", func(t *testing.T) {
		t.Setenv("PATH", "/nonexistent")
		check("nothing", "one")
	})
	write("main.go", "package main\n\nvar text = \"two\"\n\nfunc main() { println(text) }\n")
	check("a source", "two")
	t.Setenv("GOFLAGS", "-ldflags=-X=main.text=three")
	check("a setting", "three")
}

func TestBuildErrors(t *testing.T) {
	t.Setenv("SYNCPLANE_CACHE", t.TempDir())
	if _, err := testbuild.Programs(t.Context(), nil, "./testdata/missing"); err == nil || !strings.Contains(err.Error(), "testdata/missing") {
		t.Errorf("got %v", err)
	}
}
