package timetable_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/boot"
	"syncplane/pkg/eventboot"
	"syncplane/pkg/syncs"
	"syncplane/pkg/syncs/storetest"
	"syncplane/pkg/timetable"
)

// schedules is EventBridge Scheduler on the wire, with a schedule for each of
// these names.
type schedules struct {
	mu    sync.Mutex
	names []string
	calls []string // those that change something
}

func (s *schedules) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	name := strings.TrimPrefix(r.URL.Path, "/schedules")
	switch name = strings.TrimPrefix(name, "/"); {
	case name == "":
		var all []string
		for _, name := range s.names {
			all = append(all, `{"Name":"`+name+`"}`)
		}
		_, _ = io.WriteString(w, `{"Schedules":[`+strings.Join(all, ",")+`]}`)
	case r.Method != http.MethodGet:
		s.calls = append(s.calls, r.Method+" "+name)
		_, _ = io.WriteString(w, `{"ScheduleArn":"arn"}`)
	case slices.Contains(s.names, name):
		_, _ = io.WriteString(w, `{"Name":"`+name+`","Target":{"Arn":"a","RoleArn":"r","Input":"{\"workspace\":\"acme\"}"}}`)
	default:
		w.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"Message":"no"}`)
	}
}

// table holds syncs, some of which cannot be read.
type table struct {
	syncs      []syncs.Sync
	unreadable []string
}

func (tb table) Each(_ context.Context, visit func(syncs.Sync) error) error {
	for _, s := range tb.syncs {
		if err := visit(s); err != nil {
			return err
		}
	}
	return errors.Join(fmt.Errorf("a row: %w", syncs.ErrUnreadable))
}

func (tb table) Read(_ context.Context, _, id string) (syncs.Sync, error) {
	for _, s := range tb.syncs {
		if s.ID == id {
			return s, nil
		}
	}
	if slices.Contains(tb.unreadable, id) {
		return syncs.Sync{}, fmt.Errorf("a row: %w", syncs.ErrUnreadable)
	}
	return syncs.Sync{}, syncs.ErrNotFound()
}

// TestRepairPassesOverWhatCannotBeRead checks that a sync that cannot be read, or
// whose schedule cannot, keeps the schedules that it has and stops no other.
func TestRepairPassesOverWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	first, spoiled, second, unreadable, gone := storetest.Good(t), storetest.Good(t), storetest.Good(t), storetest.Good(t), storetest.Good(t)
	spoiled.CronExpression = "@hourly"
	rows := table{[]syncs.Sync{first, spoiled, second}, []string{unreadable.ID}}
	scheduler := &schedules{names: []string{"sync-" + spoiled.ID, "sync-" + unreadable.ID, "sync-" + gone.ID}}
	server := httptest.NewServer(scheduler)
	t.Cleanup(server.Close)
	config := eventboot.Config{
		Config:            boot.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", DynamoDBEndpoint: server.URL, TableName: "syncs"},
		SchedulerEndpoint: server.URL, ScheduleGroup: "group", APIURL: "https://api.example.com",
	}
	reconciler := eventboot.Timetable(config, eventboot.Credentials(config))
	reconciler.Syncs, reconciler.Now = rows, time.Now
	var said []string
	report, err := reconciler.Repair(t.Context(), rows, false, func(id string) { said = append(said, id) })
	if !errors.Is(err, syncs.ErrUnreadable) || !strings.Contains(err.Error(), spoiled.ID) {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff(timetable.Report{Syncs: 3, Repaired: 2, Removed: 1}, report); diff != "" {
		t.Error(diff)
	}
	slices.Sort(scheduler.calls)
	want := []string{"DELETE sync-" + gone.ID, "POST sync-" + first.ID, "POST sync-" + second.ID}
	if diff := cmp.Diff(want, scheduler.calls); diff != "" {
		t.Error(diff)
	}
	slices.Sort(said)
	if diff := cmp.Diff([]string{first.ID, second.ID, gone.ID}, said); diff != "" {
		t.Error(diff)
	}
}
