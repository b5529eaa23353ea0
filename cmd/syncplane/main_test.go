package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	main "syncplane/cmd/syncplane"
	"syncplane/pkg/api/apitest"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/lambdatest"
	"syncplane/pkg/testkit/testbuild"
)

const goodBody = `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes"}}`

// build builds the command once for all tests, as make does in a copy of the repository,
// which has no version control. testdata/receiver is in the same directory.
var build = sync.OnceValues(func() (string, error) {
	dir, err := testbuild.Programs(context.Background(), []string{"CGO_ENABLED=0"}, "-trimpath", "-tags=lambda.norpc", ".", "./testdata/receiver")
	return filepath.Join(dir, "syncplane"), err
})

// functions holds the functions that make invoke runs, built once for all tests.
var functions struct {
	once sync.Once
	dir  string
	err  error
}

// buildFunctions builds the functions with the flags of make invoke and returns the
// directory that holds them.
func buildFunctions(t *testing.T) string {
	t.Helper()
	functions.once.Do(func() {
		functions.dir, functions.err = testbuild.Programs(context.Background(), []string{"CGO_ENABLED=0", "GOOS=linux"},
			"-trimpath", "-tags="+lambdatest.BuildTags, "-ldflags=-s -w", "../../functions/api", "../../functions/relay", "../../functions/intake")
	})
	if functions.err != nil {
		t.Fatal(functions.err)
	}
	return functions.dir
}

// linkFunctions makes the functions those that make invoke finds in dir, so that it has
// nothing to link.
func linkFunctions(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"api", "relay", "intake"} {
		target := filepath.Join(dir, "bin", "host", name)
		if err := os.MkdirAll(target, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(buildFunctions(t), name), filepath.Join(target, "bootstrap")); err != nil {
			t.Fatal(err)
		}
	}
}

// linkWorker makes the worker in Go the one in dir that docs/runs.md builds, so that go
// has nothing to link.
func linkWorker(t *testing.T, dir string) {
	t.Helper()
	built, err := testbuild.Programs(t.Context(), nil, "-trimpath", "../../examples/worker")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(built) //nolint:errcheck // it is in a temporary directory
	if err := os.Link(filepath.Join(built, "worker"), filepath.Join(dir, "bin", "worker")); err != nil {
		t.Fatal(err)
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(functions.dir)
	if binary, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// command returns the built command with an environment of its own.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, args...)
	// With GOGC=200 a command that only starts and ends does not collect garbage.
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOGC=200"}, env...)
	return cmd
}

// call is a call of the command in the process of the test, which takes a fraction of the
// time of a process of its own. It suits a command that reads no variable but with the
// getenv of its environment, and no signal, and that ends. The methods are those of
// exec.Cmd.
type call struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	t    *testing.T
	env  []string
	args []string
}

// exitError is the exit code of a call that has failed.
type exitError int

func (e exitError) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// ExitCode returns the exit code.
func (e exitError) ExitCode() int { return int(e) }

// newCall returns a call of the command with an environment of its own.
func newCall(t *testing.T, env []string, args ...string) *call {
	t.Helper()
	// Without arguments, nil would mean those of the test.
	return &call{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, t: t, env: env, args: append([]string{}, args...)}
}

// Run runs the command. The error is an exitError.
func (c *call) Run() error {
	getenv := func(name string) string {
		value := ""
		for _, variable := range c.env { // the last one applies
			if text, ok := strings.CutPrefix(variable, name+"="); ok {
				value = text
			}
		}
		return value
	}
	if code := main.Call(c.t.Context(), c.args, getenv, c.Stdin, c.Stdout, c.Stderr); code != 0 {
		return exitError(code)
	}
	return nil
}

// Output runs the command and returns its standard output.
func (c *call) Output() ([]byte, error) {
	var stdout bytes.Buffer
	c.Stdout = &stdout
	err := c.Run()
	return stdout.Bytes(), err
}

