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

func TestBuildErrors(t *testing.T) {
	t.Setenv("SYNCPLANE_CACHE", t.TempDir())
	if _, err := testbuild.Programs(t.Context(), nil, "./testdata/missing"); err == nil || !strings.Contains(err.Error(), "testdata/missing") {
		t.Errorf("got %v", err)
	}
}
