// Package timetable keeps the schedules in EventBridge Scheduler equal to what
// the syncs in the table say. It looks at what is there and makes it what it
// is to be, so that it does not matter what happened before: a change that was
// lost, told twice or told in the wrong order.
package reconciler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/event"
	"syncplane/pkg/fault"
	"syncplane/pkg/schedule"
	"syncplane/pkg/syncs"
)

// How long Scheduler tries to deliver a run: an hour, after which it goes to
// the queue of failures. Our own choice; its default of a day would begin
// yesterday's run beside today's.
const (
	maxAge     = 3600 // seconds
	maxRetries = 185  // Scheduler's most
)

// scheduledTime is the placeholder that Scheduler replaces by the time of a run
// (its user guide, "Context attributes").
const scheduledTime = "<aws.scheduler.scheduled-time>"

// maxRounds is how often one sync is looked at again because it changed
// meanwhile, or because somebody else worked on its schedules.
const maxRounds = 8

// Reader reads syncs, strongly consistent.
type Reader interface {
	Read(ctx context.Context, workspace, id string) (syncs.Sync, error)
}

// Timetable is the schedules of a stack.
type Timetable struct {
	Syncs       Reader
	Client      *scheduler.Client
	Now         func() time.Time
	Group       string // the schedule group, which holds nothing else
	RoleARN     string // as whom Scheduler puts events
	BusARN      string
	FailuresARN string // the queue for runs that could not be told of
	Origin      string // the address of the API
}

// prefix begins the name of a schedule of ours; the ID of its sync follows.
const prefix = "sync-"

// names are the names of the schedules that a sync may have: a second one where
// one expression cannot say it.
func names(id string) [2]string { return [2]string{prefix + id, prefix + id + "-2"} }

// idOf is the ID of the sync whose schedule has this name.
func idOf(name string) (id string, ok bool) {
	id, ok = strings.CutPrefix(name, prefix)
	return strings.TrimSuffix(id, "-2"), ok
}

// action is what makes a schedule what it is to be.
type action struct {
	name   string
	create *scheduler.CreateScheduleInput
	update *scheduler.UpdateScheduleInput // of these three one is set
	remove bool
}

// Reconcile makes the schedules of a sync what the sync says, and reports
// whether it changed any; with an error it reports false, whatever it did
// before. It reads the sync again after a change, so that of several callers at
// once the last to write has seen the last version.
func (t *Timetable) Reconcile(ctx context.Context, workspace, id string) (repaired bool, err error) {
	s, err := t.read(ctx, workspace, id)
	if err != nil {
		return false, err
	}
	for range maxRounds {
		actions, err := t.plan(ctx, id, s)
		if err != nil {
			return false, err
		}
		if len(actions) == 0 {
			return repaired, nil
		}
		settled := true
		for _, a := range actions {
			switch err := t.do(ctx, a); {
			case err == nil:
				repaired = true
			case overtaken(err):
				settled = false
			default:
				return false, fmt.Errorf("schedule sync %s: %w", id, err)
			}
		}
		planned := s
		if s, err = t.read(ctx, workspace, id); err != nil {
			return false, err
		}
		if settled && version(s) == version(planned) {
			return repaired, nil
		}
	}
	return false, fmt.Errorf("schedule sync %s: it changed %d times meanwhile", id, maxRounds)
}

// version is that of a sync, 0 if it is not there.
func version(s *syncs.Sync) int64 {
	if s == nil {
		return 0
	}
	return s.Version
}

// read is the sync, nil if it is not there. None is in the workspace "".
func (t *Timetable) read(ctx context.Context, workspace, id string) (*syncs.Sync, error) {
	if workspace == "" {
		return nil, nil //nolint:nilnil // as below
	}
	s, err := t.Syncs.Read(ctx, workspace, id)
	if fault.Is(err, fault.NotFound) {
		return nil, nil //nolint:nilnil // that it is gone is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read sync %s: %w", id, err)
	}
	return &s, nil
}

// overtaken reports whether somebody else did something to a schedule
// meanwhile, so that it is to be looked at again.
func overtaken(err error) bool {
	_, conflict := errors.AsType[*types.ConflictException](err)
	_, gone := errors.AsType[*types.ResourceNotFoundException](err)
	return conflict || gone
}

// plan compares the schedules of a sync with what they are to be; nil is a sync
// that is not there.
func (t *Timetable) plan(ctx context.Context, id string, s *syncs.Sync) ([]action, error) {
	var when schedule.Schedule
	var expressions []string
	if s != nil {
		var err error
		if when, err = s.Schedule(); err != nil {
			return nil, fmt.Errorf("the schedule of sync %s: %w", id, err)
		}
		expressions = Expressions(when)
	}
	var actions []action
	for i, name := range names(id) {
		there, err := t.get(ctx, name)
		if err != nil {
			return nil, err
		}
		switch {
		case i >= len(expressions) && there == nil:
		case i >= len(expressions):
			actions = append(actions, action{name: name, remove: true})
		default:
			want := t.schedule(name, expressions[i], s, when)
			if there == nil {
				actions = append(actions, action{name: name, create: want})
			} else if !same(there, want, when) {
				actions = append(actions, action{name: name, update: asUpdate(want)})
			}
		}
	}
	return actions, nil
}

