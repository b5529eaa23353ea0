// Package eventfunc wires the functions that handle events: it reads their
// environment, makes the AWS clients and the handlers, and runs them under
// Lambda. It links neither the HTTP API nor the verification of tokens.
package eventfunc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"syncplane/pkg/app"
	"syncplane/pkg/cloud/eventbus"
	"syncplane/pkg/cloud/intake"
	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/cloud/relay"
	"syncplane/pkg/cloud/watch"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/dynamo"
)

// Relay runs the function behind the table's stream and the watch queue. It returns
// only if the function cannot start, as do Intake and Reconcile.
func Relay(getenv func(string) string, output io.Writer) error {
	config, err := ReadRelay(getenv)
	if err != nil {
		return err
	}
	log := app.Logger(output, config.LogLevel)
	relays := NewRelay(config, app.Credentials(config.Config), log)
	watches := &watch.Watcher{Queue: relays.Watch, Runs: relays.Runs, Log: log}
	lambda.Start(func(ctx context.Context, payload json.RawMessage) (any, error) {
		var changes events.DynamoDBEvent
		if err := json.Unmarshal(payload, &changes); err != nil {
			return nil, fmt.Errorf("read the batch: %w", err)
		}
		if len(changes.Records) == 0 || changes.Records[0].EventSource != "aws:sqs" {
			return relays.Handle(ctx, changes)
		}
		var messages events.SQSEvent
		if err := json.Unmarshal(payload, &messages); err != nil {
			return nil, fmt.Errorf("read the batch: %w", err)
		}
		return watches.Handle(ctx, messages), nil
	})
	return nil
}

// NewRelay returns what handles the table's stream, with these credentials in place of
// those of c.
func NewRelay(c RelayConfig, credentials aws.CredentialsProvider, log *slog.Logger) *relay.Relay {
	queues := queues(c.Common, c.SQSEndpoint, credentials)
	return &relay.Relay{
		Publisher:  publisherAs(c.Common, c.PublisherConfig, credentials),
		Reconciler: Reconciler(c.Common, c.ReconcilerConfig, credentials),
		Runs:       Runs(app.DynamoDBAs(c.Config, credentials), c.RunRetention),
		Watch:      &watch.Queue{Client: queues, URL: c.WatchQueueURL},
		Failures:   &relay.Failures{Client: queues, URL: c.RelayFailuresURL},
		Log:        log,
	}
}

// Intake runs the function behind the queue of requests and due runs.
func Intake(getenv func(string) string, output io.Writer) error {
	config, err := ReadIntake(getenv)
	if err != nil {
		return err
	}
	store := app.DynamoDB(config.Config)
	lambda.Start((&intake.Intake{
		Syncs:     app.Service(store),
		Runs:      Runs(store, config.RunRetention),
		Publisher: Publisher(config.Common, config.PublisherConfig),
		Now:       time.Now, //nolint:forbidigo // the clock is read at the edge
		Log:       app.Logger(output, config.LogLevel),
	}).Invoke)
	return nil
}

// Reconcile runs the function that once a day ends the runs that time has ended and
// begins to reconcile all schedules. Calls with resume continue where a call has stopped
// before its deadline.
func Reconcile(getenv func(string) string, output io.Writer) error {
	config, err := ReadReconcile(getenv)
	if err != nil {
		return err
	}
	store := app.DynamoDB(config.Config)
	schedules := Reconciler(config.Common, config.ReconcilerConfig, app.Credentials(config.Config))
	schedules.Rate = &reconciler.Rate{PerSecond: float64(config.Rate)}
	round := &reconciler.Round{Reconciler: schedules, Table: store, Checkpoints: checkpoints{store}}
	of := Runs(store, config.RunRetention)
	slots := dynamo.Runs{Store: store, Now: of.Now}
	log := app.Logger(output, config.LogLevel)
	lambda.Start(func(ctx context.Context, in struct {
		Resume bool `json:"resume"`
	},
	) (reconciler.Report, error) {
		expired := 0
		var failure error
		if !in.Resume {
			expired, failure = reconciler.ExpireAll(ctx, slots, of, func(id string) {
				log.LogAttrs(ctx, slog.LevelWarn, "expired", slog.String("sync", id))
			})
		}
		report, err := round.Run(ctx, in.Resume, func(id string) {
			log.LogAttrs(ctx, slog.LevelWarn, "repaired", slog.String("sync", id))
		})
		report.Expired = expired
		log.LogAttrs(ctx, slog.LevelInfo, "reconcile", slog.Int("syncs", report.Syncs), slog.Int("repaired", report.Repaired),
			slog.Int("removed", report.Removed), slog.Int("expired", report.Expired), slog.Bool("unfinished", report.Unfinished),
			slog.Bool("ended", report.Ended)) // the metric ReconcileRounds counts it
		return report, errors.Join(err, failure)
	})
	return nil
}

