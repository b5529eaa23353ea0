package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"syncplane/pkg/app"
	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncs"
)

// The load of the measurements of a large file.
const (
	millionSyncs = 1_000_000
	rareModel    = 4711 // the model of one sync in 10,000
	rareEvery    = 10_000
	pages        = 200
)

// millionFigures is what was measured of a server with a million syncs.
type millionFigures struct {
	size      int64 // of the file
	cold      time.Duration
	warm      time.Duration
	load      time.Duration // of the scheduler, alone
	perSync   float64       // bytes of the scheduler
	peak      int64         // of the memory of the server
	after     int64         // its memory at the end
	perSecond float64       // creates
	first     time.Duration // the first page of 20
	deep      time.Duration // a page after hundreds of thousands
	requests  int           // with a filter that 100 syncs match
	filtered  time.Duration // all of them
}

// measureMillion measures the local server and its scheduler with a million syncs,
// prints the figures, and returns an error if a bound is missed.
func measureMillion(ctx context.Context, dir string) error {
	fmt.Fprintf(os.Stderr, "a file of %d syncs\n", millionSyncs)
	var r millionFigures
	dataDir := filepath.Join(dir, "million")
	path := filepath.Join(dataDir, "syncs.db")
	if err := fillFile(ctx, path); err != nil {
		return err
	}
	var err error
	if r.load, r.perSync, err = measureTable(ctx, path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	r.size = info.Size()
	if r.warm, err = listening(ctx, dataDir); err != nil {
		return err
	}
	if err := dropCache(path); err != nil {
		return err
	}
	server, err := startLocal(ctx, dataDir, "syncs:read syncs:write")
	if err != nil {
		return err
	}
	r.cold = server.took
	err = r.measureUse(ctx, server)
	if err = errors.Join(err, server.stop()); err != nil {
		return err
	}
	return reportMillion(r)
}

// fillFile makes the file with bbolt alone, which takes seconds: it copies the rows of a
// few syncs under new IDs.
func fillFile(ctx context.Context, path string) error {
	rows, err := templates(ctx, path)
	if err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true})
	if err != nil {
		return err
	}
	const batch = 50_000
	for done := 0; done < millionSyncs; {
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte("syncplane"))
			bucket.FillPercent = 0.9 // the IDs ascend
			for end := min(done+batch, millionSyncs); done < end; done++ {
				row := rows[1+done%(len(rows)-1)]
				if done%rareEvery == 0 {
					row = rows[0]
				}
				id, err := uuid.NewV7()
				if err != nil {
					return err
				}
				value := bytes.Replace(row.value, []byte(row.id), []byte(id.String()), 1)
				if err := bucket.Put([]byte("bench\x00SYNC#"+id.String()), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return errors.Join(db.Sync(), db.Close())
}

// template is a row with the ID in it.
type template struct {
	id    string
	value []byte
}

// templates stores a few syncs with different schedules and returns their rows. The
// first is of the rare model.
func templates(ctx context.Context, path string) ([]template, error) {
	store, err := bolt.Open(path)
	if err != nil {
		return nil, err
	}
	rows := make([]template, 0, 61)
	now := time.Now().UTC()
	for i := range cap(rows) {
		s := syncs.Sync{
			Workspace: "bench", ID: uuid.Must(uuid.NewV7()).String(), Version: 1, SourceID: 1, DestinationID: 2, ModelID: 3,
			Configuration: `{"mapping":[{"from":"email","to":"Email__c"}]}`, ScheduleType: syncs.ScheduleAutomated, SyncMode: syncs.ModeFullRefresh,
			SyncInterval: 1440, SyncIntervalUnit: syncs.UnitMinutes, StreamName: "contacts", CursorField: "updated_at", Status: syncs.Pending,
			CreatedAt: now, UpdatedAt: now, ScheduledAt: now,
		}
		switch {
		case i == 0:
			s.ModelID = rareModel
		case i%2 == 0:
			s.CronExpression = fmt.Sprintf("%d 6 1 1 *", i%60)
		}
		if err := store.Create(ctx, s); err != nil {
			return nil, errors.Join(err, store.Close())
		}
		rows = append(rows, template{id: s.ID})
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("syncplane"))
		for i, row := range rows {
			key := []byte("bench\x00SYNC#" + row.id)
			rows[i].value = bytes.Clone(bucket.Get(key))
			if err := bucket.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	return rows, errors.Join(err, db.Close())
}

// measureTable measures how long the scheduler takes to load all syncs, and its memory
// for each.
func measureTable(ctx context.Context, path string) (time.Duration, float64, error) {
	store, err := bolt.Open(path)
	if err != nil {
		return 0, 0, err
	}
	runtime.GC() // empties pools, together with the one of heap
	before := heap()
	sch := &scheduler.Scheduler{Store: store, Now: time.Now, Log: app.Logger(io.Discard, "")}
	start := time.Now()
	if _, err := sch.Step(ctx); err != nil {
		return 0, 0, errors.Join(err, store.Close())
	}
	took := time.Since(start)
	perSync := float64(heap()-before) / millionSyncs
	_, err = sch.Step(ctx) // the scheduler is still in use
	return took, perSync, errors.Join(err, store.Close())
}

// listening returns how long the server takes until it listens.
func listening(ctx context.Context, dataDir string) (time.Duration, error) {
	server, err := startLocal(ctx, dataDir, "syncs:read")
	if err != nil {
		return 0, err
	}
	return server.took, server.stop()
}

// dropCache removes a file from the cache of the operating system.
func dropCache(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
}

// measureUse measures requests while the server verifies the file and loads the syncs,
// and its memory.
func (r *millionFigures) measureUse(ctx context.Context, server *localServer) error {
	if _, err := server.call(ctx, "POST", "/api/v1/syncs", createBody); err != nil {
		return err
	}
	if err := server.quiet(ctx); err != nil {
		return err
	}
	var err error
	deep := ""
	if r.requests, r.filtered, deep, err = server.search(ctx); err != nil {
		return err
	}
	if r.first, err = server.page(ctx, ""); err != nil {
		return err
	}
	if r.deep, err = server.page(ctx, deep); err != nil {
		return err
	}
	if r.perSecond, err = server.creates(ctx); err != nil {
		return err
	}
	if r.peak, err = server.memory("VmHWM"); err != nil {
		return err
	}
	if err := server.quiet(ctx); err != nil {
		return err
	}
	r.after, err = server.memory("VmRSS")
	return err
}

// memory returns a figure of the server's memory in bytes.
func (s *localServer) memory(name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	match := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
	if match == nil {
		return 0, fmt.Errorf("no %s in %s", name, text)
	}
	kilobytes, err := strconv.ParseInt(string(match[1]), 10, 64)
	return kilobytes << 10, err
}

// quiet waits until the server has used nearly no processor time for six seconds.
func (s *localServer) quiet(ctx context.Context) error {
	const interval, intervals = time.Second, 6
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for last, idle := int64(-1), 0; idle < intervals; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.command.Process.Pid))
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		user, err := strconv.ParseInt(fields[11], 10, 64)
		system, err2 := strconv.ParseInt(fields[12], 10, 64)
		if err = errors.Join(err, err2); err != nil {
			return err
		}
		if last >= 0 && user+system-last <= 2 { // hundredths of a second
			idle++
		} else {
			idle = 0
		}
		last = user + system
	}
	return nil
}

