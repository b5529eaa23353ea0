package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"syncplane/pkg/emulator/lambdaruntime"
)

// The number of measurements of a deployment.
const (
	coldRounds     = 201 // starts of each candidate
	warmRounds     = 60  // blocks of each candidate
	warmRoundCalls = 100 // calls in a block
	warmUp         = 10  // first blocks that are not measured
)

// deployment measures candidates as they run on Lambda: in a root directory laid out
// like that of provided.al2023, over TLS to a stub of DynamoDB.
type deployment struct {
	root       string
	env        []string
	token      string      // of every request
	candidates []*deployed // the bare handler, Syncplane, Syncplane with fetched keys, peers
	leftOut    []string    // why peers are left out
}

// fetchingName is the name of Syncplane as a candidate that fetches the keys of the issuer
// over TLS. All others have them in their environment.
const fetchingName = "Syncplane, keys fetched over TLS"

// deployed is a candidate with its measurements, one a round.
type deployed struct {
	name    string
	command []string // in the root directory
	env     []string
	zip     int64 // bytes

	init, first, cold []time.Duration // of each start; cold is their sum
	coldCPU           []time.Duration // processor time of a start with its first call
	warm              []time.Duration // median duration of the calls of a block
	warmCPU           []time.Duration // mean processor time of the calls of a block
	rss               int64           // peak, in bytes
}

// caBundle is where Debian's package ca-certificates keeps the roots.
const caBundle = "/etc/ssl/certs/ca-certificates.crt"

// newRoot makes a root directory like that of provided.al2023: its bundle of CA
// certificates with the links to it, and the files that resolve names. The bundle is
// that of this machine with more roots, in PEM, in its middle.
func newRoot(dir string, roots []byte) error {
	bundle, err := os.ReadFile(caBundle)
	if err != nil {
		return fmt.Errorf("the root directory needs the certificates of Debian's package ca-certificates: %w", err)
	}
	const end = "-----END CERTIFICATE-----\n"
	middle := len(bundle)/2 + bytes.Index(bundle[len(bundle)/2:], []byte(end)) + len(end)
	added := slices.Concat(bundle[:middle], roots, bundle[middle:])
	for name, text := range map[string][]byte{
		"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem": added,
		"etc/pki/bench.pem": roots,
		"etc/hosts":         []byte("127.0.0.1 localhost " + dynamoDBHost + " " + issuerHost + "\n"),
		"etc/nsswitch.conf": []byte("hosts: files dns\n"),
		"etc/resolv.conf":   nil,
		"etc/passwd":        []byte("root:x:0:0:root:/root:/bin/sh\n"),
	} {
		if err := writeFile(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"etc/pki/tls/cert.pem":            "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"etc/pki/tls/certs/ca-bundle.crt": "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"etc/ssl/certs":                   "../pki/tls/certs",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(dir, "tmp"), 0o777)
}

func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// install copies a program into the root directory, with the shared libraries that it
// needs, and returns its path there.
func install(root, program, name string) (string, error) {
	files := map[string]string{program: "/var/task/" + name}
	if out, err := exec.Command("ldd", program).Output(); err == nil { //nolint:noctx // it ends at once
		for _, match := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllSubmatch(out, -1) {
			files[string(match[1])] = string(match[1])
		}
	}
	for from, to := range files {
		in, err := os.Open(from)
		if err != nil {
			return "", err
		}
		path := filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", errors.Join(err, in.Close())
		}
		out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
		if err != nil {
			return "", errors.Join(err, in.Close())
		}
		_, err = io.Copy(out, in)
		if err := errors.Join(err, out.Close(), in.Close()); err != nil {
			return "", err
		}
	}
	return files[program], nil
}

// newDeployment makes the root directory and the stubs, and builds the candidates. A peer
// whose tools are not installed is left out.
func newDeployment(ctx context.Context, dir string, built []*candidate, issuer *issuer) (*deployment, error) {
	called, err := startStubs(ctx, issuer.keys)
	if err != nil {
		return nil, err
	}
	d := &deployment{root: filepath.Join(dir, "root"), token: issuer.token}
	if err := newRoot(d.root, called.Roots); err != nil {
		return nil, err
	}
	d.env = []string{
		"PATH=/usr/local/bin:/usr/bin/:/bin", "LANG=en_US.UTF-8", "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"AWS_ENDPOINT_URL_DYNAMODB=" + called.DynamoDB, "TABLE_NAME=bench", "TOKEN_ISSUER=" + issuer.address, "TOKEN_AUDIENCE=syncplane",
		"POWERTOOLS_SERVICE_NAME=syncs", "NODE_ENV=production", "AWS_LAMBDA_LOG_FORMAT=JSON",
		"NODE_EXTRA_CA_CERTS=/etc/pki/bench.pem", // Node.js has roots of its own
	}
	pinned := []string{"TOKEN_JWKS=" + string(issuer.keys)}
	for _, c := range built {
		if err := d.add(c.command[0], deployed{name: c.name, env: append(slices.Clone(pinned), c.env...), zip: c.zip}); err != nil {
			return nil, err
		}
	}
	syncplane := built[1]
	if err := d.add(syncplane.command[0], deployed{name: fetchingName, env: append(slices.Clone(syncplane.env), "TOKEN_JWKS_URL="+called.Issuer), zip: syncplane.zip}); err != nil {
		return nil, err
	}
	return d, d.addPeers(ctx, pinned)
}

