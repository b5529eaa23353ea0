package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"syncplane/pkg/storage/bolt"
)

// The load on the local server.
const (
	clients  = 64
	loadTime = 8 * time.Second
)

// load is what was measured of the local server.
type load struct {
	perSecond float64
	took      []time.Duration
}

// measureServer has concurrent clients create syncs at the local server, and checks
// afterwards that the file holds every acknowledged sync.
func measureServer(ctx context.Context, dir string) (load, error) {
	fmt.Fprintf(os.Stderr, "the local server under %d clients\n", clients)
	dataDir := filepath.Join(dir, "data")
	server := exec.CommandContext(ctx, "bin/syncplane", "serve")
	server.Env = append(os.Environ(), "PORT=0", "STORE=bolt", "DATA_DIR="+dataDir, "CREATE_LIMIT=", "TTL=1h", "WORKSPACE=bench", "SCOPE=syncs:write")
	stdout, err := server.StdoutPipe()
	if err != nil {
		return load{}, err
	}
	if err := server.Start(); err != nil {
		return load{}, fmt.Errorf("start bin/syncplane: %w", err)
	}
	var address, token string
	for lines := bufio.NewScanner(stdout); token == "" && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "Syncplane listens on "); ok {
			address, _, _ = strings.Cut(rest, " ")
		}
		if _, rest, ok := strings.Cut(lines.Text(), "Authorization: "); ok {
			token, _, _ = strings.Cut(rest, "'")
		}
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	var mu sync.Mutex
	var result load
	var ids []string
	var failure error
	var all sync.WaitGroup
	start := time.Now()
	for range clients {
		all.Go(func() {
			var took []time.Duration
			var created []string
			var err error
			for err == nil && time.Since(start) < loadTime {
				sent := time.Now()
				var id string
				if id, err = create(ctx, client, address, token); err == nil {
					took, created = append(took, time.Since(sent)), append(created, id)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			result.took, ids, failure = append(result.took, took...), append(ids, created...), errors.Join(failure, err)
		})
	}
	all.Wait()
	result.perSecond = float64(len(ids)) / time.Since(start).Seconds()
	if err := errors.Join(failure, server.Process.Signal(syscall.SIGTERM), server.Wait()); err != nil {
		return load{}, err
	}
	store, err := bolt.Open(filepath.Join(dataDir, "syncs.db"))
	if err != nil {
		return load{}, err
	}
	for _, id := range ids {
		if _, err := store.Read(ctx, "bench", id); err != nil {
			return load{}, fmt.Errorf("an acknowledged sync is lost: %w", err)
		}
	}
	return result, store.Close()
}

// create creates a sync and returns its ID.
func create(ctx context.Context, client *http.Client, address, token string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/api/v1/syncs", strings.NewReader(createBody))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", token)
	r.Header.Set("Content-Type", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // it was read to its end
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return "", errors.Join(err, fmt.Errorf("status %d: %.200s", response.StatusCode, text))
	}
	var created struct {
		ID string `json:"id"`
	}
	return created.ID, json.Unmarshal(text, &created)
}
