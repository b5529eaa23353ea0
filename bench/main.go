// Command bench compares the API function with a bare handler, the least that a
// Lambda function can do, and with a typical function in Node.js. All run under the
// same emulated Runtime API over one DynamoDB Local. It also measures the relay, the
// local server and the local scheduler. It prints tables for docs/benchmarks.md, and
// ends with an error if a bound is missed.
package main

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"syncplane/pkg/app"
	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/storage/dynamo"
)

// The number of measurements.
const (
	coldStarts = 45  // of each candidate
	warmBlocks = 105 // of each candidate, taking turns
	warmBlock  = 40  // calls in a block
	unmeasured = 5   // first blocks that only warm up
)

const createBody = `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"mapping":[{"from":"email","to":"Email__c"}]},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}`

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// candidate is a function that is compared, with its measurements.
type candidate struct {
	name    string
	command []string
	table   string
	zip     int64 // bytes
	init    []time.Duration
	first   []time.Duration
	warm    []time.Duration
	rss     int64 // peak, in bytes
}

// results holds what report prints.
type results struct {
	candidates []*candidate
	operations []*operation
	handler    benchmarked
	server     load
	lists      []listing
	relay      benchmarked
	scheduler  punctuality
}

// run measures everything and prints the report.
func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	database, err := dynamodblocal.Start(ctx, dynamodblocal.Options{Getenv: os.Getenv, Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer database.Close() //nolint:errcheck // it ends with this process in any case
	lab, err := newLab(ctx, dir, database.Endpoint)
	if err != nil {
		return err
	}

	r := results{candidates: lab.candidates}
	if err := lab.measureCold(ctx); err != nil {
		return err
	}
	if r.operations, err = lab.measureWarm(ctx); err != nil {
		return err
	}
	if r.handler, err = benchmark(ctx, "Create", "the handler without a store"); err != nil {
		return err
	}
	if r.server, err = measureServer(ctx, dir); err != nil {
		return err
	}
	if r.lists, err = measureList(ctx, lab.store); err != nil {
		return err
	}
	if r.relay, err = benchmark(ctx, "Relay", "the relay with AWS in its process"); err != nil {
		return err
	}
	if r.scheduler, err = measureScheduler(ctx, dir); err != nil {
		return err
	}
	return errors.Join(report(r), measureRuns(ctx, lab, dir), measureMillion(ctx, dir), measureReconcile(ctx))
}

// lab holds the candidates and the services that they use.
type lab struct {
	candidates []*candidate // the bare handler, Syncplane, Node.js
	env        []string     // of every candidate
	store      *dynamo.Store
	token      string // for every request
}

// newLab creates the tables at endpoint, starts an issuer of tokens and builds the
// candidates in dir.
func newLab(ctx context.Context, dir, endpoint string) (*lab, error) {
	issuer, token, err := startIssuer()
	if err != nil {
		return nil, err
	}
	config := app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", DynamoDBEndpoint: endpoint, TableName: "bench"}
	l := &lab{store: app.DynamoDB(config), token: token}
	config.TableName = "bench-node" // its rows have another format
	for _, table := range []*dynamo.Store{l.store, app.DynamoDB(config)} {
		if err := table.EnsureTable(ctx); err != nil {
			return nil, err
		}
	}
	l.env = []string{
		"PATH=" + os.Getenv("PATH"), "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"AWS_ENDPOINT_URL_DYNAMODB=" + endpoint, "TOKEN_ISSUER=" + issuer, "TOKEN_AUDIENCE=syncplane",
		"TOKEN_JWKS_URL=" + issuer + "/keys", "POWERTOOLS_SERVICE_NAME=syncs", "NODE_ENV=production", "AWS_LAMBDA_LOG_FORMAT=JSON",
	}
	l.candidates, err = build(ctx, dir)
	return l, err
}

// measureCold starts each candidate many times, in random order, and measures its
// init and its first create.
func (l *lab) measureCold(ctx context.Context) error {
	order := mathrand.New(mathrand.NewPCG(1, 1))
	for round := range coldStarts {
		fmt.Fprintf(os.Stderr, "cold start %d of %d\n", round+1, coldStarts)
		for _, i := range order.Perm(len(l.candidates)) { // so that each follows each other
			c := l.candidates[i]
			f, err := l.start(ctx, c)
			if err != nil {
				return err
			}
			if err := l.create(ctx, f, c); err != nil {
				return err
			}
			c.init = append(c.init, f.InitDuration())
			c.first = append(c.first, f.Duration())
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureWarm measures creates and peak memory of running candidates, and the other
// operations of Syncplane.
func (l *lab) measureWarm(ctx context.Context) ([]*operation, error) {
	functions := make([]*lambdaruntime.Function, len(l.candidates))
	for i, c := range l.candidates {
		var err error
		if functions[i], err = l.start(ctx, c); err != nil {
			return nil, err
		}
	}
	for block := range warmBlocks {
		if block%unmeasured == 0 {
			fmt.Fprintf(os.Stderr, "warm %d of %d\n", block*warmBlock, warmBlocks*warmBlock)
		}
		for turn := range l.candidates {
			i := (turn + block) % len(l.candidates)
			for range warmBlock {
				if err := l.create(ctx, functions[i], l.candidates[i]); err != nil {
					return nil, err
				}
				if block >= unmeasured {
					l.candidates[i].warm = append(l.candidates[i].warm, functions[i].Duration())
				}
			}
		}
	}
	operations, err := measureOperations(functions[1], func(method, path, body string, header ...string) ([]byte, error) {
		return l.invoke(ctx, functions[1], request{method, path, body, header})
	})
	if err != nil {
		return nil, err
	}
	for i, c := range l.candidates {
		c.rss = functions[i].PeakRSS()
		if err := functions[i].Close(); err != nil {
			return nil, err
		}
	}
	return operations, nil
}

// start runs a candidate under the emulated Runtime API.
func (l *lab) start(ctx context.Context, c *candidate) (*lambdaruntime.Function, error) {
	f, err := lambdaruntime.Start(ctx, lambdaruntime.Options{Command: c.command, Env: append(slices.Clone(l.env), "TABLE_NAME="+c.table), Output: io.Discard})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return f, nil
}

// create has a candidate create a sync.
func (l *lab) create(ctx context.Context, f *lambdaruntime.Function, c *candidate) error {
	if _, err := l.invoke(ctx, f, request{method: "POST", path: "/api/v1/syncs", body: createBody}); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// startIssuer serves the keys of an issuer on loopback, and returns the issuer's
// address and an ES256 token of it.
func startIssuer() (address, token string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		return "", "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is open until the process ends
	if err != nil {
		return "", "", err
	}
	address = "http://" + listener.Addr().String()
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(keys)
	})}
	go func() { _ = server.Serve(listener) }()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		return "", "", err
	}
	token, err = jwt.Signed(signer).Claims(map[string]any{
		"iss": address, "aud": "syncplane", "sub": "bench", "workspace_id": "bench", "scope": "syncs:read syncs:write runs:execute", "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	return address, token, err
}

// build builds the candidates for the present platform, and measures the size of
// their zips, those of the Go candidates for arm64, as they are deployed.
func build(ctx context.Context, dir string) ([]*candidate, error) {
	bare := &candidate{name: "bare handler (Go)", table: "bench"}
	syncplane := &candidate{name: "Syncplane", table: "bench"}
	for c, source := range map[*candidate]string{bare: "./bench/floor", syncplane: "./functions/api"} {
		name := strings.ReplaceAll(strings.TrimPrefix(source, "./"), "/", "-")
		for _, arch := range []string{runtime.GOARCH, "arm64"} {
			out := filepath.Join(dir, name+"-"+arch)
			cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "lambda.norpc", "-ldflags=-s -w", "-o", out, source)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
			if text, err := cmd.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("build %s: %w: %s", source, err, text)
			}
			if arch == runtime.GOARCH {
				c.command = []string{out}
			}
		}
		var err error
		if c.zip, err = deflated(filepath.Join(dir, name+"-arm64")); err != nil {
			return nil, err
		}
	}
	node, err := buildNode(ctx, dir)
	if err != nil {
		return nil, err
	}
	return []*candidate{bare, syncplane, node}, nil
}

// buildNode bundles the Node.js function as SAM's esbuild builder does. It keeps
// packages from the registry in the cache.
func buildNode(ctx context.Context, dir string) (*candidate, error) {
	cache := os.Getenv("SYNCPLANE_CACHE")
	if cache == "" {
		return nil, errors.New("SYNCPLANE_CACHE is not set; run make bench")
	}
	work := filepath.Join(cache, "bench-node")
	if err := os.MkdirAll(work, 0o700); err != nil {
		return nil, err
	}
	if err := os.CopyFS(filepath.Join(dir, "node"), os.DirFS("bench/node")); err != nil {
		return nil, err
	}
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "handler.ts", "runtime.mjs"} {
		text, err := os.ReadFile(filepath.Join("bench/node", name))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(work, name), text, 0o600); err != nil {
			return nil, err
		}
	}
	bundle := filepath.Join(dir, "index.mjs")
	for _, command := range [][]string{
		{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"},
		{
			"node_modules/.bin/esbuild", "runtime.mjs", "--bundle", "--minify", "--platform=node", "--target=node20", "--format=esm", "--log-level=error", "--outfile=" + bundle,
			"--banner:js=import{createRequire}from'module';const require=createRequire(import.meta.url);",
		},
	} {
		fmt.Fprintln(os.Stderr, strings.Join(command[:2], " "))
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = work
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", command[0], err, text)
		}
	}
	size, err := deflated(bundle)
	return &candidate{name: "Node.js with Powertools", table: "bench-node", command: []string{"node", bundle}, zip: size}, err
}

