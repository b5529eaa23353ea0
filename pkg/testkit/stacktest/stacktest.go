// Package stacktest gives tests the event bus and the schedule group of a stack.
// They are awsfake's, in the process of the test, or moto's if MOTO_ENDPOINT holds
// the address of a moto server, as in `make verify`.
package stacktest

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	bustypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	queuetypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/uuid"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/testkit/awsfake"
)

// Variable is the environment variable with the address of moto's server.
const Variable = "MOTO_ENDPOINT"

// Origin is the address of the API in events.
const Origin = "https://api.example.com"

// Stack is the part of a stack that the event functions use.
type Stack struct {
	Config    eventfunc.RelayConfig
	Schedules *scheduler.Client
	Queues    *sqs.Client
	Name      string
	// ScheduleFailuresURL is the address of the dead-letter queue of the schedules.
	ScheduleFailuresURL string
	deploy              func(tb testing.TB, outputs map[string]string)

	drain    func(testing.TB) []published // returns the events since the last call
	received func(testing.TB) []string    // returns the bodies of the messages since the last call
}

// published is an event as it left the bus.
type published struct {
	DetailType string          `json:"detail-type"` //nolint:tagliatelle // EventBridge's name
	Detail     json.RawMessage `json:"detail"`
}

// New creates a stack for one test, over a table.
func New(tb testing.TB, table app.Config) *Stack {
	tb.Helper()
	name := "test-" + uuid.NewString()
	s := &Stack{Name: name, Config: eventfunc.RelayConfig{
		Common:          eventfunc.Common{Config: table, APIURL: Origin},
		PublisherConfig: eventfunc.PublisherConfig{EventBus: name},
		ReconcilerConfig: eventfunc.ReconcilerConfig{
			EventBusARN:   "arn:aws:events:us-east-1:123456789012:event-bus/" + name,
			ScheduleGroup: name, ScheduleRoleARN: "arn:aws:iam::123456789012:role/schedules",
			ScheduleFailuresARN: "arn:aws:sqs:us-east-1:123456789012:" + name,
		},
	}}
	endpoint := os.Getenv(Variable)
	if endpoint == "" {
		endpoint = s.fake(tb)
	} else {
		s.moto(tb, endpoint, name)
	}
	s.Config.EventBridgeEndpoint, s.Config.SchedulerEndpoint, s.Config.SQSEndpoint = endpoint, endpoint, endpoint
	s.Queues = sqs.New(sqs.Options{Region: table.Region, BaseEndpoint: &endpoint, Credentials: static()})
	s.Schedules = scheduler.New(scheduler.Options{Region: table.Region, BaseEndpoint: &endpoint, Credentials: static()})
	if os.Getenv(Variable) != "" {
		_, err := s.Schedules.CreateScheduleGroup(tb.Context(), &scheduler.CreateScheduleGroupInput{Name: &name})
		check(tb, err)
	}
	return s
}

func static() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider("local", "local", "")
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// fake starts the services in this process.
func (s *Stack) fake(tb testing.TB) (endpoint string) {
	server := &awsfake.Server{}
	s.drain = func(testing.TB) []published {
		var all []published
		for _, e := range server.Entries() {
			all = append(all, published{e.DetailType, json.RawMessage(e.Detail)})
		}
		return all
	}
	s.Config.WatchQueueURL = "https://sqs.us-east-1.amazonaws.com/123456789012/watch"
	s.Config.RelayFailuresURL = "https://sqs.us-east-1.amazonaws.com/123456789012/relay-failures"
	s.ScheduleFailuresURL = "https://sqs.us-east-1.amazonaws.com/123456789012/schedule-failures"
	s.deploy = func(_ testing.TB, outputs map[string]string) { server.SetOutputs(outputs) }
	s.received = func(testing.TB) []string {
		var bodies []string
		for _, m := range server.Messages() {
			if m.DelaySeconds == 0 && m.QueueURL == s.Config.WatchQueueURL {
				bodies = append(bodies, m.MessageBody)
			}
		}
		return bodies
	}
	return server.Start(tb)
}

