package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// localServer is a running bin/syncplane with bbolt.
type localServer struct {
	command *exec.Cmd
	address string
	token   string
	took    time.Duration // from its start until it listened
	client  *http.Client
}

// startLocal starts the server on a directory and waits until it listens.
func startLocal(ctx context.Context, dataDir, scope string) (*localServer, error) {
	s := &localServer{
		command: exec.CommandContext(ctx, "bin/syncplane", "serve"),
		client:  &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
	}
	s.command.Env = append(os.Environ(), "PORT=0", "STORE=bolt", "DATA_DIR="+dataDir, "CREATE_LIMIT=", "TTL=1h", "WORKSPACE=bench", "SCOPE="+scope)
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start bin/syncplane: %w", err)
	}
	for lines := bufio.NewScanner(stdout); s.token == "" && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Syncplane listens on "); ok {
			s.took = time.Since(start)
			s.address, _, _ = strings.Cut(rest, " ")
		}
		if _, rest, ok := strings.Cut(lines.Text(), "Authorization: "); ok {
			s.token, _, _ = strings.Cut(rest, "'")
		}
	}
	if s.token == "" {
		return nil, errors.Join(errors.New("bin/syncplane printed no token"), s.command.Wait())
	}
	return s, nil
}

// stop stops the server.
func (s *localServer) stop() error {
	return errors.Join(s.command.Process.Signal(syscall.SIGTERM), s.command.Wait())
}

// call sends a request and returns the body of the response. A status of 300 or more is
// an error.
func (s *localServer) call(ctx context.Context, method, path, body string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.address+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", s.token)
	r.Header.Set("Content-Type", "application/json")
	response, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: status %d: %.200s", method, path, response.StatusCode, text)
	}
	return text, err
}
