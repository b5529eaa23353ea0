package eventfunc

import (
	"strings"

	"syncplane/pkg/app"
)

// Common is the configuration that all functions of this package have.
// template.yaml and docs/configuration.md name the same variables as the
// configurations here; a test compares the three.
type Common struct {
	app.Config

	APIURL string // API_URL, the address of the API in events, without a slash at its end
}

// PublisherConfig is the configuration of what puts events on the bus.
type PublisherConfig struct {
	EventBus            string // EVENT_BUS, a name
	EventBridgeEndpoint string // AWS_ENDPOINT_URL_EVENTBRIDGE; "" is the region's own
}

// ReconcilerConfig is the configuration of what reconciles schedules.
type ReconcilerConfig struct {
	EventBusARN         string // EVENT_BUS_ARN
	ScheduleGroup       string // SCHEDULE_GROUP
	ScheduleRoleARN     string // SCHEDULE_ROLE_ARN
	ScheduleFailuresARN string // SCHEDULE_FAILURES_ARN
	SchedulerEndpoint   string // AWS_ENDPOINT_URL_SCHEDULER; "" is the region's own
}

// WatchConfig is the configuration of what watches the deadlines of runs.
type WatchConfig struct {
	WatchQueueURL string // WATCH_QUEUE_URL
	SQSEndpoint   string // AWS_ENDPOINT_URL_SQS; "" is the region's own
}

// FailuresConfig is the configuration of what sets changes aside. SQS is reached as for
// WatchConfig.
type FailuresConfig struct {
	RelayFailuresURL string // RELAY_FAILURES_URL
}

// RelayConfig is the configuration of the relay function.
type RelayConfig struct {
	Common
	PublisherConfig
	ReconcilerConfig
	WatchConfig
	FailuresConfig
}

// IntakeConfig is the configuration of the intake function.
type IntakeConfig struct {
	Common
	PublisherConfig
}

// ReconcileConfig is the configuration of the reconcile function.
type ReconcileConfig struct {
	Common
	ReconcilerConfig

	Rate int64 // RECONCILE_RATE, calls of Scheduler a second
}

// ReadRelay reads the environment of the relay function. The error names every
// invalid variable.
func ReadRelay(getenv func(string) string) (RelayConfig, error) {
	e := &app.Environment{Getenv: getenv}
	return RelayConfig{common(e), publisher(e), schedules(e), watched(e), failures(e)}, e.Err()
}

// ReadIntake reads the environment of the intake function. The error names every
// invalid variable.
func ReadIntake(getenv func(string) string) (IntakeConfig, error) {
	e := &app.Environment{Getenv: getenv}
	return IntakeConfig{common(e), publisher(e)}, e.Err()
}

// The bounds of RECONCILE_RATE. The default is below the default rate limit of accounts in
// the regions with the lowest, 250 calls a second.
const (
	defaultRate = 200
	maxRate     = 100_000
)

// ReadReconcile reads the environment of the reconcile function. The error names
// every invalid variable.
func ReadReconcile(getenv func(string) string) (ReconcileConfig, error) {
	e := &app.Environment{Getenv: getenv}
	return ReconcileConfig{common(e), schedules(e), e.Number("RECONCILE_RATE", defaultRate, 1, maxRate)}, e.Err()
}

func common(e *app.Environment) Common {
	c := Common{Config: e.Common()}
	if e.Required("API_URL", "the address of the API, such as https://api.example.com") != "" {
		c.APIURL = strings.TrimRight(e.Address("API_URL"), "/")
	}
	return c
}

func publisher(e *app.Environment) PublisherConfig {
	return PublisherConfig{
		EventBus:            e.Required("EVENT_BUS", "the name of the event bus"),
		EventBridgeEndpoint: e.Endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE"),
	}
}

func schedules(e *app.Environment) ReconcilerConfig {
	return ReconcilerConfig{
		EventBusARN:         e.Required("EVENT_BUS_ARN", "the ARN of the event bus"),
		ScheduleGroup:       e.Required("SCHEDULE_GROUP", "the name of the schedule group"),
		ScheduleRoleARN:     e.Required("SCHEDULE_ROLE_ARN", "the ARN of the role with which schedules put events on the bus"),
		ScheduleFailuresARN: e.Required("SCHEDULE_FAILURES_ARN", "the ARN of the dead-letter queue for runs that could not be delivered"),
		SchedulerEndpoint:   e.Endpoint("AWS_ENDPOINT_URL_SCHEDULER"),
	}
}

func watched(e *app.Environment) WatchConfig {
	return WatchConfig{
		WatchQueueURL: e.Required("WATCH_QUEUE_URL", "the address of the queue of runs to watch"),
		SQSEndpoint:   e.Endpoint("AWS_ENDPOINT_URL_SQS"),
	}
}

func failures(e *app.Environment) FailuresConfig {
	return FailuresConfig{RelayFailuresURL: e.Required("RELAY_FAILURES_URL", "the address of the queue for changes that the relay sets aside")}
}