// moto creates a bus in moto's server, and a queue that receives its events.
func (s *Stack) moto(tb testing.TB, endpoint, name string) {
	tb.Helper()
	buses := eventbridge.New(eventbridge.Options{Region: s.Config.Region, BaseEndpoint: &endpoint, Credentials: static()})
	queues := sqs.New(sqs.Options{Region: s.Config.Region, BaseEndpoint: &endpoint, Credentials: static()})
	ctx := tb.Context()
	bus, err := buses.CreateEventBus(ctx, &eventbridge.CreateEventBusInput{Name: &name})
	check(tb, err)
	queue, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name})
	check(tb, err)
	attributes, err := queues.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: queue.QueueUrl, AttributeNames: []queuetypes.QueueAttributeName{queuetypes.QueueAttributeNameQueueArn},
	})
	check(tb, err)
	arn := attributes.Attributes["QueueArn"]
	_, err = buses.PutRule(ctx, &eventbridge.PutRuleInput{Name: &name, EventBusName: &name, EventPattern: aws.String(`{"source":["syncplane"]}`)})
	check(tb, err)
	_, err = buses.PutTargets(ctx, &eventbridge.PutTargetsInput{
		Rule: &name, EventBusName: &name, Targets: []bustypes.Target{{Id: aws.String("queue"), Arn: &arn}},
	})
	check(tb, err)
	s.Config.EventBusARN, s.Config.ScheduleFailuresARN = *bus.EventBusArn, arn
	watched, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name + "-watch")})
	check(tb, err)
	s.Config.WatchQueueURL = *watched.QueueUrl
	s.received = func(tb testing.TB) []string { return receive(tb, queues, watched.QueueUrl) }
	failures, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name + "-failures")})
	check(tb, err)
	s.Config.RelayFailuresURL = *failures.QueueUrl
	schedules, err := queues.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(name + "-schedule-failures")})
	check(tb, err)
	s.ScheduleFailuresURL = *schedules.QueueUrl
	s.deploy = func(tb testing.TB, outputs map[string]string) { s.motoStack(tb, endpoint, outputs) }
	s.drain = func(tb testing.TB) []published {
		var all []published
		for _, body := range receive(tb, queues, queue.QueueUrl) {
			var e published
			check(tb, json.Unmarshal([]byte(body), &e))
			all = append(all, e)
		}
		return all
	}
}

// receive returns the bodies of all visible messages of a queue, and deletes them.
func receive(tb testing.TB, queues *sqs.Client, url *string) []string {
	tb.Helper()
	var bodies []string
	for {
		out, err := queues.ReceiveMessage(tb.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10})
		check(tb, err)
		if len(out.Messages) == 0 {
			return bodies
		}
		for _, m := range out.Messages {
			bodies = append(bodies, *m.Body)
			_, err := queues.DeleteMessage(tb.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: m.ReceiptHandle})
			check(tb, err)
		}
	}
}

// Watched returns the messages that were sent to the watch queue since the last call
// of Watched and are visible without a delay.
func (s *Stack) Watched(tb testing.TB) []string {
	tb.Helper()
	return s.received(tb)
}

// Deploy gives the stack the outputs that it has in AWS, in CloudFormation.
func (s *Stack) Deploy(tb testing.TB, streamARN string) {
	tb.Helper()
	c := s.Config
	s.deploy(tb, map[string]string{
		"TableName": c.TableName, "TableStreamArn": streamARN, "ApiUrl": c.APIURL, "RunRetentionDays": "30",
		"EventBusName": c.EventBus, "EventBusArn": c.EventBusARN, "ScheduleGroupName": c.ScheduleGroup,
		"ScheduleRoleArn": c.ScheduleRoleARN, "ScheduleFailuresArn": c.ScheduleFailuresARN, "ScheduleFailuresUrl": s.ScheduleFailuresURL,
		"WatchQueueUrl": c.WatchQueueURL, "RelayFailuresUrl": c.RelayFailuresURL,
	})
}