// schedule is what a schedule of s is to be.
func (t *Timetable) schedule(name, expression string, s *syncs.Sync, when schedule.Schedule) *scheduler.CreateScheduleInput {
	want := &scheduler.CreateScheduleInput{
		Name: &name, GroupName: &t.Group,
		Description:                aws.String(when.String()),
		ScheduleExpression:         &expression,
		ScheduleExpressionTimezone: aws.String("UTC"),
		FlexibleTimeWindow:         &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff},
		State:                      types.ScheduleStateEnabled,
		Target: &types.Target{
			Arn: &t.BusARN, RoleArn: &t.RoleARN,
			EventBridgeParameters: &types.EventBridgeParameters{Source: aws.String(eventbus.Source), DetailType: aws.String(string(event.Due))},
			Input:                 aws.String(string(event.RunTemplate(t.Origin, s, scheduledTime))),
			RetryPolicy:           &types.RetryPolicy{MaximumEventAgeInSeconds: aws.Int32(maxAge), MaximumRetryAttempts: aws.Int32(maxRetries)},
			DeadLetterConfig:      &types.DeadLetterConfig{Arn: &t.FailuresARN},
		},
	}
	if s.Status == syncs.Disabled {
		want.State = types.ScheduleStateDisabled
	}
	if _, interval := when.Interval(); interval {
		// A rate counts from its start. The start must not be past, and any
		// run makes the same ones after it.
		want.StartDate = aws.Time(when.Next(t.Now()))
	}
	return want
}

// same reports whether a schedule makes the runs that it is to make. The start
// of a rate may be any of them.
func same(there *scheduler.GetScheduleOutput, want *scheduler.CreateScheduleInput, when schedule.Schedule) bool {
	if there.Target == nil || there.Target.EventBridgeParameters == nil || there.Target.RetryPolicy == nil || there.Target.DeadLetterConfig == nil {
		return false
	}
	text := func(x, y *string) bool { return aws.ToString(x) == aws.ToString(y) }
	number := func(x, y *int32) bool { return aws.ToInt32(x) == aws.ToInt32(y) }
	if _, interval := when.Interval(); interval {
		if there.StartDate == nil || !when.Next(there.StartDate.Add(-time.Second)).Equal(*there.StartDate) {
			return false
		}
	} else if there.StartDate != nil {
		return false
	}
	return text(there.ScheduleExpression, want.ScheduleExpression) &&
		text(there.ScheduleExpressionTimezone, want.ScheduleExpressionTimezone) &&
		there.State == want.State && there.EndDate == nil &&
		there.FlexibleTimeWindow != nil && there.FlexibleTimeWindow.Mode == want.FlexibleTimeWindow.Mode &&
		text(there.Target.Arn, want.Target.Arn) && text(there.Target.RoleArn, want.Target.RoleArn) &&
		text(there.Target.Input, want.Target.Input) &&
		text(there.Target.EventBridgeParameters.Source, want.Target.EventBridgeParameters.Source) &&
		text(there.Target.EventBridgeParameters.DetailType, want.Target.EventBridgeParameters.DetailType) &&
		text(there.Target.DeadLetterConfig.Arn, want.Target.DeadLetterConfig.Arn) &&
		number(there.Target.RetryPolicy.MaximumEventAgeInSeconds, want.Target.RetryPolicy.MaximumEventAgeInSeconds) &&
		number(there.Target.RetryPolicy.MaximumRetryAttempts, want.Target.RetryPolicy.MaximumRetryAttempts)
}

// asUpdate is want for a schedule that is there.
func asUpdate(want *scheduler.CreateScheduleInput) *scheduler.UpdateScheduleInput {
	return &scheduler.UpdateScheduleInput{
		Name: want.Name, GroupName: want.GroupName, Description: want.Description,
		ScheduleExpression: want.ScheduleExpression, ScheduleExpressionTimezone: want.ScheduleExpressionTimezone,
		FlexibleTimeWindow: want.FlexibleTimeWindow, State: want.State, Target: want.Target, StartDate: want.StartDate,
	}
}

// get is a schedule, nil if it is not there.
func (t *Timetable) get(ctx context.Context, name string) (*scheduler.GetScheduleOutput, error) {
	there, err := t.Client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: &name, GroupName: &t.Group})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return nil, nil //nolint:nilnil // that it is not there is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read schedule %s: %w", name, err)
	}
	return there, nil
}

func (t *Timetable) do(ctx context.Context, a action) error {
	var err error
	switch {
	case a.create != nil:
		_, err = t.Client.CreateSchedule(ctx, a.create)
	case a.update != nil:
		_, err = t.Client.UpdateSchedule(ctx, a.update)
	case a.remove:
		_, err = t.Client.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: &a.name, GroupName: &t.Group})
	}
	return err
}
