package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"syncplane/pkg/testkit/testbuild"
)

// module makes a module with two packages of the same name, of which one can fail, and
// returns its directory.
func module(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"go.mod": "module example\n\ngo 1.26\n", "empty/empty.go": "package empty\n"}
	for _, p := range []string{"first", "second"} {
		files[p+"/same/same_test.go"] = `package same
import ("os"; "testing")
func Test(t *testing.T) {
	if os.Getenv("FAIL") == "` + p + `" { t.Error("it fails") }
}
`
	}
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestSuite checks that all packages are tested, that one that fails fails the run, and
// that programs are not linked again.
func TestSuite(t *testing.T) {
	t.Parallel()
	programs, err := testbuild.Programs(t.Context(), nil, "-trimpath", ".")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(programs) })
	dir, cache := module(t), t.TempDir()
	linked := map[string]os.FileInfo{}
	for _, fail := range []string{"", "first", "second"} {
		command := exec.CommandContext(t.Context(), filepath.Join(programs, "suite"), "-count=1", "-trimpath")
		command.Dir = dir
		command.Env = slices.Concat(os.Environ(), []string{"SYNCPLANE_CACHE=" + cache, "FAIL=" + fail, "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1"})
		out, err := command.CombinedOutput()
		if (err == nil) != (fail == "") {
			t.Errorf("FAIL=%s: got %v, %s", fail, err, out)
		}
		for _, p := range []string{"first", "second"} {
			result := "ok  \t"
			if fail == p {
				result = "FAIL\t"
			}
			if !strings.Contains(string(out), fmt.Sprintf("%sexample/%s/same\t", result, p)) {
				t.Errorf("FAIL=%s: got %s, want %q for %s", fail, out, result, p)
			}
		}
		files, err := filepath.Glob(filepath.Join(cache, "tests", "*", "*", "same.test"))
		if err != nil || len(files) != 2 {
			t.Fatalf("got the programs %v, %v", files, err)
		}
		for _, file := range files {
			now, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if before := linked[file]; before != nil && !os.SameFile(before, now) {
				t.Errorf("%s was linked again", file)
			}
			linked[file] = now
		}
	}
}