// CombinedOutput runs the command and returns its standard output and standard error.
func (c *call) CombinedOutput() ([]byte, error) {
	var both bytes.Buffer
	c.Stdout, c.Stderr = &both, &both
	err := c.Run()
	return both.Bytes(), err
}

// server is a running `syncplane serve`.
type server struct {
	cmd      *exec.Cmd
	address  string
	greeting string // what it printed up to the curl line
	curl     string // the line that it printed
	log      *bytes.Buffer
}

func serve(t *testing.T, dataDir string, env ...string) *server {
	t.Helper()
	return start(t, command(t, append([]string{"PORT=0", "DATA_DIR=" + dataDir}, env...), "serve"))
}

// start starts a command that serves and waits until it listens.
func start(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{cmd: cmd, log: &bytes.Buffer{}}
	if s.cmd.Stderr == nil {
		s.cmd.Stderr = s.log
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.cmd.Process.Kill() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && s.curl == "" {
		if address, ok := strings.CutPrefix(lines.Text(), "Syncplane listens on "); ok {
			s.address, _, _ = strings.Cut(address, " ")
		}
		if strings.HasPrefix(lines.Text(), "curl ") {
			s.curl = lines.Text()
		}
		s.greeting += lines.Text() + "\n"
	}
	if s.address == "" || s.curl == "" {
		t.Fatalf("no address or no curl line: %v: %s", s.cmd.Wait(), s.log)
	}
	return s
}

// stop ends the server as Ctrl-C does.
func (s *server) stop(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v after %v: %s", err, signal, s.log)
	}
}

// token returns what `syncplane token` prints.
func token(t *testing.T, dataDir string, env ...string) string {
	t.Helper()
	out, err := newCall(t, append(env, "DATA_DIR="+dataDir), "token").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// create posts a good body and returns the answer.
func (s *server) create(t *testing.T, token string) (status int, answer string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.address+"/api/v1/syncs", strings.NewReader(goodBody))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	apitest.Check(t, r, response.StatusCode, response.Header, text)
	return response.StatusCode, string(text)
}

// decodeSegment decodes a segment of a JWT.
func decodeSegment(t *testing.T, segment string) []byte {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func idOf(t *testing.T, answer string) string {
	t.Helper()
	var document struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(answer), &document); err != nil || document.ID == "" {
		t.Fatalf("no resource: %v: %s", err, answer)
	}
	return document.ID
}

