package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/event"
	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
)

// The load of the local scheduler: each of the syncs runs once a minute.
const (
	scheduledSyncs = 100_000
	writers        = 256
	schedulingTime = 15 * time.Second
)

// punctuality is what was measured of the local scheduler.
type punctuality struct {
	memory int64 // bytes of heap
	load   time.Duration
	late   []time.Duration // from the time of each run until it was stored
}

// measureScheduler has the local scheduler start the runs of many syncs, spread over
// the seconds of a minute.
func measureScheduler(ctx context.Context, dir string) (punctuality, error) {
	fmt.Fprintf(os.Stderr, "the local scheduler with %d syncs\n", scheduledSyncs)
	store, err := bolt.Open(filepath.Join(dir, "scheduler.db"))
	if err != nil {
		return punctuality{}, err
	}
	defer store.Close() //nolint:errcheck // a temporary file
	if err := createMany(ctx, store, time.Now().UTC()); err != nil {
		return punctuality{}, err
	}
	before := heap()
	c := &scheduler.Scheduler{Store: store, Now: time.Now, Log: app.Logger(io.Discard, "")}
	start := time.Now()
	if _, err := c.Step(ctx); err != nil {
		return punctuality{}, err
	}
	result := punctuality{load: time.Since(start)}
	result.memory = heap() - before

	running, stop := context.WithTimeout(ctx, schedulingTime)
	defer stop()
	after, _ := store.Head() // runs that are due already have started
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(running)
	}()
	for running.Err() == nil {
		head, changed := store.Head()
		stored := time.Now()
		for after < head {
			entries, err := store.Events(after, 10_000)
			if err != nil {
				return result, err
			}
			for _, e := range entries {
				if after = e.Sequence; e.Kind == event.Due {
					result.late = append(result.late, stored.Sub(e.Time))
				}
			}
		}
		select {
		case <-changed:
		case <-running.Done():
		}
	}
	<-done
	if len(result.late) == 0 {
		return result, fmt.Errorf("no run started in %v", schedulingTime)
	}
	return result, nil
}

// createMany creates the syncs.
func createMany(ctx context.Context, store *bolt.Store, now time.Time) error {
	var group sync.WaitGroup
	failures := make(chan error, writers)
	for w := range writers {
		group.Go(func() {
			for i := w; i < scheduledSyncs; i += writers {
				at := now.Add(-time.Duration(i%60) * time.Second)
				err := store.Create(ctx, syncs.Sync{
					Workspace: "bench", ID: uuid.Must(uuid.NewV7()).String(), Version: 1, SourceID: 1, DestinationID: 2, ModelID: 3, Configuration: "{}",
					ScheduleType: syncs.ScheduleAutomated, SyncMode: syncs.ModeFullRefresh, SyncInterval: 1, SyncIntervalUnit: syncs.UnitMinutes,
					StreamName: "contacts", Status: syncs.Pending, CreatedAt: at, UpdatedAt: at, ScheduledAt: at,
				})
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(failures)
	return <-failures
}

// heap returns the allocated heap memory after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
