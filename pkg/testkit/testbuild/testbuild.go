// Package testbuild builds programs that tests run. It keeps them in the cache, so that
// one whose sources have not changed is not built again. Even a go build that has nothing
// to do takes as long as many a test.
package testbuild

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/testkit/testinput"
)

// Programs builds programs, and makes the result of the test depend on their sources. It
// returns a new directory that holds them; the caller removes it. The arguments are those
// of go build without -o: flags and packages; env is added to its environment. -trimpath
// must be one of the flags, since copies of the repository share the programs.
func Programs(ctx context.Context, env []string, args ...string) (string, error) {
	dir, err := build(ctx, env, args)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", strings.Join(args, " "), err)
	}
	return dir, nil
}

func build(ctx context.Context, env, args []string) (string, error) {
	kept, unlock, err := keep(env, args)
	if err != nil {
		return "", err
	}
	defer unlock()
	if !isCurrent(kept) {
		if err := buildIn(ctx, kept, env, args); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp("", "testbuild-*")
	if err != nil {
		return "", err
	}
	if err := linkAll(filepath.Join(kept, "programs"), dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// state is the file in a directory of the cache that describes its programs.
type state struct {
	Sources  []string `json:"sources"` // that decide what the programs are
	Digest   []byte   `json:"digest"`  // of them
	Programs []string `json:"programs"`
}

const stateFile = "state.json"

// isCurrent reports whether a directory of the cache holds the programs that go build
// would make of the sources as they are. The result of the test then depends on them.
func isCurrent(kept string) bool {
	text, err := os.ReadFile(filepath.Join(kept, stateFile)) //nolint:gosec // this package has written it
	var s state
	if err != nil || json.Unmarshal(text, &s) != nil {
		return false
	}
	for _, program := range s.Programs {
		if _, err := os.Stat(filepath.Join(kept, "programs", program)); err != nil {
			return false
		}
	}
	digest, err := digestOf(s.Sources)
	return err == nil && bytes.Equal(digest, s.Digest)
}

// digestOf returns a digest of the sources and of what else decides what go build makes of
// them, other than its arguments: the version of Go and its settings.
func digestOf(sources []string) ([]byte, error) {
	files, err := testinput.Files(sources)
	if err != nil {
		return nil, err
	}
	digest := sha256.New()
	fmt.Fprintf(digest, "%s %x\n", runtime.Version(), files)
	var settings []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch {
		case slices.Contains([]string{"GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "GORACE"}, name): // of the runtime
		case name == "CC" || strings.HasPrefix(name, "GO") || strings.HasPrefix(name, "CGO"):
			settings = append(settings, variable)
		}
	}
	slices.Sort(settings)
	fmt.Fprintf(digest, "%q\n", settings)
	if dir, err := os.UserConfigDir(); err == nil {
		text, _ := os.ReadFile(filepath.Join(dir, "go", "env")) //nolint:gosec // what go env -w has written
		digest.Write(text)
	}
	return digest.Sum(nil), nil
}

// buildIn builds the programs of a directory of the cache and describes them in its state.
func buildIn(ctx context.Context, kept string, env, args []string) error {
	// While it builds there is no state. A source that changes meanwhile has another digest.
	if err := os.Remove(filepath.Join(kept, stateFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var s state
	var err error
	if s.Sources, err = testinput.Packages(ctx, selecting(args)...); err != nil {
		return err
	}
	if s.Digest, err = digestOf(s.Sources); err != nil {
		return err
	}
	programs := filepath.Join(kept, "programs")
	command := exec.CommandContext(ctx, "go", append([]string{"build", "-buildvcs=false", "-o", programs + "/"}, args...)...) //nolint:gosec // the packages are the test's own
	command.Env = append(os.Environ(), env...)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	entries, err := os.ReadDir(programs)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		s.Programs = append(s.Programs, entry.Name())
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(kept, stateFile), text, 0o600)
}

// selecting returns the arguments that select files, which go list knows, too.
func selecting(args []string) []string {
	var selected []string
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") || strings.HasPrefix(arg, "-tags=") {
			selected = append(selected, arg)
		}
	}
	return selected
}

// keep returns the directory in the cache for programs that are built like this, and
// locks it. Copies of the repository share it.
func keep(env, args []string) (dir string, unlock func(), err error) {
	cache, err := dynamodblocal.CacheFolder(os.Getenv)
	if err != nil {
		return "", nil, err
	}
	work, err := os.Getwd()
	if err != nil {
		return "", nil, err
	}
	hash := sha256.Sum256(fmt.Appendf(nil, "%q %q", env, args))
	dir = filepath.Join(cache, "programs", fmt.Sprintf("%s-%x", filepath.Base(work), hash[:8]))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", nil, err
	}
	unlock, err = Lock(filepath.Join(dir, "lock"), true)
	return dir, unlock, err
}

// Lock takes the lock of a file in the cache, which it makes. If another process holds it,
// Lock waits if wait is true, and otherwise returns syscall.EWOULDBLOCK.
func Lock(name string, wait bool) (unlock func(), err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the caller chooses the directory
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	for err = syscall.EINTR; errors.Is(err, syscall.EINTR); { // as a signal may interrupt it
		err = syscall.Flock(int(file.Fd()), how)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func() { _ = file.Close() }, nil // which unlocks it
}

// linkAll links the files in one directory into another, in which they stay what they are
// when another process builds them again. It copies them to another file system.
func linkAll(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		source, target := filepath.Join(from, entry.Name()), filepath.Join(to, entry.Name())
		if os.Link(source, target) == nil {
			continue
		}
		if err := copyFile(source, target); err != nil {
			return err
		}
	}
	return nil
}

// copyFile copies a program.
func copyFile(source, target string) error {
	in, err := os.Open(source) //nolint:gosec // this package has written it
	if err != nil {
		return err
	}
	defer in.Close()                                                          //nolint:errcheck // it is only read
	out, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700) //nolint:gosec // as above
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
