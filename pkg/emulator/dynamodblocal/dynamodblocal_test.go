package dynamodblocal_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/testkit/testbuild"
)

// needs skips the test, or with CI=true fails it, if one of the programs is not
// installed.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		_, err := exec.LookPath(name)
		if err != nil && os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: %v", err)
		}
	}
}

// script writes a shell script into dir, and puts dir first in PATH.
func script(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// process is a run of testdata/server.
type process struct {
	command  *exec.Cmd
	input    io.Closer
	endpoint *bufio.Reader // one line
	progress bytes.Buffer
}

// build builds testdata/server, without the race detector, which would slow the
// unpacking of 54 MB tenfold.
func build(t *testing.T) string {
	t.Helper()
	dir, err := testbuild.Programs(t.Context(), nil, "-trimpath", "./testdata/server")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "server")
}

// run starts program with env added to the environment of the test.
func run(t *testing.T, program string, env ...string) *process {
	t.Helper()
	p := &process{command: exec.CommandContext(t.Context(), program)}
	p.command.Env = append(os.Environ(), env...)
	p.command.Stderr = &p.progress
	input, err := p.command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.input = input
	output, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.endpoint = bufio.NewReader(output)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// address waits until the server has started, and returns its address.
func (p *process) address(t *testing.T) string {
	t.Helper()
	line, err := p.endpoint.ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %s", err, &p.progress)
	}
	return host(t, strings.TrimSpace(line))
}

func client(endpoint, region, key string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String(endpoint),
		Region:       region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: "secret"}, nil
		}),
	})
}

// host returns the host and port of an endpoint.
func host(t *testing.T, endpoint string) string {
	t.Helper()
	parsed, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Host
}

// gone fails the test if a listener or a process of the server at address is left.
func gone(t *testing.T, address string) {
	t.Helper()
	if connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address); err == nil {
		_ = connection.Close()
		t.Errorf("something still listens on %s", address)
	}
	if left := processes(t, address); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// processes returns the processes whose command line ends with the port of address:
// the emulator and its shell. On other systems than Linux it returns none.
func processes(t *testing.T, address string) []string {
	t.Helper()
	if runtime.GOOS != "linux" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(lines, func(line string) bool {
		text, err := os.ReadFile(line)
		return err != nil || !bytes.HasSuffix(text, []byte("\x00-port\x00"+port+"\x00"))
	})
}

// start checks a server from the emulator in cache, which runs while another is at an
// address.
func start(t *testing.T, cache, other string) {
	t.Helper()
	var progress bytes.Buffer
	server, err := dynamodblocal.Start(t.Context(), dynamodblocal.Options{
		Getenv: func(string) string { return cache }, Progress: &progress,
	})
	if err != nil || progress.Len() > 0 {
		t.Fatalf("the third got %v, or downloaded again: %s", err, &progress)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Errorf("the second Close: %v", err)
		}
	}()
	if host(t, server.Endpoint) == other {
		t.Errorf("both listen on %s", other)
	}
	want := "contacts"
	_, err = client(server.Endpoint, "eu-central-1", "one").CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName:            &want,
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// The tables are the same for another region and key.
	tables, err := client(server.Endpoint, "us-east-1", "two").ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(tables.TableNames, []string{want}) {
		t.Errorf("tables %q, want only %q", tables.TableNames, want)
	}

	if runtime.GOOS == "linux" && len(processes(t, host(t, server.Endpoint))) == 0 {
		t.Error("no process was found for a running server")
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	// The watching shell reads the line and ends by itself, right after the server.
	await(t, func() bool { return len(processes(t, host(t, server.Endpoint))) == 0 })
	gone(t, host(t, server.Endpoint))
}

