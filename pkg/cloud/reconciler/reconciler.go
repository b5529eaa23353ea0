// Package reconciler reconciles the schedules in EventBridge Scheduler with the
// syncs in the table. It is level-triggered: it compares the present schedules
// with the present sync, so lost, repeated and reordered changes are harmless.
// It knows Scheduler and its expressions; it does not know the stream from which
// changes come, nor how the table is stored.
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

// The bounds of Scheduler's attempts to deliver a run. After an hour it sends the
// run to the dead-letter queue. Our own choice; with its default of a day,
// yesterday's run could start at the same time as today's.
const (
	maxAge     = 3600 // seconds
	maxRetries = 185  // the most that Scheduler takes
)

// scheduledTime is the placeholder that Scheduler replaces by the time of a run
// (its user guide, "Context attributes").
const scheduledTime = "<aws.scheduler.scheduled-time>"

// maxRounds is how often Reconcile starts again because another writer changed
// the sync or its schedules at the same time. Our own choice.
const maxRounds = 8

// Reader reads syncs with strong consistency.
type Reader interface {
	Read(ctx context.Context, workspace, id string) (syncs.Sync, error)
}

// Reconciler reconciles the schedules of one stack.
type Reconciler struct {
	Syncs       Reader
	Client      *scheduler.Client
	Now         func() time.Time
	Group       string // the schedule group, which holds nothing else
	RoleARN     string // the role with which Scheduler puts events on the bus
	BusARN      string
	FailuresARN string // the dead-letter queue for runs that could not be delivered
	Origin      string // the address of the API, such as https://api.example.com
	Rate        *Rate  // of the calls of Client; nil does not limit them
}

// wait waits until a call of Scheduler that counts as n may begin.
func (r *Reconciler) wait(ctx context.Context, n int) error { return r.Rate.Wait(ctx, r.Now(), n) }

// prefix begins the name of each schedule; the ID of its sync follows.
const prefix = "sync-"

// names returns the names of the schedules that a sync can have. The second is
// for a cron expression that takes two of Scheduler's.
func names(id string) [2]string { return [2]string{prefix + id, prefix + id + "-2"} }

// idOf returns the ID of the sync whose schedule has this name. ok is false for
// a name that does not start with prefix.
func idOf(name string) (id string, ok bool) {
	id, ok = strings.CutPrefix(name, prefix)
	return strings.TrimSuffix(id, "-2"), ok
}

// action is one change to a schedule. Exactly one of create, update and remove is
// set.
type action struct {
	name   string
	create *scheduler.CreateScheduleInput
	update *scheduler.UpdateScheduleInput
	remove bool
}

// Reconcile creates, updates and deletes the schedules of a sync until they match
// the sync, and reports whether it changed any. With an error it reports false,
// even if it changed some. It reads the sync again after a change, so that the
// last of several concurrent callers has seen the latest version.
func (r *Reconciler) Reconcile(ctx context.Context, workspace, id string) (repaired bool, err error) {
	s, err := r.readSync(ctx, workspace, id)
	if err != nil {
		return false, err
	}
	for range maxRounds {
		actions, err := r.plan(ctx, id, s)
		if err != nil {
			return false, err
		}
		if len(actions) == 0 {
			return repaired, nil
		}
		settled := true
		for _, a := range actions {
			switch err := r.do(ctx, a); {
			case err == nil:
				repaired = true
			case overtaken(err):
				settled = false
			default:
				return false, fmt.Errorf("schedule sync %s: %w", id, err)
			}
		}
		planned := s
		if s, err = r.readSync(ctx, workspace, id); err != nil {
			return false, err
		}
		if settled && version(s) == version(planned) {
			return repaired, nil
		}
	}
	return false, fmt.Errorf("schedule sync %s: another writer changed it %d times", id, maxRounds)
}

// version returns the version of a sync, 0 for nil.
func version(s *syncs.Sync) int64 {
	if s == nil {
		return 0
	}
	return s.Version
}

// readSync returns the sync, nil if it does not exist. The workspace "" has no syncs.
func (r *Reconciler) readSync(ctx context.Context, workspace, id string) (*syncs.Sync, error) {
	if workspace == "" {
		return nil, nil //nolint:nilnil // as below
	}
	s, err := r.Syncs.Read(ctx, workspace, id)
	if fault.Is(err, fault.NotFound) {
		return nil, nil //nolint:nilnil // nil is a sync that does not exist
	}
	if err != nil {
		return nil, fmt.Errorf("read sync %s: %w", id, err)
	}
	return &s, nil
}

// overtaken reports whether err means that another writer changed the schedule
// after it was read.
func overtaken(err error) bool {
	_, conflict := errors.AsType[*types.ConflictException](err)
	_, gone := errors.AsType[*types.ResourceNotFoundException](err)
	return conflict || gone
}

// plan returns the actions after which the schedules match s; nil is a sync that
// does not exist.
func (r *Reconciler) plan(ctx context.Context, id string, s *syncs.Sync) ([]action, error) {
	var when schedule.Schedule
	var expressions []string
	if s != nil {
		var err error
		if when, err = s.Schedule(); err != nil {
			return nil, fmt.Errorf("read the schedule of sync %s: %w", id, err)
		}
		expressions = Expressions(when)
	}
	var actions []action
	for i, name := range names(id) {
		current, err := r.get(ctx, name)
		if err != nil {
			return nil, err
		}
		switch {
		case i >= len(expressions) && current == nil:
		case i >= len(expressions):
			actions = append(actions, action{name: name, remove: true})
		default:
			want := r.schedule(name, expressions[i], s, when)
			if current == nil {
				actions = append(actions, action{name: name, create: want})
			} else if !same(current, want, when) {
				actions = append(actions, action{name: name, update: asUpdate(want)})
			}
		}
	}
	return actions, nil
}

