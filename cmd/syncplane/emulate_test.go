package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"syncplane/pkg/app"
	"syncplane/pkg/testkit/dynamotest"
)

// withoutMoto returns a PATH that holds only what DynamoDB Local needs.
func withoutMoto(t *testing.T) string {
	t.Helper()
	dynamotest.Endpoint(t) // it downloads DynamoDB Local, or skips the test
	programs := t.TempDir()
	for _, name := range []string{"java", "sh"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	return programs
}

// emulating is a running `syncplane emulate` with the flags of emulateBind and free ports.
type emulating struct {
	cmd     *exec.Cmd
	dataDir string
	output  string // up to the last line
	stderr  *bytes.Buffer
	rest    io.Reader
}

// emulateBind is an example of the help of emulate.
const emulateBind = "syncplane emulate --bind 172.17.0.1"

func emulate(t *testing.T, env ...string) *emulating {
	t.Helper()
	e := &emulating{dataDir: t.TempDir(), stderr: &bytes.Buffer{}}
	e.cmd = command(t, append(env, "DATA_DIR="+e.dataDir, "SYNCPLANE_CACHE="+os.Getenv("SYNCPLANE_CACHE"), "XDG_CACHE_HOME="+os.Getenv("XDG_CACHE_HOME")),
		append(strings.Fields(emulateBind)[1:], "--dynamodb-port", "0", "--moto-port", "0")...)
	e.cmd.Dir, e.cmd.Stderr = root, e.stderr
	stdout, err := e.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.cmd.Process.Kill() })
	var output strings.Builder
	for one := make([]byte, 1); !strings.HasSuffix(output.String(), "in memory.\n"); {
		if _, err := stdout.Read(one); err != nil {
			t.Fatalf("%v: %s%s", e.cmd.Wait(), &output, e.stderr)
		}
		output.Write(one)
	}
	e.output, e.rest = output.String(), stdout
	return e
}

// match returns the text of the only group of a pattern in text.
func match(t *testing.T, pattern, text string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in %s", pattern, text)
	}
	return found[1]
}

// TestEmulate checks the table, the settings and the end of `syncplane emulate`
// without moto_server. verify/samlocal runs it with moto_server.
func TestEmulate(t *testing.T) {
	t.Parallel()
	e := emulate(t, "PATH="+withoutMoto(t), "TABLE_NAME=emulated")
	for _, want := range []string{
		"with the table emulated\n", "moto_server:    not started, because it is not in PATH;", "RelayFunction, IntakeFunction and ReconcileFunction fail",
		"sam local start-api --env-vars " + e.dataDir + "/env.local.json", "$(DATA_DIR=" + e.dataDir + " make -s token)",
	} {
		if !strings.Contains(e.output, want) {
			t.Errorf("no %q in %s", want, e.output)
		}
	}
	endpoint := match(t, `DynamoDB Local: (http://127\.0\.0\.1:\d+),`, e.output)

	template, err := os.ReadFile(filepath.Join(root, "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := app.Config{Region: "eu-central-1", AccessKeyID: "any", SecretAccessKey: "any", DynamoDBEndpoint: endpoint, TableName: "emulated"}
	client := app.DynamoDB(config).Client
	described, err := client.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &config.TableName})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := described.Table.StreamSpecification, match(t, `StreamViewType: (\w+)`, string(template)); got == nil || string(got.StreamViewType) != want {
		t.Errorf("the stream is %+v, want %s", got, want)
	}
	expiry, err := client.DescribeTimeToLive(t.Context(), &dynamodb.DescribeTimeToLiveInput{TableName: &config.TableName})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := aws.ToString(expiry.TimeToLiveDescription.AttributeName), match(t, `(?s)TimeToLiveSpecification:.*?AttributeName: (\w+)`, string(template)); got != want {
		t.Errorf("the time to live is in %q, want %q", got, want)
	}

	e.checkSettings(t, endpoint)
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(e.rest); err != nil || len(rest) > 0 {
		t.Errorf("%v, and after the signal it prints %s", err, rest)
	}
	if err := e.cmd.Wait(); err != nil || e.stderr.Len() > 0 {
		t.Errorf("%v: %s", err, e.stderr)
	}
	if connection, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(endpoint, "http://")); err == nil {
		_ = connection.Close()
		t.Error("DynamoDB Local outlives the command")
	}
}

// checkSettings compares the settings for sam with env.local.json: they differ in the
// port, the table and the keys.
func (e *emulating) checkSettings(t *testing.T, endpoint string) {
	t.Helper()
	read := func(file string) map[string]map[string]string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var functions map[string]map[string]string
		if err := json.Unmarshal(text, &functions); err != nil {
			t.Fatal(err)
		}
		return functions
	}
	got := read(filepath.Join(e.dataDir, "env.local.json"))
	port := endpoint[strings.LastIndexByte(endpoint, ':'):]
	for function, variables := range read(filepath.Join(root, "env.local.json")) {
		for name, want := range variables {
			switch name {
			case "TABLE_NAME":
				want = "emulated"
			case "AWS_ENDPOINT_URL_DYNAMODB":
				want = "http://host.docker.internal" + port
			case "TOKEN_JWKS": // the key of the events stays; that of tokens is added
				header, err := base64.RawURLEncoding.DecodeString(strings.Split(token(t, e.dataDir), ".")[0])
				if err != nil {
					t.Fatal(err)
				}
				key := match(t, `"kid":("[^"]+")`, string(header))
				if !strings.Contains(got[function][name], key) || !strings.HasPrefix(got[function][name], strings.TrimSuffix(want, "]}")) {
					t.Errorf("%s has %s, want %s and %s", function, got[function][name], key, want)
				}
				continue
			}
			if got[function][name] != want {
				t.Errorf("%s: %s is %q, want %q", function, name, got[function][name], want)
			}
		}
	}
}

// TestEmulatePortTaken checks the error for a port on which another process listens.
func TestEmulatePortTaken(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nothing was written
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, []string{"PATH=" + withoutMoto(t), "DATA_DIR=" + t.TempDir()}, "emulate", "--dynamodb-port", port)
	cmd.Dir = root
	text, err := cmd.CombinedOutput()
	if want := "syncplane: start DynamoDB Local on port " + port + ": the port is taken\n"; err == nil || string(text) != want {
		t.Errorf("%v: got %s, want %s", err, text, want)
	}
}

// TestEmulateBind checks the errors for an address and a port on which moto_server
// cannot listen.
func TestEmulateBind(t *testing.T) {
	t.Parallel()
	programs := withoutMoto(t)
	if err := os.WriteFile(filepath.Join(programs, "moto_server"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // nothing was written
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for want, flags := range map[string][]string{
		"syncplane: --bind must be an IP address of this machine, got 192.0.2.1\n":                      {"--bind", "192.0.2.1"},
		"syncplane: start moto_server: port " + port + " is in use; set another one with --moto-port\n": {"--moto-port", port},
	} {
		var stderr bytes.Buffer
		cmd := command(t, []string{"PATH=" + programs, "DATA_DIR=" + t.TempDir()}, append([]string{"emulate", "--dynamodb-port", "0"}, flags...)...)
		cmd.Dir, cmd.Stderr = root, &stderr
		if err := cmd.Run(); err == nil || stderr.String() != want {
			t.Errorf("%v: got %v, %s, want %s", flags, err, &stderr, want)
		}
	}
}
