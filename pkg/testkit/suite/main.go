// Command suite runs go test over all packages of the module, with the flags in its
// arguments. All packages share one DynamoDB Local, whose start takes two seconds of a
// processor. The test programs are kept in the cache, so that one that has not changed is
// not linked again, which takes as long as all tests of most packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/testbuild"
)

// port is the same in each run, so that the results of go test stay in its cache. Our
// own choice.
const port = 18479

// slow returns the ends of the import paths of the packages whose tests take longest.
// They start first, so that none of them is alone at the end.
func slow() []string {
	return []string{"/cmd/syncplane", "/pkg/api", "/pkg/storage/dynamo", "/pkg/auth/oidc", "/internal/apply", "/pkg/local/scheduler"}
}

// arithmetic returns the packages of the standard library that are compiled without the
// race detector: they compute with numbers that no other goroutine sees, and take four
// times as long with it. P-256, SHA and AES are in assembly, which it does not see either.
func arithmetic() []string {
	return []string{"bigmod", "edwards25519/...", "mlkem", "nistec/..."}
}

func main() {
	status, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// run returns the exit status of go test.
func run(flags []string) (int, error) {
	// go test receives Ctrl-C too; this process ends after it.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	packages, err := list(ctx)
	if err != nil {
		return 1, err
	}
	programs, unlock, err := keep()
	if err != nil {
		return 1, err
	}
	defer unlock()
	env := os.Environ()
	if dir := temporary(); dir != "" {
		env = append(env, "TMPDIR="+dir)
	}
	if os.Getenv("AWS_ENDPOINT_URL_DYNAMODB") == "" {
		server, err := start(ctx)
		if _, missing := errors.AsType[*dynamodblocal.MissingError](err); err != nil && !missing { // if missing, the tests report it
			return 1, err
		}
		if err == nil {
			defer func() { _ = server.Close() }() // it ends with this process
			env = append(env, dynamotest.SharedVariable+"="+server.Endpoint)
		}
	}
	args := slices.Concat([]string{"test", "-ldflags=-s -w"}, flags)
	for _, p := range arithmetic() {
		args = append(args, "-gcflags=crypto/internal/fips140/"+p+"=-race=false")
	}
	return test(ctx, args, env, programs, split(slowFirst(packages)))
}

// list returns the import paths of the packages.
func list(ctx context.Context) ([]string, error) {
	command := exec.CommandContext(ctx, "go", "list", "./...")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// slowFirst returns the packages with the slow ones first.
func slowFirst(packages []string) []string {
	var first, rest []string
	for _, p := range packages {
		if slices.ContainsFunc(slow(), func(end string) bool { return strings.HasSuffix(p, end) }) {
			first = append(first, p)
		} else {
			rest = append(rest, p)
		}
	}
	return append(first, rest...)
}

// split returns the packages in groups in which each has another name: go test names the
// programs of a directory by the last element of the import path.
func split(packages []string) [][]string {
	var groups [][]string
	seen := map[string]int{}
	for _, p := range packages {
		name := path.Base(p)
		if seen[name] == len(groups) {
			groups = append(groups, nil)
		}
		groups[seen[name]] = append(groups[seen[name]], p)
		seen[name]++
	}
	return groups
}

// keep returns a directory in the cache for test programs and locks it. Runs at the same
// time, as in copies of the repository, have directories of their own.
func keep() (dir string, unlock func(), err error) {
	cache, err := dynamodblocal.CacheFolder(os.Getenv)
	if err != nil {
		return "", nil, err
	}
	for i := 0; ; i++ {
		dir = filepath.Join(cache, "tests", strconv.Itoa(i))
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return "", nil, err
		}
		unlock, err = testbuild.Lock(filepath.Join(dir, "lock"), false)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return dir, unlock, err
		}
	}
}

// test runs go with args, such as test, for all groups at once, and returns the highest exit
// status.
func test(ctx context.Context, args, env []string, programs string, groups [][]string) (int, error) {
	statuses, errs := make([]int, len(groups)), make([]error, len(groups))
	var running sync.WaitGroup
	for i, group := range groups {
		output := []string{"-o", filepath.Join(programs, strconv.Itoa(i)) + "/"}
		command := exec.CommandContext(ctx, "go", slices.Concat(args, output, group)...) //nolint:gosec // the flags are the caller's
		command.Env, command.Stdout, command.Stderr = env, os.Stdout, os.Stderr
		command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
		running.Go(func() { statuses[i], errs[i] = status(command.Run()) })
	}
	running.Wait()
	highest := 0
	for _, s := range statuses {
		highest = max(highest, s)
	}
	return highest, errors.Join(errs...)
}

// status returns the exit status of a command that has ended with err.
func status(err error) (int, error) {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("run go test: %w", err)
	}
	return 0, nil
}

// start starts DynamoDB Local, on another port if port is taken.
func start(ctx context.Context) (*dynamodblocal.Server, error) {
	options := dynamodblocal.Options{Getenv: os.Getenv, Progress: os.Stderr, Port: port}
	server, err := dynamodblocal.Start(ctx, options)
	if _, missing := errors.AsType[*dynamodblocal.MissingError](err); err == nil || missing {
		return server, err
	}
	options.Port = 0
	return dynamodblocal.Start(ctx, options)
}