// motoStack creates a stack in moto's CloudFormation that has outputs.
func (s *Stack) motoStack(tb testing.TB, endpoint string, outputs map[string]string) {
	tb.Helper()
	type value struct {
		Value string `json:"Value"` //nolint:tagliatelle // CloudFormation's name
	}
	template := map[string]any{"Resources": map[string]any{"Queue": map[string]any{"Type": "AWS::SQS::Queue"}}}
	values := map[string]value{}
	for name, text := range outputs {
		values[name] = value{text}
	}
	template["Outputs"] = values
	body, err := json.Marshal(template)
	check(tb, err)
	stacks := cloudformation.New(cloudformation.Options{Region: s.Config.Region, BaseEndpoint: &endpoint, Credentials: static()})
	_, err = stacks.CreateStack(tb.Context(), &cloudformation.CreateStackInput{StackName: &s.Name, TemplateBody: aws.String(string(body))})
	check(tb, err)
}

// Send puts a message into a queue, with text attributes.
func (s *Stack) Send(tb testing.TB, url, body string, attributes map[string]string) {
	tb.Helper()
	all := map[string]queuetypes.MessageAttributeValue{}
	for name, text := range attributes {
		all[name] = queuetypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(text)}
	}
	_, err := s.Queues.SendMessage(tb.Context(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body, MessageAttributes: all})
	check(tb, err)
}

// OperatorEnv returns the environment of an operator's command, which reads everything
// else from the outputs of the stack.
func (s *Stack) OperatorEnv() []string {
	c := s.Config
	return []string{
		"AWS_REGION=" + c.Region, "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"AWS_ENDPOINT_URL=" + c.SQSEndpoint, "AWS_ENDPOINT_URL_DYNAMODB=" + c.DynamoDBEndpoint, "AWS_ENDPOINT_URL_DYNAMODB_STREAMS=" + c.DynamoDBEndpoint,
	}
}

// Failures returns the messages in the queue of the relay's failures, and deletes them.
func (s *Stack) Failures(tb testing.TB) []string {
	tb.Helper()
	return receive(tb, s.Queues, &s.Config.RelayFailuresURL)
}

// Env returns the environment of a function of the stack.
func (s *Stack) Env() []string {
	c := s.Config
	return []string{
		"AWS_REGION=" + c.Region, "AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local",
		"TABLE_NAME=" + c.TableName, "AWS_ENDPOINT_URL_DYNAMODB=" + c.DynamoDBEndpoint, "EVENT_BUS=" + c.EventBus, "EVENT_BUS_ARN=" + c.EventBusARN,
		"API_URL=" + c.APIURL, "AWS_ENDPOINT_URL_EVENTBRIDGE=" + c.EventBridgeEndpoint, "SCHEDULE_GROUP=" + c.ScheduleGroup,
		"SCHEDULE_ROLE_ARN=" + c.ScheduleRoleARN, "SCHEDULE_FAILURES_ARN=" + c.ScheduleFailuresARN, "AWS_ENDPOINT_URL_SCHEDULER=" + c.SchedulerEndpoint,
		"WATCH_QUEUE_URL=" + c.WatchQueueURL, "RELAY_FAILURES_URL=" + c.RelayFailuresURL, "AWS_ENDPOINT_URL_SQS=" + c.SQSEndpoint,
	}
}

// Published returns the events that were put on the bus since the last call of
// Published. It checks each against its schema.
func (s *Stack) Published(tb testing.TB) []eventtest.Event {
	tb.Helper()
	var all []eventtest.Event
	for _, e := range s.drain(tb) {
		seen := eventtest.Check(tb, e.Detail)
		if e.DetailType+".v1" != seen.Type {
			tb.Errorf("detail-type %s holds %s", e.DetailType, seen.Type)
		}
		all = append(all, seen)
	}
	return all
}

// Schedule holds what tests compare of a schedule.
type Schedule struct {
	Expression string
	State      string
	Start      time.Time
	Event      eventtest.Event // as at 2026-11-24T06:00:00Z
}

// All returns the schedules of the group, by name.
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
