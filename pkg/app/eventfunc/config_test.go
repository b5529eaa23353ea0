package eventfunc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
)

// good returns an environment with every variable that a function has in the
// cloud.
func good() map[string]string {
	return map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session",
		"TABLE_NAME": "syncs", "EVENT_BUS": "bus", "EVENT_BUS_ARN": "arn:bus", "API_URL": "https://api.example.com/",
		"SCHEDULE_GROUP": "group", "SCHEDULE_ROLE_ARN": "arn:role", "SCHEDULE_FAILURES_ARN": "arn:queue",
		"WATCH_QUEUE_URL": "https://sqs.example.com/watch", "RELAY_FAILURES_URL": "https://sqs.example.com/failures",
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	getenv := func(name string) string { return good()[name] }
	common := eventfunc.Common{
		Config: app.Config{Region: "eu-central-1", TableName: "syncs", AccessKeyID: "AKIA", SecretAccessKey: "secret", SessionToken: "session", RunRetention: 30 * 24 * time.Hour},
		APIURL: "https://api.example.com",
	}
	publisher := eventfunc.PublisherConfig{EventBus: "bus"}
	schedules := eventfunc.ReconcilerConfig{EventBusARN: "arn:bus", ScheduleGroup: "group", ScheduleRoleARN: "arn:role", ScheduleFailuresARN: "arn:queue"}

	relay, err := eventfunc.ReadRelay(getenv)
	if diff := cmp.Diff(eventfunc.RelayConfig{common, publisher, schedules, eventfunc.WatchConfig{WatchQueueURL: "https://sqs.example.com/watch"}, eventfunc.FailuresConfig{RelayFailuresURL: "https://sqs.example.com/failures"}}, relay); diff != "" || err != nil {
		t.Errorf("relay: %v %s", err, diff)
	}
	intake, err := eventfunc.ReadIntake(getenv)
	if diff := cmp.Diff(eventfunc.IntakeConfig{common, publisher}, intake); diff != "" || err != nil {
		t.Errorf("intake: %v %s", err, diff)
	}
	reconcile, err := eventfunc.ReadReconcile(getenv)
	if diff := cmp.Diff(eventfunc.ReconcileConfig{common, schedules, 200}, reconcile); diff != "" || err != nil {
		t.Errorf("reconcile: %v %s", err, diff)
	}
}

// TestReadErrors checks that the error of each reader names every invalid variable
// that its function uses, and no other.
func TestReadErrors(t *testing.T) {
	t.Parallel()
	readers := map[string]func(getenv func(string) string) error{
		"relay":     func(getenv func(string) string) error { _, err := eventfunc.ReadRelay(getenv); return err },
		"intake":    func(getenv func(string) string) error { _, err := eventfunc.ReadIntake(getenv); return err },
		"reconcile": func(getenv func(string) string) error { _, err := eventfunc.ReadReconcile(getenv); return err },
	}
	type invalid struct {
		functions string // that report it
		want      string
	}
	for name, test := range map[string]struct {
		set  map[string]string
		want []invalid
	}{
		"no group and no ARN of the bus": {map[string]string{"EVENT_BUS_ARN": "", "SCHEDULE_GROUP": ""}, []invalid{
			{"relay reconcile", "EVENT_BUS_ARN is not set"},
			{"relay reconcile", "SCHEDULE_GROUP is not set"},
		}},
		"no role and no queue": {map[string]string{"SCHEDULE_ROLE_ARN": "", "SCHEDULE_FAILURES_ARN": ""}, []invalid{
			{"relay reconcile", "SCHEDULE_ROLE_ARN is not set"},
			{"relay reconcile", "SCHEDULE_FAILURES_ARN is not set"},
		}},
		"no bus and no table": {map[string]string{"EVENT_BUS": "", "TABLE_NAME": ""}, []invalid{
			{"relay intake reconcile", "TABLE_NAME is not set"},
			{"relay intake", "EVENT_BUS is not set"},
		}},
		"an API_URL that is not an address": {map[string]string{"API_URL": "api.example.com"}, []invalid{
			{"relay intake reconcile", "API_URL must be an http or https address"},
		}},
		"endpoints that are not addresses": {map[string]string{"AWS_ENDPOINT_URL_SCHEDULER": "x", "AWS_ENDPOINT_URL_EVENTBRIDGE": "y"}, []invalid{
			{"relay intake", "AWS_ENDPOINT_URL_EVENTBRIDGE must be"},
			{"relay reconcile", "AWS_ENDPOINT_URL_SCHEDULER must be"},
		}},
		"an invalid endpoint of all services": {map[string]string{"AWS_ENDPOINT_URL": "z"}, []invalid{
			{"relay intake reconcile", "AWS_ENDPOINT_URL must be"},
		}},
		"no queue of failures": {map[string]string{"RELAY_FAILURES_URL": ""}, []invalid{{"relay", "RELAY_FAILURES_URL is not set"}}},
		"no watch queue and an invalid endpoint of SQS": {map[string]string{"WATCH_QUEUE_URL": "", "AWS_ENDPOINT_URL_SQS": "z"}, []invalid{
			{"relay", "WATCH_QUEUE_URL is not set"},
			{"relay", "AWS_ENDPOINT_URL_SQS must be"},
		}},
		"a rate that is not a number": {map[string]string{"RECONCILE_RATE": "0"}, []invalid{
			{"reconcile", "RECONCILE_RATE must be a number from 1 to 100000"},
		}},
		"no credentials": {map[string]string{"AWS_ACCESS_KEY_ID": ""}, []invalid{
			{"relay intake reconcile", "AWS_ACCESS_KEY_ID and"},
		}},
		"no credentials for an emulator": {map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:8000"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for function, read := range readers {
				err := read(func(name string) string {
					if value, ok := test.set[name]; ok {
						return value
					}
					return good()[name]
				})
				reported := 0
				for _, one := range test.want {
					if !strings.Contains(one.functions, function) {
						continue
					}
					reported++
					if err == nil || !strings.Contains(err.Error(), one.want) {
						t.Errorf("%s: got %v, want %q", function, err, one.want)
					}
				}
				lines := 0
				if err != nil {
					lines = len(strings.Split(err.Error(), "\n"))
				}
				if lines != reported {
					t.Errorf("%s: got %v, want %d errors", function, err, reported)
				}
			}
		})
	}
}
