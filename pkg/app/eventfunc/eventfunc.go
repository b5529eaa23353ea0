package eventfunc

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"

	"syncplane/pkg/app"
	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/cloud/intake"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/cloud/relay"
)

// Relay runs the function behind the table's stream. Like its neighbours it
// returns only if it cannot start, with the reason.
func Relay(getenv func(string) string, output io.Writer) error {
	config, err := Read(getenv, true)
	if err != nil {
		return err
	}
	lambda.Start((&relay.Relay{
		Bus:       EventBus(config),
		Timetable: Timetable(config, Credentials(config)),
		Log:       app.Logger(output, config.LogLevel),
	}).Handle)
	return nil
}

// Intake runs the function behind the queue of creates.
func Intake(getenv func(string) string, output io.Writer) error {
	config, err := Read(getenv, false)
	if err != nil {
		return err
	}
	lambda.Start((&intake.Intake{
		Syncs: app.Service(app.DynamoDB(config.Config)),
		Bus:   EventBus(config),
		Now:   time.Now, //nolint:forbidigo // the edge hands out the clock
		Log:   app.Logger(output, config.LogLevel),
	}).Invoke)
	return nil
}

// Reconcile runs the function that compares table and schedules once a day.
func Reconcile(getenv func(string) string, output io.Writer) error {
	config, err := Read(getenv, true)
	if err != nil {
		return err
	}
	store, table := app.DynamoDB(config.Config), Timetable(config, Credentials(config))
	log := app.Logger(output, config.LogLevel)
	lambda.Start(func(ctx context.Context) (reconciler.Report, error) {
		report, err := table.Repair(ctx, store, false, func(id string) {
			log.LogAttrs(ctx, slog.LevelWarn, "repaired", slog.String("sync", id))
		})
		log.LogAttrs(ctx, slog.LevelInfo, "reconcile",
			slog.Int("syncs", report.Syncs), slog.Int("repaired", report.Repaired), slog.Int("removed", report.Removed))
		return report, err
	})
	return nil
}

// Credentials are those that the environment gives.
func Credentials(c Config) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}, nil
	})
}

// EventBus is the bus that config names.
func EventBus(c Config) *eventbus.Bus {
	options := eventbridge.Options{Region: c.Region, Credentials: Credentials(c), HTTPClient: app.HTTPClient(), Retryer: app.Retryer()}
	if c.EventBridgeEndpoint != "" {
		options.BaseEndpoint = &c.EventBridgeEndpoint
	}
	return &eventbus.Bus{Client: eventbridge.New(options), Name: c.EventBus, Origin: c.APIURL}
}

// Timetable is the schedules that config names, of the syncs in its table.
func Timetable(c Config, credentials aws.CredentialsProvider) *reconciler.Timetable {
	options := scheduler.Options{Region: c.Region, Credentials: credentials, HTTPClient: app.HTTPClient(), Retryer: app.Retryer()}
	if c.SchedulerEndpoint != "" {
		options.BaseEndpoint = &c.SchedulerEndpoint
	}
	return &reconciler.Timetable{
		Syncs:       app.DynamoDBAs(c.Config, credentials),
		Client:      scheduler.New(options),
		Now:         time.Now, //nolint:forbidigo // the edge hands out the clock
		Group:       c.ScheduleGroup,
		RoleARN:     c.ScheduleRoleARN,
		BusARN:      c.EventBusARN,
		FailuresARN: c.ScheduleFailuresARN,
		Origin:      c.APIURL,
	}
}
