// Package testinput makes the result of a test depend on files that only a program reads
// which the test builds or runs. go test returns the result of an earlier run until a
// file changes that the test itself has opened, so without this package the result of a
// program would be returned that has changed.
package testinput

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// sources is a template of go list. It prints the files of a package of this module
// that decide what go build makes of it.
const sources = `{{with .Module}}{{if .Main}}{{.GoMod}}
{{.Dir}}/go.sum
{{range $.GoFiles}}{{$.Dir}}/{{.}}
{{end}}{{range $.IgnoredGoFiles}}{{$.Dir}}/{{.}}
{{end}}{{range $.EmbedFiles}}{{$.Dir}}/{{.}}
{{end}}{{end}}{{end}}`

// Packages makes the result of the test depend on the sources of packages and of all
// packages of this module that they import, and returns their names. Its arguments are
// those of go build that select files: flags such as -tags, and packages.
func Packages(ctx context.Context, args ...string) ([]string, error) {
	command := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-f", sources}, args...)...) //nolint:gosec // the packages are the test's own
	output, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("go list: %w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	directory, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the directory of the test: %w", err)
	}
	files := strings.FieldsFunc(string(output), func(r rune) bool { return r == '\n' })
	slices.Sort(files)
	files = slices.Compact(files)
	for i, file := range files {
		// Copies of the repository in several directories use the results of each other if
		// the names are relative.
		if files[i], err = filepath.Rel(directory, file); err != nil {
			return nil, err
		}
	}
	_, err = Files(files)
	return files, err
}

// Files makes the result of the test depend on files, and on which files their
// directories hold. It returns a digest of the contents of the files and of the names in
// the directories.
func Files(names []string) ([]byte, error) {
	digest, seen := sha256.New(), map[string]bool{}
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // the files are those of the test
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(digest, "%q %d\n", name, len(text))
		digest.Write(text)
		directory := filepath.Dir(name)
		if seen[directory] {
			continue
		}
		seen[directory] = true
		if _, err := os.Stat(directory); err != nil { // its time changes when a file is added
			return nil, err
		}
		entries, err := list(directory)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			fmt.Fprintf(digest, "%q\n", entry.Name())
		}
	}
	return digest.Sum(nil), nil
}

// Tree makes the result of the test depend on all files in a directory, and on which
// there are. It returns the names of the entries of the directory, sorted. Those in except are
// left out; the result does not depend on them.
func Tree(root string, except ...string) ([]string, error) {
	entries, err := list(root)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(root); err != nil { // its time changes when an entry is added
		return nil, err
	}
	var names []string
	for _, entry := range entries {
		if slices.Contains(except, entry.Name()) {
			continue
		}
		names = append(names, entry.Name())
		// It lists each directory with os.ReadDir, on which the result then depends.
		err := filepath.WalkDir(filepath.Join(root, entry.Name()), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			return depend(path)
		})
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// list returns the entries of a directory, sorted by name. Unlike os.ReadDir, it does not
// make the result depend on the times of the entries.
func list(name string) ([]fs.DirEntry, error) {
	descriptor, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	directory := os.NewFile(uintptr(descriptor), name)
	defer directory.Close() //nolint:errcheck // it is only read
	entries, err := directory.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// depend makes the result of the test depend on a file.
func depend(name string) error {
	file, err := os.Open(name) //nolint:gosec // the files are those of the test
	if err != nil {
		return err
	}
	return file.Close()
}