// TestServeAsAPersonWould pastes the printed line, restarts the server, and
// finds both syncs in the file.
func TestServeAsAPersonWould(t *testing.T) {
	t.Parallel()
	dataDir := filepath.Join(t.TempDir(), "data")
	var ids []string
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		s := serve(t, dataDir)
		out, err := exec.CommandContext(t.Context(), "sh", "-c", s.curl).Output()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, idOf(t, string(out)))
		s.stop(t, signal)
	}
	store, err := bolt.Open(filepath.Join(dataDir, "syncs.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // only read from
	for _, id := range ids {
		if _, err := store.Read(t.Context(), "demo", id); err != nil {
			t.Error(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dataDir, "signing-key.pem")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the signing key: %v, %v", info.Mode(), err)
	}
}

func TestServeOnDynamoDB(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir, "STORE=dynamodb", "AWS_ENDPOINT_URL_DYNAMODB="+dynamotest.Endpoint(t), "TABLE_NAME=serve-test")
	if status, answer := s.create(t, token(t, dataDir)); status != http.StatusOK {
		t.Errorf("got %d %s", status, answer)
	}
	s.stop(t, os.Interrupt)
	if _, err := os.Stat(filepath.Join(dataDir, "syncs.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file of the other storage backend: %v", err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir)
	foreign := token(t, t.TempDir())
	for name, test := range map[string]struct {
		token  string
		status int
		want   string
	}{
		"as it comes":      {token(t, dataDir), 200, `"status":"pending"`},
		"for a workspace":  {token(t, dataDir, "WORKSPACE=acme", "TTL=5m"), 200, `"status":"pending"`},
		"several scopes":   {token(t, dataDir, "SCOPE=syncs:read syncs:write"), 200, `"status":"pending"`},
		"none":             {"", 401, `"token_missing"`},
		"expired":          {token(t, dataDir, "TTL=-2m"), 401, `"invalid_token"`},
		"of another key":   {foreign, 401, `"invalid_token"`},
		"of another scope": {token(t, dataDir, "SCOPE=syncs:read"), 403, `"insufficient_scope"`},
	} {
		t.Run(name, func(t *testing.T) {
			if status, answer := s.create(t, test.token); status != test.status || !strings.Contains(answer, test.want) {
				t.Errorf("got %d %s", status, answer)
			}
		})
	}
	s.stop(t, os.Interrupt)
	if strings.Contains(s.log.String(), "eyJ") {
		t.Errorf("the log holds a token: %s", s.log)
	}
}

// TestKillLosesNothing kills the server while many clients create, and finds
// every sync that was acknowledged.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	bearer := token(t, dataDir)
	var acknowledged []string
	for range 3 {
		s := serve(t, dataDir)
		const clients, enough = 16, 100 // several commits of what the clients create at once
		var mu sync.Mutex
		var all sync.WaitGroup
		started := len(acknowledged)
		for range clients {
			all.Go(func() {
				for {
					id, err := tryCreate(t.Context(), s.address, bearer)
					if err != nil {
						return // the server is dead
					}
					mu.Lock()
					acknowledged = append(acknowledged, id)
					if len(acknowledged)-started == enough {
						_ = s.cmd.Process.Kill()
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		_ = s.cmd.Wait() // killed, so never without an error
		if got := len(acknowledged) - started; got < enough {
			t.Fatalf("the server died after %d syncs: %s", got, s.log)
		}
	}
	store, err := bolt.Open(filepath.Join(dataDir, "syncs.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // only read from
	for _, id := range acknowledged {
		if _, err := store.Read(t.Context(), "demo", id); err != nil {
			t.Errorf("acknowledged and lost: %v", err)
		}
	}
}

func tryCreate(ctx context.Context, address, token string) (id string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/api/v1/syncs", strings.NewReader(goodBody))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // it is read to its end
	var document struct {
		ID string `json:"id"`
	}
	err = json.NewDecoder(response.Body).Decode(&document)
	return document.ID, err
}

// TestOneClearSentence checks the error message and the exit code of each failure to
// start.
func TestOneClearSentence(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	s := serve(t, dataDir)
	port := s.address[strings.LastIndex(s.address, ":")+1:]
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "signing-key.pem"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "syncs.db"), bytes.Repeat([]byte("x"), 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"damaged data": {[]string{"PORT=0", "DATA_DIR=" + damaged}, []string{"serve"}, filepath.Join(damaged, "syncs.db") +
			" is damaged or was not made by this program; replace it with a backup, or move it away to start with an empty one (invalid database)"},
		"a busy port":        {[]string{"PORT=" + port, "DATA_DIR=" + t.TempDir()}, []string{"serve"}, "port " + port + " is in use; set PORT to another one, such as PORT=8081"},
		"busy data":          {[]string{"PORT=0", "DATA_DIR=" + dataDir}, []string{"serve"}, filepath.Join(dataDir, "syncs.db") + " is in use by another process, such as another server; stop that one, or use another directory and port: DATA_DIR=" + dataDir + "-2 PORT=8081"},
		"a file as data dir": {[]string{"PORT=0", "DATA_DIR=" + file}, []string{"serve"}, "create the data directory: mkdir " + file + ": not a directory"},
		"a malformed key":    {[]string{"DATA_DIR=" + bad}, []string{"token"}, filepath.Join(bad, "signing-key.pem") + " is not a valid signing key; remove it and a new one is generated"},
		"an unknown key":     {[]string{"DATA_DIR=" + t.TempDir()}, []string{"keys", "revoke", "x"}, "there is no key with this id"},
		"a missing event":    {nil, []string{"invoke", file + ".json"}, "read the event: open " + file + ".json: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) { checkFails(t, 1, test.want, test.env, test.args...) })
	}
	s.stop(t, os.Interrupt)
}

// checkFails checks that a command fails with an exit code and one line on standard
// error, and prints nothing to standard output.
func checkFails(t *testing.T, code int, want string, env []string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t, env, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	checkFailure(t, code, want, args, cmd.Run(), &stdout, &stderr)
}

// checkCallFails is checkFails for a call.
func checkCallFails(t *testing.T, code int, want string, env []string, args ...string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := newCall(t, env, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	checkFailure(t, code, want, args, c.Run(), &stdout, &stderr)
}

func checkFailure(t *testing.T, code int, want string, args []string, err error, stdout, stderr *bytes.Buffer) {
	t.Helper()
	if got := exitCode(err); got != code {
		t.Errorf("%q: got %v, want exit code %d", args, err, code)
	}
	if got := stderr.String(); got != "syncplane: "+want+"\n" || stdout.Len() > 0 {
		t.Errorf("%q: got %q and %q, want %q", args, got, stdout, want)
	}
}

// exitCode returns the exit code of a command or a call that ended with err, and -1 if it
// did not end by itself.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		return exit.ExitCode()
	}
	return -1
}

// TestWhen checks what is printed about a schedule.
func TestWhen(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		`^at 00:00 UTC on day 13 of the month or on Friday\n(  ... \d{4}-\d\d-\d\dT00:00:00Z\n){5}  cron\(0 0 13 \* \? \*\)\n  cron\(0 0 \? \* 6 \*\)\n$`: {"when", "0 0 13 * FRI"},
		`^every 90 minutes\n(  ... \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n){5}  rate\(90 minutes\)\n$`:                                                          {"when", "90"},
	} {
		out, err := command(t, nil, args...).Output()
		if err != nil || !regexp.MustCompile(want).Match(out) {
			t.Errorf("%v: %v, %s", args, err, out)
		}
	}
}

func TestDocs(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	client := &http.Client{Timeout: 10 * time.Second}
	for path, want := range map[string]string{
		"/docs":                  "/docs/swagger-ui-bundle.js",
		"/docs/":                 "/api/v1/openapi.json",
		"/api/v1/openapi.json":   `"openapi": "3.1`,
		"/.well-known/jwks.json": `"kty":"OKP"`,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %v, %d, no %q in %.300s", path, err, response.StatusCode, want, body)
		}
	}
	s.stop(t, os.Interrupt)
}

// TestInvoke runs the real Lambda as `make invoke` does.
func TestInvoke(t *testing.T) {
	t.Parallel()
	endpoint := dynamotest.Endpoint(t)
	bootstrap := filepath.Join(buildFunctions(t), "api")
	dataDir := t.TempDir()
	own := filepath.Join(t.TempDir(), "own.json")
	text, err := os.ReadFile("../../events/create-sync-without-token.json")
	if err != nil {
		t.Fatal(err)
	}
	signed := strings.Replace(string(text), `"headers": {`, `"headers": {"authorization": "Bearer `+token(t, dataDir)+`",`, 1)
	if err := os.WriteFile(own, []byte(signed), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"../../events/create-sync.json":               `{"statusCode":200,`,
		"../../events/create-sync-without-token.json": `{"statusCode":401,`,
		own: `{"statusCode":200,`,
	} {
		out, err := command(t, []string{"DATA_DIR=" + dataDir, "BOOTSTRAP=" + bootstrap, "AWS_ENDPOINT_URL_DYNAMODB=" + endpoint}, "invoke", file).Output()
		if err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: %v: %.300s", file, err, out)
		}
	}
}
