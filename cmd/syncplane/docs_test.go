package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/testinput"
)

// root is the root of the repository.
const root = "../.."

// The words that may follow "sh" in the info string of a code block. A block
// without one is run to its end. In a block of any language, the path of a file in
// examples as the second word means that the block is the text of that file.
const (
	untilInterrupted = "until-interrupted" // it runs until it is interrupted
	needsDynamoDB    = "dynamodb"          // it needs a DynamoDB Local
	needsAWS         = "aws"               // verify/stack/documentation.py runs it
	needsDocker      = "docker"            // verify/image and verify/samlocal run it
	slow             = "slow"              // it takes minutes, or would run this test again; it is not run
)

// block is a fenced code block of a page.
type block struct {
	line   int // of its first line of text
	info   []string
	text   string
	answer *block // the block that follows directly, nil if there is prose in between
}

func (b block) is(word string) bool { return slices.Contains(b.info, word) }

// notRun reports whether the block cannot run in a test.
func (b block) notRun() bool { return b.is(needsAWS) || b.is(needsDocker) || b.is(slow) }

// pages returns the text of each page of documentation, by its path in the
// repository.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range append(names, filepath.Join(root, "README.md"), filepath.Join(root, "CONTRIBUTING.md"),
		filepath.Join(root, "CHANGELOG.md"), filepath.Join(root, "SECURITY.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		path, err := filepath.Rel(root, name)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(text)
	}
	return all
}

// blocks returns the code blocks of a page.
func blocks(page string) []*block {
	var all []*block
	var open *block
	direct := false // only empty lines since the last block
	for i, line := range strings.Split(page, "\n") {
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{line: i + 2, info: strings.Fields(info)}
			if direct {
				all[len(all)-1].answer = open
			}
		case fence:
			all = append(all, open)
			open, direct = nil, true
		case open != nil:
			open.text += line + "\n"
		case line != "":
			direct = false
		}
	}
	return all
}

// TestDocsRun runs the shell commands of README and docs, in the order of each
// page, and compares the output with the block that shows it. Commands that
// need AWS or Docker are only checked for the targets and commands they name.
func TestDocsRun(t *testing.T) {
	t.Parallel()
	d := newDocsRunner(t)
	d.command(t, "make bin/syncplane") // make has nothing to link
	d.replaceGo(t)
	linkFunctions(t, d.dir)
	linkWorker(t, d.dir)
	for path, page := range pages(t) {
		t.Run(path, func(t *testing.T) {
			for _, b := range blocks(page) {
				if len(b.info) == 0 {
					continue
				}
				if len(b.info) > 1 && strings.HasPrefix(b.info[1], "examples/") {
					checkListing(t, b)
					continue
				}
				if b.info[0] != "sh" {
					if slices.Contains([]string{"bash", "shell", "console"}, b.info[0]) {
						t.Errorf("line %d: mark a shell block as sh, got %q", b.line, b.info)
					}
					continue
				}
				for _, word := range b.info[1:] {
					if !slices.Contains([]string{untilInterrupted, needsDynamoDB, needsAWS, needsDocker, slow}, word) {
						t.Errorf("line %d: unknown word %q after sh", b.line, word)
					}
				}
				switch {
				case b.notRun():
					d.checkNames(t, b)
				case b.is(needsDynamoDB):
					t.Run("dynamodb", func(t *testing.T) { d.over(dynamotest.Endpoint(t)).run(t, b) })
				case strings.Contains(b.text, "jq ") || strings.Contains(b.text, "pull.sh"):
					t.Run("jq", func(t *testing.T) {
						checkJQ(t)
						d.run(t, b)
					})
				default:
					d.run(t, b)
				}
			}
		})
	}
}

// checkJQ skips the test if jq is not installed; with CI=true, where a skip would go
// unnoticed, it fails the test.
func checkJQ(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("jq")
	if err != nil && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED, NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// checkListing compares a block that names a file of examples with that file, whose
// own tests run it.
func checkListing(t *testing.T, b *block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, b.info[1]))
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(string(text), b.text); diff != "" {
		t.Errorf("line %d: %s (-) differs: %s", b.line, b.info[1], diff)
	}
}

// docsRunner runs blocks in a copy of the repository, against one server.
type docsRunner struct {
	dir      string // links to everything in the repository except for what git, make, sam and the server write
	address  string // of the server
	database string // the endpoint of a DynamoDB, "" if the blocks need none
	env      []string
}

