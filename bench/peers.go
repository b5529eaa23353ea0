package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// peers are the functions that Syncplane is compared with, other than the bare handler.
// Their source is in bench/peers.
var peers = []struct {
	name, folder string
	interpreter  string   // that runs the program, "" if it runs by itself
	tools        []string // that build it
	build        func(ctx context.Context, work string) (program string, err error)
}{
	{rustName, "rust", "", []string{"cargo"}, buildRust},
	{"Go with chi and LoadDefaultConfig", "chi", "", []string{"go"}, buildChi},
	{"Node.js with Powertools", "node", "node", []string{"node", "npm"}, buildNode},
}

// rustName is the name of the Rust peer, which a bound names.
const rustName = "Rust (lambda_runtime, AWS SDK with ring)"

// workFolder returns the folder in the cache in which a peer is built, with a fresh copy
// of its source.
func workFolder(peer string) (string, error) {
	cache := os.Getenv("SYNCPLANE_CACHE")
	if cache == "" {
		return "", errors.New("SYNCPLANE_CACHE is not set; run make bench")
	}
	work := filepath.Join(cache, "bench", peer)
	source := filepath.Join("bench", "peers", peer)
	return work, filepath.WalkDir(source, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if before, err := os.ReadFile(filepath.Join(work, name)); err == nil && bytes.Equal(before, text) {
			return nil // a new time would make cargo build it again
		}
		return writeFile(filepath.Join(work, name), text)
	})
}

// inFolder runs a command in a folder, with variables added to the environment. The
// error has its output.
func inFolder(ctx context.Context, folder string, env []string, command ...string) error {
	fmt.Fprintln(os.Stderr, strings.Join(command[:2], " "))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command[:2], " "), err, text)
	}
	return nil
}

// usualTags are the build tags that AWS's documentation recommends for Go functions.
const usualTags = "lambda.norpc"

// goBuild returns the arguments that build a Go function.
func goBuild(tags, out, source string) []string {
	return []string{"go", "build", "-trimpath", "-tags", tags, "-ldflags=-s -w", "-o", out, source}
}

// buildGo builds a Go function of this module in dir, for this machine and for arm64, and
// returns the program for this machine and the size of the zip of the other.
func buildGo(ctx context.Context, dir, tags, source string) (program string, zip int64, err error) {
	name := strings.ReplaceAll(strings.TrimPrefix(source, "./"), "/", "-")
	for _, arch := range []string{runtime.GOARCH, "arm64"} {
		out := filepath.Join(dir, name+"-"+arch)
		if err := inFolder(ctx, ".", []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}, goBuild(tags, out, source)...); err != nil {
			return "", 0, err
		}
	}
	zip, err = deflated(filepath.Join(dir, name+"-arm64"))
	return filepath.Join(dir, name+"-"+runtime.GOARCH), zip, err
}

// buildChi builds the Go peer, which is a module of its own.
func buildChi(ctx context.Context, work string) (string, error) {
	out := filepath.Join(work, "bootstrap")
	return out, inFolder(ctx, work, []string{"CGO_ENABLED=0", "GOFLAGS=-mod=readonly"}, goBuild(usualTags, out, ".")...)
}

// buildRust builds the Rust peer with the versions of Cargo.lock. The file in
// bench/peers/rust names no registry: that of this machine's cargo is added.
func buildRust(ctx context.Context, work string) (string, error) {
	lock := filepath.Join(work, "Cargo.lock")
	pinned, err := os.ReadFile(lock)
	if err != nil {
		return "", err
	}
	if err := os.Remove(lock); err != nil {
		return "", err
	}
	if err := inFolder(ctx, work, nil, "cargo", "generate-lockfile"); err != nil {
		return "", err
	}
	generated, err := os.ReadFile(lock)
	if err != nil {
		return "", err
	}
	registry := regexp.MustCompile(`(?m)^source = .*\n`).Find(generated)
	named := regexp.MustCompile(`(?m)^checksum = `).ReplaceAll(pinned, append(registry, "$0"...))
	if err := writeFile(lock, named); err != nil {
		return "", err
	}
	return filepath.Join(work, "target", "release", "bootstrap"), inFolder(ctx, work, nil, "cargo", "build", "--release", "--locked")
}

// buildNode bundles the Node.js peer as SAM's esbuild builder does.
func buildNode(ctx context.Context, work string) (string, error) {
	bundle := filepath.Join(work, "index.mjs")
	return bundle, errors.Join(
		inFolder(ctx, work, nil, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"),
		inFolder(ctx, work, nil, "node_modules/.bin/esbuild", "runtime.mjs", "--bundle", "--minify", "--platform=node", "--target=node20", "--format=esm", "--log-level=error", "--outfile="+bundle,
			"--banner:js=import{createRequire}from'module';const require=createRequire(import.meta.url);"),
	)
}

// missing returns the first of the tools that is not installed, "" if all are.
func missing(tools []string) string {
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return tool
		}
	}
	return ""
}