// endsWithKilledParent checks that the server at an address ends when its parent is killed.
func endsWithKilledParent(t *testing.T, parent *process, address string) {
	t.Helper()
	connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()

	if err := parent.command.Process.Kill(); err != nil { // SIGKILL: it cannot clean up
		t.Fatal(err)
	}
	_ = parent.command.Wait() // "signal: killed"

	// The connection breaks when the emulator dies, and not before.
	if err := connection.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := connection.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the emulator outlives its parent")
	}
	await(t, func() bool { return len(processes(t, address)) == 0 })
	gone(t, address)
}

// await waits until done returns true, at most ten seconds.
func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(10 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-limit:
			return
		}
	}
}

func TestStartErrors(t *testing.T) {
	needs(t, "sh")
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		java    string // the script java; "" if java is not installed
		npm     string
		cached  bool // the emulator is in the cache
		missing string
		want    []string // parts of the error
	}{
		{
			name:    "no java",
			npm:     "exit 1",
			cached:  true,
			missing: "java",
			want:    []string{"needs java", "openjdk", "AWS_ENDPOINT_URL_DYNAMODB"},
		},
		{
			name:    "no npm and nothing in the cache",
			java:    "exit 1",
			missing: "npm",
			want:    []string{"needs npm", "Node.js"},
		},
		{
			name: "npm fails",
			java: "exit 1",
			npm:  "echo no such registry >&2; exit 7",
			want: []string{"download DynamoDB Local", "npm pack amplify-dynamodb-simulator@2.9.30", "exit status 7", "no such registry"},
		},
		{
			name: "npm downloads another archive",
			java: "exit 1",
			npm:  "echo something else > amplify-dynamodb-simulator-2.9.30.tgz",
			want: []string{"download DynamoDB Local", "SHA-256", "3503ffac19f1"},
		},
		{
			name:   "java cannot run the emulator in the cache",
			java:   "echo UnsupportedClassVersionError >&2; exit 3",
			cached: true,
			want:   []string{"start DynamoDB Local", "exit status 3", "UnsupportedClassVersionError"},
		},
		{
			name:   "every port is taken",
			java:   "echo java.io.IOException: Failed to bind to 0.0.0.0/0.0.0.0:8000; kill -STOP $$", // the real one does not end either
			cached: true,
			want:   []string{"start DynamoDB Local", "the port is taken"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cache, programs := t.TempDir(), t.TempDir()
			if c.cached {
				folder := filepath.Join(cache, "dynamodb-local-2.9.30")
				if err := os.Mkdir(folder, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(folder, "DynamoDBLocal.jar"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.java != "" {
				script(t, programs, "java", c.java)
			}
			if c.npm != "" {
				script(t, programs, "npm", c.npm)
			}
			if err := os.Symlink(sh, filepath.Join(programs, "sh")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", programs) // only
			server, err := dynamodblocal.Start(t.Context(), dynamodblocal.Options{
				Getenv: func(name string) string { return map[string]string{"SYNCPLANE_CACHE": cache}[name] },
			})
			if err == nil {
				_ = server.Close()
				t.Fatal("got no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q lacks %q", err, part)
				}
			}
			var program string
			if missing, ok := errors.AsType[*dynamodblocal.MissingError](err); ok {
				program = missing.Program
			}
			if program != c.missing {
				t.Errorf("the missing program is %q, want %q", program, c.missing)
			}
			left, err := filepath.Glob(filepath.Join(cache, "*.partial-*"))
			if err != nil {
				t.Fatal(err)
			}
			if len(left) > 0 {
				t.Errorf("left in the cache: %v", left)
			}
		})
	}
}

func TestStartCanceled(t *testing.T) {
	needs(t, "java", "npm")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // a JVM takes longer to start
	defer cancel()
	server, err := dynamodblocal.Start(ctx, dynamodblocal.Options{Getenv: os.Getenv})
	if err == nil {
		_ = server.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

// archive returns the path of the archive as npm downloads it. It is kept in the
// cache, so that only the first run of this test downloads it.
func archive(t *testing.T) string {
	t.Helper()
	cache, err := dynamodblocal.CacheFolder(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	const name = "amplify-dynamodb-simulator-2.9.30.tgz"
	kept := filepath.Join(cache, "test", name)
	if _, err := os.Stat(kept); err == nil {
		return kept
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(filepath.Dir(kept), "partial-") //nolint:usetesting // on the file system to which it is renamed
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(work) })
	npm := exec.CommandContext(t.Context(), "npm", "pack", "amplify-dynamodb-simulator@2.9.30", "--silent", "--ignore-scripts")
	npm.Dir = work
	if text, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := os.Rename(filepath.Join(work, name), kept); err != nil {
		t.Fatal(err)
	}
	return kept
}

// TestConcurrentDownloads checks that two processes which download at the same time leave
// one emulator, and two servers that run from it. A JVM takes two seconds of a processor,
// so these servers are those of all checks.
func TestConcurrentDownloads(t *testing.T) {
	needs(t, "java", "npm")
	java, err := exec.LookPath("java")
	if err != nil {
		t.Fatal(err)
	}
	script(t, t.TempDir(), "npm", "cp '"+archive(t)+"' .")
	cache, program, broken := t.TempDir(), build(t), t.TempDir()
	setting := "SYNCPLANE_CACHE=" + cache
	first := run(t, program, setting)
	script(t, broken, "java", "exit 1") // it runs after the download
	second := run(t, program, setting)
	address := first.address(t)
	if err := second.command.Wait(); err == nil || !strings.Contains(second.progress.String(), "java ended early (exit status 1)") {
		t.Errorf("the second ended with %v: %s", err, &second.progress)
	}
	left, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0].Name() != "dynamodb-local-2.9.30" {
		t.Errorf("the cache holds %v", left)
	}

	t.Run("start", func(t *testing.T) {
		if err := os.Remove(filepath.Join(broken, "java")); err != nil {
			t.Fatal(err)
		}
		if found, err := exec.LookPath("java"); err != nil || found != java {
			t.Fatalf("got %s, %v, want %s", found, err, java)
		}
		start(t, cache, address)
	})
	t.Run("a server ends with its killed parent", func(t *testing.T) {
		endsWithKilledParent(t, first, address)
	})
	if progress := first.progress.String() + second.progress.String(); !strings.Contains(progress, "downloading DynamoDB Local once") {
		t.Errorf("progress was %q", progress)
	}
}

func TestCacheFolder(t *testing.T) {
	needs(t, "sh")
	// This java prints its working directory and ends.
	script(t, t.TempDir(), "java", "pwd; exit 1")
	for _, c := range []struct {
		name string
		env  map[string]string
		want string // the folder; "" for an error
	}{
		{"SYNCPLANE_CACHE first", map[string]string{"SYNCPLANE_CACHE": "a", "XDG_CACHE_HOME": "b", "HOME": "c"}, "a"},
		{"XDG_CACHE_HOME second", map[string]string{"XDG_CACHE_HOME": "b", "HOME": "c"}, "b/syncplane"},
		{"HOME last", map[string]string{"HOME": "c"}, "c/.cache/syncplane"},
		{"none", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for _, dir := range []string{"a", "b/syncplane", "c/.cache/syncplane"} {
				if err := os.MkdirAll(filepath.Join(dir, "dynamodb-local-2.9.30"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "dynamodb-local-2.9.30", "DynamoDBLocal.jar"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := dynamodblocal.Start(t.Context(), dynamodblocal.Options{Getenv: func(name string) string { return c.env[name] }})
			want := "set SYNCPLANE_CACHE"
			if c.want != "" {
				want = "/" + c.want + "/dynamodb-local-2.9.30"
			}
			if err == nil || !strings.HasSuffix(err.Error(), want) && !strings.Contains(err.Error(), want+",") {
				t.Errorf("got %v, want it to end with %q", err, want)
			}
		})
	}
}
