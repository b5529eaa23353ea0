package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"
)

// The hosts of the stubs. The first one is DynamoDB's own name.
const (
	dynamoDBHost = "dynamodb.us-east-1.amazonaws.com"
	issuerHost   = "issuer.example.com"
)

// stubs are the servers that a function calls, as their process describes them on its
// standard output. They have a process of their own, as on AWS: in the process of the
// Runtime API, a handshake of one function would delay the event of the next.
type stubs struct {
	Roots    []byte `json:"roots"`    // the root certificates of their authorities, in PEM
	DynamoDB string `json:"dynamodb"` // the address, which the root certificates verify
	Issuer   string `json:"issuer"`   // the address of the keys of the issuer, likewise
}

// startStubs starts the process of the stubs. It ends with ctx, or with this process.
func startStubs(ctx context.Context, keys []byte) (stubs, error) {
	program, err := os.Executable()
	if err != nil {
		return stubs{}, err
	}
	command := exec.CommandContext(ctx, program, "-stubs")
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe() // stays open as long as this process runs
	if err != nil {
		return stubs{}, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return stubs{}, err
	}
	if err := command.Start(); err != nil {
		return stubs{}, fmt.Errorf("start the stubs: %w", err)
	}
	var s stubs
	if _, err := stdin.Write(append(keys, '\n')); err != nil {
		return stubs{}, fmt.Errorf("start the stubs: %w", err)
	}
	if err := json.NewDecoder(stdout).Decode(&s); err != nil {
		return stubs{}, fmt.Errorf("start the stubs: %w", err)
	}
	go func() { _ = command.Wait() }() // it ends after this process, or with ctx
	return s, nil
}

// serveStubs serves the stubs until standard input ends. Its first line is the key set
// of the issuer.
func serveStubs() error {
	const memory = 512 << 20 // bytes; until then nothing is collected during a measurement
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memory)
	input := bufio.NewReader(os.Stdin)
	keys, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the key set: %w", err)
	}
	var s stubs
	amazon, err := newAuthority("Amazon", rsaKey)
	if err != nil {
		return err
	}
	other, err := newAuthority("Example", ecdsaKey)
	if err != nil {
		return err
	}
	s.Roots = append(amazon.rootPEM(), other.rootPEM()...)
	if s.DynamoDB, err = serveTLS(amazon, dynamoDBHost, http.HandlerFunc(stubDynamoDB)); err != nil {
		return err
	}
	if s.Issuer, err = serveTLS(other, issuerHost, &issuer{keys: keys}); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		return err
	}
	_, err = input.WriteTo(io.Discard)
	return err
}

// serveTLS serves a handler over TLS with HTTP/1.1 on loopback, and returns the address
// with the name of the host.
func serveTLS(a *authority, host string, handler http.Handler) (string, error) {
	certificate, err := a.issue(host)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is open until the process ends
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	secure := tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12,
	})
	go func() { _ = server.Serve(secure) }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return "https://" + net.JoinHostPort(host, port), err
}

// stubDynamoDB responds to PutItem as DynamoDB does, and to any other request with an
// error. A stub takes little processor time and always the same.
func stubDynamoDB(w http.ResponseWriter, r *http.Request) {
	var in struct {
		TableName string
		Item      map[string]any
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	err := json.NewDecoder(r.Body).Decode(&in) //nolint:musttag // the names are DynamoDB's
	if err != nil || r.Header.Get("X-Amz-Target") != "DynamoDB_20120810.PutItem" || in.TableName == "" || len(in.Item) == 0 ||
		!strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"com.amazon.coral.validate#ValidationException","message":"it must be a signed PutItem"}`)
		return
	}
	w.Header().Set("X-Amzn-Requestid", "VA8LQ3V2FMK3E8UB59G1PQUU1BVV4KQNSO5AEMVJF66Q9ASUAAJG")
	w.Header().Set("X-Amz-Crc32", "2745614147")
	_, _ = io.WriteString(w, "{}")
}
