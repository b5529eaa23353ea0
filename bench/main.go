// Command bench measures the API function as it is deployed, in a root directory like that
// of Lambda and over TLS, against a bare handler, the least that a Lambda function can do,
// and against functions in Rust, Go and Node.js that do the same. It also measures the
// operations over DynamoDB Local, the relay, the local server and the local scheduler. It
// prints tables for docs/benchmarks.md, and ends with an error if a bound is missed.
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
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"syncplane/pkg/app"
	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/testkit/lambdatest"
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
	only := flag.String("only", "", "deployment measures the functions over TLS and nothing else, million a million syncs on one machine")
	stubbing := flag.Bool("stubs", false, "serve the stubs, for the process of the benchmark")
	flag.Parse()
	measure := func() error { return run(context.Background(), *only) }
	if *stubbing {
		measure = serveStubs
	}
	if err := measure(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// candidate is a function that is compared, with its measurements.
type candidate struct {
	name    string
	command []string
	env     []string
	zip     int64 // bytes
	init    []time.Duration
	first   []time.Duration
	warm    []time.Duration
	rss     int64 // peak, in bytes
}

// results holds what report prints.
type results struct {
	deployment *deployment
	candidates []*candidate
	operations []*operation
	handler    benchmarked
	signature  benchmarked // the verification of one ES256 signature
	server     load
	lists      []listing
	relay      benchmarked
	scheduler  punctuality
}

// run measures everything and prints the report.
func run(ctx context.Context, only string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary directory
	if only == "million" {
		return measureMillion(ctx, dir)
	}
	issuer, err := startIssuer()
	if err != nil {
		return err
	}
	built, err := build(ctx, dir)
	if err != nil {
		return err
	}
	deployment, err := newDeployment(ctx, dir, built, issuer)
	if err != nil {
		return err
	}
	if err := errors.Join(deployment.measureCold(ctx), deployment.measureWarm(ctx)); err != nil {
		return err
	}
	if only == "deployment" {
		printDeployment(deployment)
		b := &bounds{}
		b.deployed(deployment)
		return b.err()
	}

	database, err := dynamodblocal.Start(ctx, dynamodblocal.Options{Getenv: os.Getenv, Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer database.Close() //nolint:errcheck // it ends with this process in any case
	lab, err := newLab(ctx, database.Endpoint, built, issuer)
	if err != nil {
		return err
	}

	r := results{deployment: deployment, candidates: lab.candidates}
	if err := lab.measureCold(ctx); err != nil {
		return err
	}
	if r.operations, err = lab.measureWarm(ctx); err != nil {
		return err
	}
	if r.handler, err = benchmark(ctx, "Create", "the handler without a store", settings); err != nil {
		return err
	}
	if r.signature, err = benchmark(ctx, "Verify", "the verification of a signature", settings); err != nil {
		return err
	}
	if r.server, err = measureServer(ctx, dir); err != nil {
		return err
	}
	if r.lists, err = measureList(ctx, lab.store); err != nil {
		return err
	}
	if r.relay, err = benchmark(ctx, "Relay", "the relay with AWS in its process", nil); err != nil {
		return err
	}
	if r.scheduler, err = measureScheduler(ctx, dir); err != nil {
		return err
	}
	return errors.Join(report(r), measureRuns(ctx, lab, dir), measureMillion(ctx, dir), measureReconcile(ctx))
}

// lab holds the candidates and the services that they use.
type lab struct {
	candidates []*candidate // the bare handler and Syncplane
	env        []string     // of every candidate
	store      *dynamo.Store
	token      string // for every request
}

// newLab creates the table at endpoint.
func newLab(ctx context.Context, endpoint string, built []*candidate, issuer *issuer) (*lab, error) {
	config := app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", DynamoDBEndpoint: endpoint, TableName: "bench"}
	l := &lab{store: app.DynamoDB(config), token: issuer.token, candidates: built}
	l.env = []string{
		"AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "TABLE_NAME=" + config.TableName,
		"AWS_ENDPOINT_URL_DYNAMODB=" + endpoint, "TOKEN_ISSUER=" + issuer.address, "TOKEN_AUDIENCE=syncplane",
		"TOKEN_JWKS_URL=" + issuer.address, "AWS_LAMBDA_LOG_FORMAT=JSON",
	}
	return l, l.store.EnsureTable(ctx)
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
		return invoke(ctx, functions[1], l.token, request{method, path, body, header})
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
	f, err := lambdaruntime.Start(ctx, lambdaruntime.Options{Command: c.command, Env: append(slices.Clone(l.env), c.env...), Output: io.Discard})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return f, nil
}

// create has a candidate create a sync.
func (l *lab) create(ctx context.Context, f *lambdaruntime.Function, c *candidate) error {
	if _, err := invoke(ctx, f, l.token, request{method: "POST", path: "/api/v1/syncs", body: createBody}); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// issuer is an issuer of tokens. It serves its keys over HTTP.
type issuer struct {
	address string
	keys    []byte // a JSON Web Key Set
	token   string // ES256
}

// ServeHTTP responds with the keys.
func (i *issuer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(i.keys)
}

// startIssuer starts an issuer on loopback.
func startIssuer() (*issuer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is open until the process ends
	if err != nil {
		return nil, err
	}
	i := &issuer{address: "http://" + listener.Addr().String()}
	i.keys, err = json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		return nil, err
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: i}
	go func() { _ = server.Serve(listener) }()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		return nil, err
	}
	i.token, err = jwt.Signed(signer).Claims(map[string]any{
		"iss": i.address, "aud": "syncplane", "sub": "bench", "workspace_id": "bench", "scope": "syncs:read syncs:write runs:execute", "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	return i, err
}

// settings are the variables of the Go runtime that template.yaml sets for the API function.
var settings = []string{"GOMAXPROCS=1", "GOGC=200"}

// build builds the bare handler and Syncplane in dir.
func build(ctx context.Context, dir string) ([]*candidate, error) {
	var all []*candidate
	for _, c := range []struct {
		name, tags, source string
		env                []string
	}{
		{"bare handler (Go)", usualTags, "./bench/floor", nil},
		{"Syncplane", lambdatest.BuildTags, "./functions/api", settings},
	} {
		program, zip, err := buildGo(ctx, dir, c.tags, c.source)
		if err != nil {
			return nil, err
		}
		all = append(all, &candidate{name: c.name, command: []string{program}, env: c.env, zip: zip})
	}
	return all, nil
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
func invoke(ctx context.Context, f *lambdaruntime.Function, token string, r request) ([]byte, error) {
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: r.path, Body: r.body,
		Headers: map[string]string{"authorization": "Bearer " + token, "content-type": "application/json", "host": "api.example.com", "user-agent": "bench"},
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