// schedule returns the schedule of s with this name and expression.
func (r *Reconciler) schedule(name, expression string, s *syncs.Sync, when schedule.Schedule) *scheduler.CreateScheduleInput {
	want := &scheduler.CreateScheduleInput{
		Name: &name, GroupName: &r.Group,
		Description:                aws.String(when.String()),
		ScheduleExpression:         &expression,
		ScheduleExpressionTimezone: aws.String("UTC"),
		FlexibleTimeWindow:         &types.FlexibleTimeWindow{Mode: types.FlexibleTimeWindowModeOff},
		State:                      types.ScheduleStateEnabled,
		Target: &types.Target{
			Arn: &r.BusARN, RoleArn: &r.RoleARN,
			EventBridgeParameters: &types.EventBridgeParameters{Source: aws.String(eventbus.Source), DetailType: aws.String(string(event.Due))},
			Input:                 aws.String(string(event.RunTemplate(r.Origin, s, scheduledTime))),
			RetryPolicy:           &types.RetryPolicy{MaximumEventAgeInSeconds: aws.Int32(maxAge), MaximumRetryAttempts: aws.Int32(maxRetries)},
			DeadLetterConfig:      &types.DeadLetterConfig{Arn: &r.FailuresARN},
		},
	}
	if s.Status == syncs.Disabled {
		want.State = types.ScheduleStateDisabled
	}
	if _, interval := when.Interval(); interval {
		// A rate counts from its start date, which must not be in the past. The
		// runs are the same from any of them.
		want.StartDate = aws.Time(when.Next(r.Now()))
	}
	return want
}

// same reports whether a schedule runs as wanted. The start date of a rate may be
// any of its runs.
func same(current *scheduler.GetScheduleOutput, want *scheduler.CreateScheduleInput, when schedule.Schedule) bool {
	if current.Target == nil || current.Target.EventBridgeParameters == nil || current.Target.RetryPolicy == nil || current.Target.DeadLetterConfig == nil {
		return false
	}
	text := func(x, y *string) bool { return aws.ToString(x) == aws.ToString(y) }
	number := func(x, y *int32) bool { return aws.ToInt32(x) == aws.ToInt32(y) }
	if _, interval := when.Interval(); interval {
		if current.StartDate == nil || !when.Next(current.StartDate.Add(-time.Second)).Equal(*current.StartDate) {
			return false
		}
	} else if current.StartDate != nil {
		return false
	}
	return text(current.ScheduleExpression, want.ScheduleExpression) &&
		text(current.ScheduleExpressionTimezone, want.ScheduleExpressionTimezone) &&
		current.State == want.State && current.EndDate == nil &&
		current.FlexibleTimeWindow != nil && current.FlexibleTimeWindow.Mode == want.FlexibleTimeWindow.Mode &&
		text(current.Target.Arn, want.Target.Arn) && text(current.Target.RoleArn, want.Target.RoleArn) &&
		text(current.Target.Input, want.Target.Input) &&
		text(current.Target.EventBridgeParameters.Source, want.Target.EventBridgeParameters.Source) &&
		text(current.Target.EventBridgeParameters.DetailType, want.Target.EventBridgeParameters.DetailType) &&
		text(current.Target.DeadLetterConfig.Arn, want.Target.DeadLetterConfig.Arn) &&
		number(current.Target.RetryPolicy.MaximumEventAgeInSeconds, want.Target.RetryPolicy.MaximumEventAgeInSeconds) &&
		number(current.Target.RetryPolicy.MaximumRetryAttempts, want.Target.RetryPolicy.MaximumRetryAttempts)
}

// asUpdate returns want as the update of an existing schedule.
func asUpdate(want *scheduler.CreateScheduleInput) *scheduler.UpdateScheduleInput {
	return &scheduler.UpdateScheduleInput{
		Name: want.Name, GroupName: want.GroupName, Description: want.Description,
		ScheduleExpression: want.ScheduleExpression, ScheduleExpressionTimezone: want.ScheduleExpressionTimezone,
		FlexibleTimeWindow: want.FlexibleTimeWindow, State: want.State, Target: want.Target, StartDate: want.StartDate,
	}
}

// get returns a schedule, nil if it does not exist.
func (r *Reconciler) get(ctx context.Context, name string) (*scheduler.GetScheduleOutput, error) {
	if err := r.wait(ctx, 1); err != nil {
		return nil, err
	}
	current, err := r.Client.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: &name, GroupName: &r.Group})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return nil, nil //nolint:nilnil // nil is a schedule that does not exist
	}
	if err != nil {
		return nil, fmt.Errorf("read schedule %s: %w", name, err)
	}
	return current, nil
}

// do carries out an action.
func (r *Reconciler) do(ctx context.Context, a action) error {
	err := r.wait(ctx, 1)
	if err != nil {
		return err
	}
	switch {
	case a.create != nil:
		_, err = r.Client.CreateSchedule(ctx, a.create)
	case a.update != nil:
		_, err = r.Client.UpdateSchedule(ctx, a.update)
	case a.remove:
		_, err = r.Client.DeleteSchedule(ctx, &scheduler.DeleteScheduleInput{Name: &a.name, GroupName: &r.Group})
	}
	return err
}