func newDocsRunner(t *testing.T) docsRunner {
	t.Helper()
	// The commands may read each of the files.
	entries, err := testinput.Tree(root, ".git", ".syncs", ".aws-sam", "bin")
	if err != nil {
		t.Fatal(err)
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range entries {
		if err := os.Symlink(filepath.Join(absolute, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// Without this curl succeeds whatever the status of the response is.
	if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte("fail-with-body\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// With -trimpath, go finds that what the test has built is up to date.
	env := append(os.Environ(), "CURL_HOME="+dir, "GOFLAGS=-trimpath")
	for _, name := range []string{
		"PORT", "STORE", "LOG_LEVEL", "CREATE_LIMIT", "WEBHOOK_URL", "WEBHOOK_SECRET", "TABLE_NAME", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB",
		"WORKSPACE", "SCOPE", "TTL", "EVENT", "MAKEFLAGS", "MAKELEVEL", "MFLAGS",
	} {
		env = append(env, name+"=") // as if it were not set
	}
	dataDir := t.TempDir()
	d := docsRunner{dir: dir, address: serve(t, dataDir).address}
	d.env = append(env, "DATA_DIR="+dataDir, "SYNCPLANE_URL="+d.address)
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(binary, filepath.Join(dir, "bin", "syncplane")); err != nil {
		t.Fatal(err)
	}
	return d
}

// replaceGo puts a script before go in PATH.
func (d *docsRunner) replaceGo(t *testing.T) {
	t.Helper()
	// Each token needs bin/syncplane. go takes a quarter of a second to find that it is up
	// to date, so from now on a script does this in its place.
	realGo, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	programs := t.TempDir()
	script := "#!/bin/sh\n[ \"$*\" = 'build -trimpath -tags lambda.norpc -o bin/syncplane ./cmd/syncplane' ] && [ -e bin/syncplane ] || exec '" + realGo + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(programs, "go"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	d.env = append(d.env, "PATH="+programs+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// over returns a runner for blocks that need a DynamoDB.
func (d docsRunner) over(endpoint string) docsRunner {
	d.database = endpoint
	d.env = append(slices.Clone(d.env), "AWS_ENDPOINT_URL_DYNAMODB="+endpoint)
	return d
}

// command runs a command that must succeed, and returns its standard output.
func (d docsRunner) command(t *testing.T, text string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := d.shell(t, text)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s\n%s%s", err, text, &stdout, &stderr)
	}
	return stdout.String()
}

// shell returns a command with the addresses of this test in place of those of
// the documentation.
func (d docsRunner) shell(t *testing.T, text string) *exec.Cmd {
	t.Helper()
	text = strings.ReplaceAll(text, "http://127.0.0.1:8080", d.address)
	text = strings.ReplaceAll(text, "--port 8080", "--port "+d.address[strings.LastIndexByte(d.address, ':')+1:])
	text = strings.ReplaceAll(text, "PORT=9000", "PORT=0") // of a worker
	if d.database != "" {
		text = strings.ReplaceAll(text, "http://127.0.0.1:8000", d.database)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", text)
	cmd.Dir, cmd.Env = d.dir, d.env
	return cmd
}

// run runs a block, and compares its output with its answer.
func (d docsRunner) run(t *testing.T, b *block) {
	t.Helper()
	if b.is(untilInterrupted) {
		d.interrupt(t, b)
		return
	}
	out := d.command(t, b.text)
	if b.answer == nil || len(b.answer.info) == 0 {
		return
	}
	switch b.answer.info[0] {
	case "json":
		var got, want any
		if err := json.Unmarshal([]byte(maskToken(out)), &got); err != nil {
			t.Errorf("line %d: %v: %s", b.line, err, out)
		}
		if err := json.Unmarshal([]byte(maskToken(b.answer.text)), &want); err != nil {
			t.Errorf("line %d: %v", b.answer.line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("line %d: %s", b.answer.line, diff)
		}
	case "text":
		if diff := cmp.Diff(maskToken(b.answer.text), maskToken(out)); diff != "" {
			t.Errorf("line %d: %s", b.answer.line, diff)
		}
	}
}

// maskToken returns text without the values that differ from run to run.
func maskToken(text string) string {
	text = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).ReplaceAllString(text, "ID")
	return regexp.MustCompile(`([A-Z][a-z][a-z] )?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z`).ReplaceAllString(text, "TIME")
}

// interrupt starts a block, waits for its first line of output and interrupts
// it. A server that it starts has a port and data of its own.
func (d docsRunner) interrupt(t *testing.T, b *block) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := d.shell(t, b.text)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // make and what it starts are interrupted, as by Ctrl-C
	cmd.Stderr = &stderr
	if strings.Contains(b.text, "make run") {
		cmd.Env = append(slices.Clone(cmd.Env), "PORT=0", "DATA_DIR="+t.TempDir())
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer late.Stop()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() == "" {
		t.Errorf("line %d: no output from %s", b.line, b.text)
	}
	first := lines.Text()
	// emulate prints a line before it starts moto_server, and an interrupt at its start is
	// an error of moto_server.
	for strings.Contains(b.text, "syncplane emulate") && !strings.HasPrefix(lines.Text(), "Stop with ") && lines.Scan() {
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Errorf("line %d: it ended by itself, with %q: %v", b.line, first, err)
	}
	for lines.Scan() {
	}
	if exit, ok := errors.AsType[*exec.ExitError](cmd.Wait()); ok && !interrupted(exit) {
		t.Errorf("line %d: %v: %s\n%s\n%s", b.line, exit, b.text, first, &stderr)
	}
}

// interrupted reports whether a process ended because of a SIGINT: by the signal
// itself, or with the status that a shell and make have then.
func interrupted(exit *exec.ExitError) bool {
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && (status.Signaled() && status.Signal() == syscall.SIGINT || slices.Contains([]int{130, 2}, status.ExitStatus()))
}

// checkNames checks that the make targets and the commands of syncplane that a
// block names are there.
func (d docsRunner) checkNames(t *testing.T, b *block) {
	t.Helper()
	for _, target := range regexp.MustCompile(`\bmake (?:-s )?([a-z/]+)`).FindAllStringSubmatch(b.text, -1) {
		d.command(t, "make -n "+target[1])
	}
	for _, name := range regexp.MustCompile(`\bbin/syncplane ([a-z-]+)`).FindAllStringSubmatch(b.text, -1) {
		if !regexp.MustCompile(`(?m)^  ` + name[1] + `\b`).MatchString(helpOf(t, "syncplane")) {
			t.Errorf("line %d: there is no command %s", b.line, name[1])
		}
	}
}

// TestDocsLinks checks that what the pages link to is there, headings included,
// that paths in the text exist, and that README links to each page of docs.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	all := pages(t)
	for path, page := range all {
		for _, link := range regexp.MustCompile(`\]\(([^)]+)\)`).FindAllStringSubmatch(page, -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, heading, _ := strings.Cut(link[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %v", path, err)
			} else if heading != "" && !slices.Contains(anchors(all[target]), heading) {
				t.Errorf("%s: %s has no heading #%s", path, target, heading)
			}
		}
		for _, name := range regexp.MustCompile("`((?:pkg|cmd|examples|functions|events|docs|bench|verify)/[^` ]*)`").FindAllStringSubmatch(page, -1) {
			if _, err := os.Stat(filepath.Join(root, name[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		if strings.HasPrefix(path, "docs/") && !strings.Contains(all["README.md"], "]("+path+")") {
			t.Errorf("README.md does not link to %s", path)
		}
	}
}

// anchors returns the anchors of the headings of a page.
func anchors(page string) []string {
	var all []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}

// TestDocsFolders checks that README's table of folders names each package of
// two levels, test helpers aside, and no folder that is not there.
func TestDocsFolders(t *testing.T) {
	t.Parallel()
	readme := pages(t)["README.md"]
	_, table, _ := strings.Cut(readme, "| folder |")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, name := range regexp.MustCompile("`([a-z]+/[a-z/]*)`").FindAllStringSubmatch(table, -1) {
		path := filepath.Join(root, name[1])
		if strings.HasPrefix(name[1], "auth/") {
			path = filepath.Join(root, "pkg", name[1])
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("README.md: %v", err)
		}
	}
	err := filepath.WalkDir(filepath.Join(root, "pkg"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		name := filepath.Base(path)
		switch {
		case name == "testkit" || name == "testdata" || name == "schemas" || strings.HasSuffix(name, "test"):
			return fs.SkipDir
		case name != "pkg" && !strings.Contains(table, "`"+name+"`") && !strings.Contains(table, "/"+name+"`"):
			t.Errorf("README.md does not name %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDocsVariables compares the variables that the code reads with those that
// docs/configuration.md names.
func TestDocsVariables(t *testing.T) {
	t.Parallel()
	variable := regexp.MustCompile(`(?:(?:etenv|valueOr|[rR]equired|[aA]ddress|Endpoint|Days|Number)\(|variable: )"([A-Z][A-Z_]+)"`)
	read := map[string]bool{"CI": true, "VECTORS": true, "GOGC": true, "GOMAXPROCS": true} // tests and the Go runtime read them
	for _, dir := range []string{"cmd/syncplane", "pkg", "functions"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/test") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for line := range bytes.Lines(text) {
				if !bytes.Contains(line, []byte(`("`)) && !bytes.Contains(line, []byte(`variable: "`)) { // a regular expression is slow
					continue
				}
				for _, match := range variable.FindAllSubmatch(line, -1) {
					read[string(match[1])] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"HOME", "PATH", "XDG_CACHE_HOME"} { // the system's
		delete(read, name)
	}
	named := map[string]bool{}
	for row := range strings.Lines(pages(t)[filepath.Join("docs", "configuration.md")]) {
		if cells := strings.Split(row, "|"); len(cells) > 2 {
			for _, match := range regexp.MustCompile("`([A-Z][A-Z_]+)`").FindAllStringSubmatch(cells[1], -1) {
				named[match[1]] = true
			}
		}
	}
	if diff := cmp.Diff(read, named); diff != "" {
		t.Errorf("the code (-) and docs/configuration.md (+) differ: %s", diff)
	}
}
