// Package mototest gives tests an event bus, a schedule group and a queue that
// hears of every event, in moto's server: `make verify` starts it.
package mototest

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	bustypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	queuetypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/uuid"

	"syncplane/pkg/boot"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/eventboot"
)

// Variable names the server's address.
const Variable = "MOTO_ENDPOINT"

// Origin is the address of the API as events name it.
const Origin = "https://api.example.com"

// Stack is what template.yaml makes, as far as events need it.
type Stack struct {
	Config    eventboot.Config
	Events    *eventbridge.Client
	Schedules *scheduler.Client
	queues    *sqs.Client
	queue     string
}

// New makes a stack of the test's own, over a table. Without the server it
// skips the test.
func New(tb testing.TB, table boot.Config) *Stack {
	tb.Helper()
	endpoint := os.Getenv(Variable)
	if endpoint == "" {
		tb.Skip("needs " + Variable + ", the address of moto's server; `make verify` runs this")
	}
	name := "test-" + uuid.NewString()
	static := credentials.NewStaticCredentialsProvider("local", "local", "")
	s := &Stack{
		Events:    eventbridge.New(eventbridge.Options{Region: table.Region, BaseEndpoint: &endpoint, Credentials: static}),
		Schedules: scheduler.New(scheduler.Options{Region: table.Region, BaseEndpoint: &endpoint, Credentials: static}),
		queues:    sqs.New(sqs.Options{Region: table.Region, BaseEndpoint: &endpoint, Credentials: static}),
	}
	check := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	ctx := tb.Context()
	bus, err := s.Events.CreateEventBus(ctx, &eventbridge.CreateEventBusInput{Name: &name})
	check(err)
	_, err = s.Schedules.CreateScheduleGroup(ctx, &scheduler.CreateScheduleGroupInput{Name: &name})
	check(err)
	queue, err := s.queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	check(err)
	s.queue = *queue.QueueUrl
	attributes, err := s.queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &s.queue, AttributeNames: []queuetypes.QueueAttributeName{queuetypes.QueueAttributeNameQueueArn},
	})
	check(err)
	arn := attributes.Attributes["QueueArn"]
	_, err = s.Events.PutRule(ctx, &eventbridge.PutRuleInput{Name: &name, EventBusName: &name, EventPattern: aws.String(`{"source":["syncplane"]}`)})
	check(err)
	_, err = s.Events.PutTargets(ctx, &eventbridge.PutTargetsInput{
		Rule: &name, EventBusName: &name, Targets: []bustypes.Target{{Id: aws.String("queue"), Arn: &arn}},
	})
	check(err)
	s.Config = eventboot.Config{
		Config: table, EventBus: name, EventBusARN: *bus.EventBusArn, APIURL: Origin, EventBridgeEndpoint: endpoint,
		ScheduleGroup: name, ScheduleRoleARN: "arn:aws:iam::123456789012:role/schedules", ScheduleFailuresARN: arn, SchedulerEndpoint: endpoint,
	}
	return s
}

// Env is the environment of a function of the stack.
func (s *Stack) Env() []string {
	c := s.Config
	return []string{
		"AWS_REGION=" + c.Region, "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"TABLE_NAME=" + c.TableName, "DYNAMODB_ENDPOINT=" + c.DynamoDBEndpoint, "EVENT_BUS=" + c.EventBus, "EVENT_BUS_ARN=" + c.EventBusARN,
		"API_URL=" + c.APIURL, "EVENTBRIDGE_ENDPOINT=" + c.EventBridgeEndpoint, "SCHEDULE_GROUP=" + c.ScheduleGroup,
		"SCHEDULE_ROLE_ARN=" + c.ScheduleRoleARN, "SCHEDULE_FAILURES_ARN=" + c.ScheduleFailuresARN, "SCHEDULER_ENDPOINT=" + c.SchedulerEndpoint,
	}
}

// Published are the events that were put on the bus since it was last asked,
// each held to its schema.
func (s *Stack) Published(tb testing.TB) []eventtest.Seen {
	tb.Helper()
	var all []eventtest.Seen
	for {
		out, err := s.queues.ReceiveMessage(tb.Context(), &sqs.ReceiveMessageInput{QueueUrl: &s.queue, MaxNumberOfMessages: 10})
		if err != nil {
			tb.Fatal(err)
		}
		if len(out.Messages) == 0 {
			return all
		}
		for _, m := range out.Messages {
			var e struct {
				DetailType string          `json:"detail-type"` //nolint:tagliatelle // EventBridge's name
				Detail     json.RawMessage `json:"detail"`
			}
			if err := json.Unmarshal([]byte(*m.Body), &e); err != nil {
				tb.Fatal(err)
			}
			seen := eventtest.Check(tb, e.Detail)
			if e.DetailType+".v1" != seen.Type {
				tb.Errorf("detail-type %s holds %s", e.DetailType, seen.Type)
			}
			all = append(all, seen)
			if _, err := s.queues.DeleteMessage(tb.Context(), &sqs.DeleteMessageInput{QueueUrl: &s.queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
				tb.Fatal(err)
			}
		}
	}
}

// Schedule is a schedule as a test looks at it.
type Schedule struct {
	Expression string
	State      string
	Start      time.Time
	Event      eventtest.Seen // as at 2026-11-24T06:00:00Z
}

// All are the schedules of the group, by name.
func (s *Stack) All(tb testing.TB) map[string]Schedule {
	tb.Helper()
	all := map[string]Schedule{}
	pages := scheduler.NewListSchedulesPaginator(s.Schedules, &scheduler.ListSchedulesInput{GroupName: &s.Config.ScheduleGroup})
	for pages.HasMorePages() {
		page, err := pages.NextPage(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		for _, summary := range page.Schedules {
			all[*summary.Name] = s.schedule(tb, *summary.Name)
		}
	}
	return all
}

func (s *Stack) schedule(tb testing.TB, name string) Schedule {
	tb.Helper()
	out, err := s.Schedules.GetSchedule(tb.Context(), &scheduler.GetScheduleInput{Name: &name, GroupName: &s.Config.ScheduleGroup})
	if err != nil {
		tb.Fatal(err)
	}
	if got := []string{*out.Target.Arn, *out.Target.RoleArn, *out.Target.DeadLetterConfig.Arn, *out.ScheduleExpressionTimezone, *out.Target.EventBridgeParameters.DetailType}; !slices.Equal(got, []string{
		s.Config.EventBusARN, s.Config.ScheduleRoleARN, s.Config.ScheduleFailuresARN, "UTC", "sync.due",
	}) {
		tb.Errorf("schedule %s: %v", name, got)
	}
	filled := strings.ReplaceAll(*out.Target.Input, "<aws.scheduler.scheduled-time>", "2026-11-24T06:00:00Z")
	return Schedule{Expression: *out.ScheduleExpression, State: string(out.State), Start: aws.ToTime(out.StartDate).UTC(), Event: eventtest.Check(tb, []byte(filled))}
}
