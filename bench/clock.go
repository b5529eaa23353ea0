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

// The work of the local clock: each of the syncs runs once a minute.
const (
	clockSyncs   = 100_000
	clockWriters = 256
	clockTime    = 15 * time.Second
)

// punctuality is what the local clock did.
type punctuality struct {
	memory int64 // bytes, beside the file
	load   time.Duration
	late   []time.Duration // of each run: when it was stored, after its time
}

// measureClock has the clock of the local server begin the runs of many syncs,
// spread over the seconds of a minute.
func measureClock(ctx context.Context, dir string) (punctuality, error) {
	fmt.Fprintf(os.Stderr, "the local clock with %d syncs\n", clockSyncs)
	store, err := bolt.Open(filepath.Join(dir, "clock.db"))
	if err != nil {
		return punctuality{}, err
	}
	defer store.Close() //nolint:errcheck // a temporary file
	if err := createMany(ctx, store, time.Now().UTC()); err != nil {
		return punctuality{}, err
	}
	before := heap()
	c := &scheduler.Clock{Store: store, Now: time.Now, Log: app.Logger(io.Discard, "")}
	began := time.Now()
	if _, err := c.Step(ctx); err != nil {
		return punctuality{}, err
	}
	result := punctuality{load: time.Since(began)}
	result.memory = heap() - before

	running, stop := context.WithTimeout(ctx, clockTime)
	defer stop()
	after, _ := store.Last() // what was due meanwhile has begun
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(running)
	}()
	for running.Err() == nil {
		last, grown := store.Last()
		stored := time.Now()
		for after < last {
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
		case <-grown:
		case <-running.Done():
		}
	}
	<-done
	if len(result.late) == 0 {
		return result, fmt.Errorf("no run began in %v", clockTime)
	}
	return result, nil
}

// createMany makes the syncs.
func createMany(ctx context.Context, store *bolt.Store, now time.Time) error {
	var group sync.WaitGroup
	failures := make(chan error, clockWriters)
	for w := range clockWriters {
		group.Go(func() {
			for i := w; i < clockSyncs; i += clockWriters {
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

// heap is how much memory is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
