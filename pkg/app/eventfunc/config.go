// Package eventfunc wires the functions that events call: the environment becomes
// a Config, the Config clients, and those the handlers. It links neither the HTTP
// API nor what verifies tokens.
package eventfunc

import (
	"strings"

	"syncplane/pkg/app"
)

// Config holds everything that can be set from outside. template.yaml and
// docs/configuration.md name the same variables; a test compares the three.
type Config struct {
	app.Config

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
	e := &app.Environment{Getenv: getenv}
	c := Config{
		Config:              e.Common(),
		EventBus:            e.Required("EVENT_BUS", "the name of the event bus"),
		EventBridgeEndpoint: e.Address("EVENTBRIDGE_ENDPOINT"),
	}
	if e.Required("API_URL", "the address of the API, such as https://api.example.com") != "" {
		c.APIURL = strings.TrimRight(e.Address("API_URL"), "/")
	}
	if schedules {
		c.EventBusARN = e.Required("EVENT_BUS_ARN", "the ARN of the event bus")
		c.ScheduleGroup = e.Required("SCHEDULE_GROUP", "the name of the schedule group")
		c.ScheduleRoleARN = e.Required("SCHEDULE_ROLE_ARN", "the ARN of the role as which schedules put events")
		c.ScheduleFailuresARN = e.Required("SCHEDULE_FAILURES_ARN", "the ARN of the queue for runs that could not be told of")
		c.SchedulerEndpoint = e.Address("SCHEDULER_ENDPOINT")
	}
	return c, e.Err()
}
