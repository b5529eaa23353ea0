package eventfunc_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
)

// good is an environment with all that a function in the cloud has.
func good() map[string]string {
	return map[string]string{
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session",
		"TABLE_NAME": "syncs", "EVENT_BUS": "bus", "EVENT_BUS_ARN": "arn:bus", "API_URL": "https://api.example.com/",
		"SCHEDULE_GROUP": "group", "SCHEDULE_ROLE_ARN": "arn:role", "SCHEDULE_FAILURES_ARN": "arn:queue",
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	env := good()
	got, err := eventfunc.Read(func(name string) string { return env[name] }, true)
	want := eventfunc.Config{
		Config:   app.Config{Region: "eu-central-1", TableName: "syncs", AccessKeyID: "AKIA", SecretAccessKey: "secret", SessionToken: "session"},
		EventBus: "bus", APIURL: "https://api.example.com", EventBusARN: "arn:bus",
		ScheduleGroup: "group", ScheduleRoleARN: "arn:role", ScheduleFailuresARN: "arn:queue",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestReadTellsEveryFault(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		set       map[string]string
		schedules bool
		want      []string
	}{
		"nothing of schedules":         {map[string]string{"EVENT_BUS_ARN": "", "SCHEDULE_GROUP": "", "SCHEDULE_ROLE_ARN": "", "SCHEDULE_FAILURES_ARN": ""}, false, nil},
		"but those that make some":     {map[string]string{"EVENT_BUS_ARN": "", "SCHEDULE_GROUP": ""}, true, []string{"EVENT_BUS_ARN is not set", "SCHEDULE_GROUP is not set"}},
		"no bus and no table":          {map[string]string{"EVENT_BUS": "", "TABLE_NAME": ""}, false, []string{"TABLE_NAME is not set", "EVENT_BUS is not set"}},
		"an address that is none":      {map[string]string{"API_URL": "api.example.com"}, false, []string{"API_URL must be an http or https address"}},
		"endpoints that are none":      {map[string]string{"SCHEDULER_ENDPOINT": "x", "EVENTBRIDGE_ENDPOINT": "y"}, true, []string{"EVENTBRIDGE_ENDPOINT must be", "SCHEDULER_ENDPOINT must be"}},
		"no credentials":               {map[string]string{"AWS_ACCESS_KEY_ID": ""}, false, []string{"AWS_ACCESS_KEY_ID and"}},
		"no credentials, and emulated": {map[string]string{"AWS_ACCESS_KEY_ID": "", "DYNAMODB_ENDPOINT": "http://127.0.0.1:8000"}, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := eventfunc.Read(func(name string) string {
				if value, ok := test.set[name]; ok {
					return value
				}
				return good()[name]
			}, test.schedules)
			if (err == nil) != (test.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}