// deflated returns the size of a file in a zip, in bytes.
func deflated(path string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var zip bytes.Buffer
	w, err := flate.NewWriter(&zip, flate.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(text); err != nil {
		return 0, err
	}
	return int64(zip.Len()), w.Close()
}

// request is an HTTP request to a function.
type request struct {
	method, path, body string
	header             []string // names and values
}

// invoke sends a request as an event and returns the body of the response. A status
// of 300 or more is an error.
func (l *lab) invoke(ctx context.Context, f *lambdaruntime.Function, r request) ([]byte, error) {
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: r.path, Body: r.body,
		Headers: map[string]string{"authorization": "Bearer " + l.token, "content-type": "application/json", "host": "api.example.com", "user-agent": "bench"},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RequestID: rand.Text(), Stage: "$default", DomainName: "api.example.com",
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: r.method, Path: r.path, SourceIP: "192.0.2.1"},
		},
	}
	for pair := range slices.Chunk(r.header, 2) {
		event.Headers[pair[0]] = pair[1]
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return nil, err
	}
	answer, err := f.Invoke(ctx, payload)
	if err != nil {
		return nil, err
	}
	var response events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(answer, &response); err != nil {
		return nil, err
	}
	if response.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %.300s", r.method, r.path, answer)
	}
	return []byte(response.Body), nil
}