// add installs a program in the root directory, as the last word of the command of a
// candidate.
func (d *deployment) add(program string, c deployed) error {
	installed, err := install(d.root, program, strconv.Itoa(len(d.candidates))+"-"+filepath.Base(program))
	if err != nil {
		return fmt.Errorf("install %s: %w", c.name, err)
	}
	c.command = append(c.command, installed)
	d.candidates = append(d.candidates, &c)
	return nil
}

// addPeers builds and adds the peers whose tools are installed.
func (d *deployment) addPeers(ctx context.Context, env []string) error {
	for _, p := range peers {
		if tool := missing(p.tools); tool != "" {
			d.leftOut = append(d.leftOut, fmt.Sprintf("%s is left out: %s is not installed", p.name, tool))
			continue
		}
		work, err := workFolder(p.folder)
		if err != nil {
			return err
		}
		program, err := p.build(ctx, work)
		if err != nil {
			return fmt.Errorf("build %s: %w", p.name, err)
		}
		zip, err := deflated(program)
		if err != nil {
			return err
		}
		var interpreter []string
		if p.interpreter != "" {
			path, err := exec.LookPath(p.interpreter)
			if err != nil {
				return err
			}
			installed, err := install(d.root, path, p.interpreter)
			if err != nil {
				return err
			}
			interpreter = []string{installed}
		}
		if err := d.add(program, deployed{name: p.name, command: interpreter, env: env, zip: zip}); err != nil {
			return err
		}
	}
	return nil
}

// launch runs a candidate in the root directory.
func (d *deployment) launch(ctx context.Context, c *deployed) (*lambdaruntime.Function, error) {
	f, err := lambdaruntime.Launch(ctx, lambdaruntime.Options{
		Command: c.command, Root: d.root, Output: io.Discard, Env: append(slices.Clone(d.env), c.env...),
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	return f, nil
}

// startWithEvent runs a candidate, for which a create waits from the start, as on Lambda,
// and returns when that is done.
func (d *deployment) startWithEvent(ctx context.Context, c *deployed) (*lambdaruntime.Function, error) {
	f, err := d.launch(ctx, c)
	if err != nil {
		return nil, err
	}
	created := make(chan error, 1)
	go func() { created <- d.create(ctx, f, c) }()
	err = f.Await(ctx)
	if err == nil {
		err = <-created
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.name, err), f.Close())
	}
	return f, nil
}

// start runs a candidate and returns when it waits for an event.
func (d *deployment) start(ctx context.Context, c *deployed) (*lambdaruntime.Function, error) {
	f, err := d.launch(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := f.Await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.name, err), f.Close())
	}
	return f, nil
}

func (d *deployment) create(ctx context.Context, f *lambdaruntime.Function, c *deployed) error {
	if _, err := invoke(ctx, f, d.token, request{method: "POST", path: "/api/v1/syncs", body: createBody}); err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	return nil
}

// measureCold starts each candidate in each round, in random order. The garbage of this
// process is collected between the starts.
func (d *deployment) measureCold(ctx context.Context) error {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	order := mathrand.New(mathrand.NewPCG(1, 1))
	for round := range coldRounds {
		progress("cold start over TLS", round+1, coldRounds)
		for _, i := range order.Perm(len(d.candidates)) { // so that each follows each other
			c := d.candidates[i]
			runtime.GC()
			f, err := d.startWithEvent(ctx, c)
			if err != nil {
				return err
			}
			c.init = append(c.init, f.InitDuration())
			c.first = append(c.first, f.Duration())
			c.cold = append(c.cold, f.InitDuration()+f.Duration())
			c.coldCPU = append(c.coldCPU, f.CPUTime())
			if err := f.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureWarm sends creates to running candidates, in blocks in random order.
func (d *deployment) measureWarm(ctx context.Context) error {
	functions := make([]*lambdaruntime.Function, len(d.candidates))
	for i, c := range d.candidates {
		var err error
		if functions[i], err = d.start(ctx, c); err != nil {
			return err
		}
	}
	order := mathrand.New(mathrand.NewPCG(2, 2))
	for round := range warmUp + warmRounds {
		progress("warm calls over TLS", (round+1)*warmRoundCalls, (warmUp+warmRounds)*warmRoundCalls)
		for _, i := range order.Perm(len(d.candidates)) {
			c, f := d.candidates[i], functions[i]
			took := make([]time.Duration, 0, warmRoundCalls)
			before := f.CPUTime()
			for range warmRoundCalls {
				if err := d.create(ctx, f, c); err != nil {
					return err
				}
				took = append(took, f.Duration())
			}
			if round >= warmUp {
				c.warm = append(c.warm, median(took))
				c.warmCPU = append(c.warmCPU, (f.CPUTime()-before)/warmRoundCalls)
			}
		}
	}
	for i, c := range d.candidates {
		c.rss = functions[i].PeakRSS()
		if err := functions[i].Close(); err != nil {
			return err
		}
	}
	return nil
}

// progress prints every tenth step to standard error.
func progress(what string, step, of int) {
	if step*10/of != (step-1)*10/of || step == 1 {
		fmt.Fprintln(os.Stderr, what, strconv.Itoa(step), "of", strconv.Itoa(of))
	}
}

// spread is a ratio with its quartiles over the rounds.
type spread struct{ lower, median, upper float64 }

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.lower, s.upper) }

// ratios returns the ratio of two measurements of the same rounds.
func ratios(a, b []time.Duration) spread {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = float64(a[i]) / float64(b[i])
	}
	slices.Sort(all)
	return spread{all[len(all)/4], all[len(all)/2], all[len(all)*3/4]}
}
