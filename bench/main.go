// Command bench measures, in one run on one machine, the function beside the
// least that a Lambda can do and beside what a team would write on Node.js: all
// under the same Runtime API, with one DynamoDB Local behind them. It prints a
// table for docs/benchmarks.md and whether the bounds are kept.
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

// How much is measured.
const (
	coldStarts = 45  // of each candidate
	warmBlocks = 105 // of each candidate, by turns
	warmBlock  = 40  // calls in each
	unmeasured = 5   // blocks at first, until all is warm
)

const createBody = `{"sync":{"source_id":1,"destination_id":2,"model_id":3,"schedule_type":"automated","configuration":{"mapping":[{"from":"email","to":"Email__c"}]},` +
	`"stream_name":"contacts","sync_mode":"full_refresh","sync_interval":30,"sync_interval_unit":"minutes","cron_expression":"0 6 * * 1-5","cursor_field":"updated_at"}}`

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// candidate is one of those compared.
type candidate struct {
	name    string
	command []string
	table   string
	zip     int64 // bytes
	init    []time.Duration
	first   []time.Duration
	warm    []time.Duration
	rss     int64 // bytes, the most seen
}

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
	defer database.Close() //nolint:errcheck // it ends with us in any case
	issuer, token, err := startIssuer()
	if err != nil {
		return err
	}
	config := app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", DynamoDBEndpoint: database.Endpoint, TableName: "bench"}
	store := app.DynamoDB(config)
	other := config
	other.TableName = "bench-node" // whose rows are not ours
	for _, table := range []*dynamo.Store{store, app.DynamoDB(other)} {
		if err := table.EnsureTable(ctx); err != nil {
			return err
		}
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"DYNAMODB_ENDPOINT=" + database.Endpoint, "TOKEN_ISSUER=" + issuer, "TOKEN_AUDIENCE=syncplane",
		"TOKEN_JWKS_URL=" + issuer + "/keys", "POWERTOOLS_SERVICE_NAME=syncs", "NODE_ENV=production", "AWS_LAMBDA_LOG_FORMAT=JSON",
	}
	candidates, err := build(ctx, dir)
	if err != nil {
		return err
	}
	call := func(f *lambdaruntime.Function, method, path, body string, header ...string) ([]byte, error) {
		return invoke(ctx, f, token, method, path, body, header...)
	}

	order := mathrand.New(mathrand.NewPCG(1, 1))
	for round := range coldStarts {
		fmt.Fprintf(os.Stderr, "cold start %d of %d\n", round+1, coldStarts)
		for _, i := range order.Perm(len(candidates)) { // so that each comes after each other
			c := candidates[i]
			f, err := start(ctx, c, env)
			if err != nil {
				return err
			}
			if _, err := call(f, "POST", "/api/v1/syncs", createBody); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			c.init = append(c.init, f.InitDuration())
			c.first = append(c.first, f.Duration())
			if err := f.Close(); err != nil {
				return err
			}
		}
	}

	functions := make([]*lambdaruntime.Function, len(candidates))
	for i, c := range candidates {
		if functions[i], err = start(ctx, c, env); err != nil {
			return err
		}
	}
	for block := range warmBlocks {
		if block%unmeasured == 0 {
			fmt.Fprintf(os.Stderr, "warm %d of %d\n", block*warmBlock, warmBlocks*warmBlock)
		}
		for turn := range candidates {
			i := (turn + block) % len(candidates)
			c := candidates[i]
			for range warmBlock {
				if _, err := call(functions[i], "POST", "/api/v1/syncs", createBody); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
				if block >= unmeasured {
					c.warm = append(c.warm, functions[i].Duration())
				}
			}
		}
	}
	life, err := measureLife(functions[1], call)
	if err != nil {
		return err
	}
	for i, c := range candidates {
		c.rss = functions[i].PeakRSS()
		if err := functions[i].Close(); err != nil {
			return err
		}
	}
	handler, err := benchmark(ctx, "Create", "the handler, its store left out")
	if err != nil {
		return err
	}
	load, err := measureServer(ctx, dir)
	if err != nil {
		return err
	}
	list, err := measureList(ctx, store)
	if err != nil {
		return err
	}
	relay, err := benchmark(ctx, "Relay", "the relay, AWS answered in the process")
	if err != nil {
		return err
	}
	punctual, err := measureClock(ctx, dir)
	if err != nil {
		return err
	}
	return report(candidates, life, handler, load, list, relay, punctual)
}

func start(ctx context.Context, c *candidate, env []string) (*lambdaruntime.Function, error) {
	f, err := lambdaruntime.Start(ctx, lambdaruntime.Options{Command: c.command, Env: append(slices.Clone(env), "TABLE_NAME="+c.table), Output: io.Discard})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return f, nil
}

// startIssuer serves the keys of an issuer on loopback, and returns a token of
// its own, in ES256.
func startIssuer() (address, token string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		return "", "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it lives as long as we do
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
		"iss": address, "aud": "syncplane", "sub": "bench", "workspace_id": "bench", "scope": "syncs:read syncs:write", "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	return address, token, err
}

// build builds the candidates for this machine, and weighs their zips: the Go
// ones as they are deployed, for arm64.
func build(ctx context.Context, dir string) ([]*candidate, error) {
	floor := &candidate{name: "bare handler (Go)", table: "bench"}
	ours := &candidate{name: "Syncplane", table: "bench"}
	for c, source := range map[*candidate]string{floor: "./bench/floor", ours: "./functions/api"} {
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
	return []*candidate{floor, ours, node}, nil
}

// buildNode bundles the Node.js function as SAM's esbuild builder does. What it
// needs from the registry is kept in the cache.
func buildNode(ctx context.Context, dir string) (*candidate, error) {
	cache := os.Getenv("SYNCPLANE_CACHE")
	if cache == "" {
		return nil, errors.New("SYNCPLANE_CACHE is not set; start this by make bench")
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

// deflated is how large a file is in a zip.
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

// invoke sends one request as an event, and wants a status below 300.
func invoke(ctx context.Context, f *lambdaruntime.Function, token, method, path, body string, header ...string) ([]byte, error) {
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: path, Body: body,
		Headers: map[string]string{"authorization": "Bearer " + token, "content-type": "application/json", "host": "api.example.com", "user-agent": "bench"},
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RequestID: rand.Text(), Stage: "$default", DomainName: "api.example.com",
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{Method: method, Path: path, SourceIP: "192.0.2.1"},
		},
	}
	for pair := range slices.Chunk(header, 2) {
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
		return nil, fmt.Errorf("%s %s: %.300s", method, path, answer)
	}
	return []byte(response.Body), nil
}