// checkpoints stores the checkpoint of a round in the table.
type checkpoints struct{ store *dynamo.Store }

// LoadCheckpoint returns the stored checkpoint.
func (c checkpoints) LoadCheckpoint(ctx context.Context) (reconciler.Checkpoint, error) {
	stored, err := c.store.LoadCheckpoint(ctx)
	return reconciler.Checkpoint(stored), err
}

// SaveCheckpoint stores a checkpoint.
func (c checkpoints) SaveCheckpoint(ctx context.Context, next reconciler.Checkpoint) error {
	err := c.store.SaveCheckpoint(ctx, dynamo.Checkpoint(next))
	if errors.Is(err, dynamo.ErrCheckpointOvertaken) {
		return reconciler.ErrOvertaken
	}
	return err
}

// Runs returns the operations on the runs in a table.
func Runs(store *dynamo.Store, retention time.Duration) *runs.Service {
	return app.Runs(dynamo.Runs{Store: store, Now: time.Now}, store, retention) //nolint:forbidigo // the clock is read at the edge
}

// WatchQueue returns the configured queue of runs to watch.
func WatchQueue(c Common, w WatchConfig) *watch.Queue {
	return &watch.Queue{Client: queues(c, w.SQSEndpoint, app.Credentials(c.Config)), URL: w.WatchQueueURL}
}

// queues returns a client of SQS.
func queues(c Common, endpoint string, credentials aws.CredentialsProvider) *sqs.Client {
	options := sqs.Options{Region: c.Region, Credentials: credentials, HTTPClient: app.HTTPClient(), Retryer: app.Retryer()}
	if endpoint != "" {
		options.BaseEndpoint = &endpoint
	}
	return sqs.New(options)
}

// Publisher returns a publisher for the configured bus.
func Publisher(c Common, p PublisherConfig) *eventbus.Publisher {
	return publisherAs(c, p, app.Credentials(c.Config))
}

// publisherAs returns a publisher with these credentials in place of those of c.
func publisherAs(c Common, p PublisherConfig, credentials aws.CredentialsProvider) *eventbus.Publisher {
	options := eventbridge.Options{Region: c.Region, Credentials: credentials, HTTPClient: app.HTTPClient(), Retryer: app.Retryer()}
	if p.EventBridgeEndpoint != "" {
		options.BaseEndpoint = &p.EventBridgeEndpoint
	}
	return &eventbus.Publisher{Client: eventbridge.New(options), Bus: p.EventBus, Origin: c.APIURL}
}

// Reconciler returns a reconciler for the configured table and schedule group,
// with these credentials in place of those of c.
func Reconciler(c Common, r ReconcilerConfig, credentials aws.CredentialsProvider) *reconciler.Reconciler {
	options := scheduler.Options{Region: c.Region, Credentials: credentials, HTTPClient: app.HTTPClient(), Retryer: app.Retryer()}
	if r.SchedulerEndpoint != "" {
		options.BaseEndpoint = &r.SchedulerEndpoint
	}
	return &reconciler.Reconciler{
		Syncs:       app.DynamoDBAs(c.Config, credentials),
		Client:      scheduler.New(options),
		Now:         time.Now, //nolint:forbidigo // the clock is read at the edge
		Group:       r.ScheduleGroup,
		RoleARN:     r.ScheduleRoleARN,
		BusARN:      r.EventBusARN,
		FailuresARN: r.ScheduleFailuresARN,
		Origin:      c.APIURL,
	}
}