// page returns the median time of a page of 20 after a sync.
func (s *localServer) page(ctx context.Context, after string) (time.Duration, error) {
	path := "/api/v1/syncs?page[size]=20"
	if after != "" {
		path += "&page[after]=" + url.QueryEscape(after)
	}
	took := make([]time.Duration, 0, pages)
	for range pages {
		start := time.Now()
		if _, err := s.call(ctx, "GET", path, ""); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	return median(took), nil
}

// search reads all syncs of the rare model, and returns how many requests that takes and
// the time, with the cursor of the last page. A page that is empty and not the last one
// is an error.
func (s *localServer) search(ctx context.Context) (requests int, took time.Duration, cursor string, err error) {
	start, found := time.Now(), 0
	base := fmt.Sprintf("/api/v1/syncs?page[size]=100&filter[model_id]=%d", rareModel)
	for path := base; ; {
		body, err := s.call(ctx, "GET", path, "")
		if err != nil {
			return 0, 0, "", err
		}
		var page struct {
			Data []json.RawMessage `json:"data"`
			Meta struct {
				Page struct {
					After *string `json:"after"`
				} `json:"page"`
			} `json:"meta"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return 0, 0, "", err
		}
		requests++
		found += len(page.Data)
		if page.Meta.Page.After == nil {
			break
		}
		if len(page.Data) == 0 {
			return 0, 0, "", errors.New("a page is empty, and not the last one")
		}
		cursor = *page.Meta.Page.After
		path = base + "&page[after]=" + url.QueryEscape(cursor)
	}
	if found != millionSyncs/rareEvery {
		return 0, 0, "", fmt.Errorf("the filter found %d syncs, want %d", found, millionSyncs/rareEvery)
	}
	return requests, time.Since(start), cursor, nil
}

// creates returns how many syncs concurrent clients create in a second.
func (s *localServer) creates(ctx context.Context) (float64, error) {
	var mu sync.Mutex
	var failure error
	created := 0
	var all sync.WaitGroup
	start := time.Now()
	for range clients {
		all.Go(func() {
			var err error
			n := 0
			for ; err == nil && time.Since(start) < loadTime; n++ {
				_, err = s.call(ctx, "POST", "/api/v1/syncs", createBody)
			}
			mu.Lock()
			defer mu.Unlock()
			created, failure = created+n, errors.Join(failure, err)
		})
	}
	all.Wait()
	return float64(created) / time.Since(start).Seconds(), failure
}

// reportMillion prints the figures, and returns an error if a bound is missed.
func reportMillion(r millionFigures) error {
	fmt.Printf("\nThe local server with %d syncs, a file of %.0f MB: it listens after %.2f s, %.2f s from a cold disk. Its scheduler loads in %.1f s and holds %.0f bytes a sync.\n",
		millionSyncs, mb(r.size), r.warm.Seconds(), r.cold.Seconds(), r.load.Seconds(), r.perSync)
	fmt.Printf("Its memory is %.0f MB at most, %.0f MB at the end. It makes %.0f creates a second. A page of 20 takes %.2f ms, a deep one %.2f ms.\n",
		mb(r.peak), mb(r.after), r.perSecond, ms(r.first), ms(r.deep))
	fmt.Printf("A filter that 1 in %d matches: %d syncs with %d requests in %.1f s.\n\n", rareEvery, millionSyncs/rareEvery, r.requests, r.filtered.Seconds())
	b := &bounds{}
	b.check("listening with a million syncs, s", r.warm.Seconds(), 1)
	b.check("listening with a million syncs from a cold disk, s", r.cold.Seconds(), 1)
	b.check("scheduler, bytes a sync", r.perSync, 120)
	b.check("peak memory with a million syncs, MB", mb(r.peak), 250)
	b.check("3000 creates a second over those with a million syncs", 3000/r.perSecond, 1)
	b.check("a deep page over the first", ratio(r.deep, r.first), 1.5)
	b.check("requests for 100 syncs of a million", float64(r.requests), 20)
	return b.err()
}
