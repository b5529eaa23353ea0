package main

import (
	"context"
	"fmt"
	"iter"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/awsfake"
)

// reconciledSyncs is how many schedules are reconciled, one in driftEvery of which is
// missing.
const (
	reconciledSyncs = 100_000
	driftEvery      = 1000
)

// memoryTable is a table in memory.
type memoryTable map[string]syncs.Sync

func (t memoryTable) Read(_ context.Context, _, id string) (syncs.Sync, error) {
	s, ok := t[id]
	if !ok {
		return syncs.Sync{}, syncs.ErrNotFound
	}
	return s, nil
}

func (t memoryTable) Between(_ context.Context, from, to string) iter.Seq2[syncs.Sync, error] {
	return func(yield func(syncs.Sync, error) bool) {
		for id, s := range t {
			if id >= from && (to == "" || id < to) && !yield(s, nil) {
				return
			}
		}
	}
}

// memoryCheckpoint is a checkpoint in memory.
type memoryCheckpoint struct{ stored reconciler.Checkpoint }

func (c *memoryCheckpoint) LoadCheckpoint(context.Context) (reconciler.Checkpoint, error) {
	return c.stored, nil
}

func (c *memoryCheckpoint) SaveCheckpoint(_ context.Context, next reconciler.Checkpoint) error {
	c.stored = next
	return nil
}

// measureReconcile reconciles schedules of awsfake, prints the figures, and returns an
// error if a bound is missed.
func measureReconcile(ctx context.Context) error {
	fmt.Fprintf(os.Stderr, "reconciling %d schedules\n", reconciledSyncs)
	config := eventfunc.Common{Config: app.Config{Region: "us-east-1", AccessKeyID: "local", SecretAccessKey: "local", TableName: "bench"}, APIURL: "https://api.example.com"}
	schedules := eventfunc.ReconcilerConfig{SchedulerEndpoint: "http://scheduler.invalid", ScheduleGroup: "bench", EventBusARN: "bus", ScheduleRoleARN: "role", ScheduleFailuresARN: "queue"}
	r := eventfunc.Reconciler(config, schedules, app.Credentials(config.Config))
	server := &awsfake.Server{}
	options := r.Client.Options()
	options.HTTPClient = server
	table := memoryTable{}
	r.Client, r.Syncs = scheduler.New(options), table
	now := time.Now().UTC()
	for i := range reconciledSyncs {
		s := syncs.Sync{
			Workspace: "bench", ID: uuid.Must(uuid.NewV7()).String(), Version: 1, SourceID: 1, DestinationID: 2, ModelID: 3, Configuration: "{}",
			ScheduleType: syncs.ScheduleAutomated, SyncMode: syncs.ModeFullRefresh, SyncInterval: 30, SyncIntervalUnit: syncs.UnitMinutes,
			StreamName: "contacts", Status: syncs.Pending, CreatedAt: now, UpdatedAt: now, ScheduledAt: now,
		}
		table[s.ID] = s
		if _, err := r.Reconcile(ctx, s.Workspace, s.ID); err != nil {
			return err
		}
		if i%driftEvery == 0 {
			if _, err := r.Client.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: aws.String("sync-" + s.ID), GroupName: aws.String("bench")}); err != nil {
				return err
			}
		}
	}
	before := len(server.Calls())
	start := time.Now()
	round := &reconciler.Round{Reconciler: r, Table: table, Checkpoints: &memoryCheckpoint{}}
	report, err := round.Run(ctx, false, func(string) {})
	if err != nil {
		return err
	}
	took := time.Since(start)
	lists, others := 0, 0
	for _, call := range server.Calls()[before:] {
		if call.Operation == "ListSchedules" {
			lists++
		} else {
			others++
		}
	}
	fmt.Printf("A round over %d syncs with Scheduler in its process (awsfake): %d ListSchedules and %d other calls in %.1f s; %d syncs repaired.\n\n",
		report.Syncs, lists, others, took.Seconds(), report.Repaired)
	b := &bounds{}
	b.check("calls for each sync of a round", float64(lists+others)/reconciledSyncs, 0.1)
	b.check("syncs that a round has not repaired", float64(reconciledSyncs/driftEvery-report.Repaired), 0)
	return b.err()
}
