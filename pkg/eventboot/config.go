// Package eventboot is the edge of the functions that events call: it turns the
// environment into clients and those into handlers, as package boot does for
// the HTTP routes. It stands apart so that these pay for no client of others.
package eventboot

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"syncplane/pkg/boot"
)

// Config is everything that can be set from outside. template.yaml and README
// name the same variables; a test compares the three.
type Config struct {
	boot.Config // of which the token's part is not used

	EventBus            string // EVENT_BUS, a name
	APIURL              string // API_URL, the address of the API
	EventBridgeEndpoint string // EVENTBRIDGE_ENDPOINT; "" is the region's own

	// These are the relay's and the reconciler's.
	EventBusARN         string // EVENT_BUS_ARN
	ScheduleGroup       string // SCHEDULE_GROUP
	ScheduleRoleARN     string // SCHEDULE_ROLE_ARN
	ScheduleFailuresARN string // SCHEDULE_FAILURES_ARN
	SchedulerEndpoint   string // SCHEDULER_ENDPOINT; "" is the region's own
}

// Read reads the environment of a function, of the relay and the reconciler if
// schedules is true. The error names every fault there is.
func Read(getenv func(string) string, schedules bool) (Config, error) {
	var faults []error
	required := func(name, what string) string {
		value := getenv(name)
		if value == "" {
			faults = append(faults, fmt.Errorf("%s is not set; it must be %s", name, what))
		}
		return value
	}
	address := func(name string) string {
		value := getenv(name)
		if parsed, err := url.Parse(value); value != "" && (err != nil || parsed.Host == "" || !strings.HasPrefix(parsed.Scheme, "http")) {
			faults = append(faults, fmt.Errorf("%s must be an http or https address, got %q", name, value))
		}
		return strings.TrimRight(value, "/")
	}
	c := Config{
		Config: boot.Config{
			Region:           required("AWS_REGION", "the region of the table, such as eu-central-1"),
			TableName:        required("TABLE_NAME", "the name of the DynamoDB table"),
			DynamoDBEndpoint: address("DYNAMODB_ENDPOINT"),
			AccessKeyID:      getenv("AWS_ACCESS_KEY_ID"),
			SecretAccessKey:  getenv("AWS_SECRET_ACCESS_KEY"),
			SessionToken:     getenv("AWS_SESSION_TOKEN"),
			LogLevel:         getenv("AWS_LAMBDA_LOG_LEVEL"),
		},
		EventBus:            required("EVENT_BUS", "the name of the event bus"),
		EventBridgeEndpoint: address("EVENTBRIDGE_ENDPOINT"),
	}
	if required("API_URL", "the address of the API, such as https://api.example.com") != "" {
		c.APIURL = address("API_URL")
	}
	if schedules {
		c.EventBusARN = required("EVENT_BUS_ARN", "the ARN of the event bus")
		c.ScheduleGroup = required("SCHEDULE_GROUP", "the name of the schedule group")
		c.ScheduleRoleARN = required("SCHEDULE_ROLE_ARN", "the ARN of the role as which schedules put events")
		c.ScheduleFailuresARN = required("SCHEDULE_FAILURES_ARN", "the ARN of the queue for runs that could not be told of")
		c.SchedulerEndpoint = address("SCHEDULER_ENDPOINT")
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		if c.DynamoDBEndpoint == "" {
			faults = append(faults, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; Lambda sets them, elsewhere they must be those of an AWS user"))
		}
		c.AccessKeyID, c.SecretAccessKey = "local", "local" // emulators take any
	}
	return c, errors.Join(faults...)
}
