package main_test

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// TestVersion compares the printed version with what package buildinfo, and so
// `go version -m`, reads from the same file: built in a repository with a commit, in one with an uncommitted
// change, and in none.
func TestVersion(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		git  string // a script that runs in the directory of the module
		want string
	}{
		"without a repository":  {"", `^syncplane \(devel\) GO PLATFORM\n$`},
		"a commit":              {commit, `^syncplane v0\.0\.0-\d{14}-[0-9a-f]{12} commit COMMIT TIME GO PLATFORM\n$`},
		"an uncommitted change": {commit + "; echo >>main.go", `^syncplane v0\.0\.0-\d{14}-[0-9a-f]{12}\+dirty commit COMMIT TIME modified GO PLATFORM\n$`},
		"a tag":                 {commit + "; git tag v1.2.3", `^syncplane v1\.2\.3 commit COMMIT TIME GO PLATFORM\n$`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := buildIn(t, test.git)
			out, err := exec.CommandContext(t.Context(), binary, "version").Output()
			if err != nil {
				t.Fatal(err)
			}
			read, err := buildinfo.ReadFile(binary)
			if err != nil {
				t.Fatal(err)
			}
			setting := func(name string) string {
				for _, s := range read.Settings {
					if s.Key == name {
						return s.Value
					}
				}
				return "(none)"
			}
			want := strings.NewReplacer(
				"GO", regexp.QuoteMeta(runtime.Version()), "PLATFORM", runtime.GOOS+"/"+runtime.GOARCH,
				"COMMIT", setting("vcs.revision"), "TIME", setting("vcs.time"),
			).Replace(test.want)
			if !regexp.MustCompile(want).Match(out) {
				t.Errorf("got %q, want %s", out, want)
			}
		})
	}
}

// commit makes a repository with one commit.
const commit = "git init -q; git add -A; git -c user.name=test -c user.email=test@example.com commit -qm first"

// buildIn builds a module whose one command has the version command of this
// one, after a script has run in its directory, and returns the binary.
func buildIn(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("buildinfo.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"go.mod":       "module syncplane\n\ngo 1.26\n",
		"buildinfo.go": string(text),
		"main.go": `package main

import (
	"io"
	"os"
)

type environment struct{ stdout io.Writer }

func main() {
	if err := version(environment{os.Stdout}); err != nil {
		os.Exit(1)
	}
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), "syncplane")
	if script == "" {
		script = "true"
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script+"; go build -trimpath -ldflags='-s -w' -buildvcs=auto -o "+binary+" .")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GOWORK=off", "GOFLAGS=", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}
