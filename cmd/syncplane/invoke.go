package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/local/server"
)

// invokeConfig holds the settings of invoke.
type invokeConfig struct {
	dataDir   string
	table     string
	bootstrap string
}

// newInvoke returns the command that invokes a Lambda function.
func newInvoke(env environment) *cobra.Command {
	var c invokeConfig
	cmd := &cobra.Command{
		Use:   "invoke FILE",
		Short: "Run a Lambda function once with the event in a file",
		Long: `Invoke runs the built Lambda function that an event is for, as sam local invoke
does, without Docker, and prints its response. The function uses the DynamoDB that
AWS_ENDPOINT_URL_DYNAMODB or AWS_ENDPOINT_URL names, or a DynamoDB Local that is
stopped when the command ends. For events of the queue, the stream and the bus,
AWS_ENDPOINT_URL must be the address of moto_server. make invoke builds the
functions first.`,
		Example: `  syncplane invoke events/create-sync.json`,
		Args:    oneArgument("the file of the event, such as events/create-sync.json"),
		RunE:    func(cmd *cobra.Command, args []string) error { return invoke(cmd.Context(), env, c, args[0]) },
	}
	defineDataDir(cmd, &c.dataDir)
	defineTable(cmd, &c.table)
	define(cmd, cmd.Flags(), &c.bootstrap, setting[string]{
		flag: "bootstrap", variable: "BOOTSTRAP", kind: kindFile, parse: parseGiven("the name of a file"),
		usage: "the program of the function (default bin/host/FUNCTION/bootstrap)",
	})
	return cmd
}

// invoke runs the function that the event in a file is for, and prints the response.
func invoke(ctx context.Context, env environment, c invokeConfig, file string) (err error) {
	event, err := os.ReadFile(file) //nolint:gosec // the file that the user names
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	name := functionOf(event)
	keys, err := invokeKeys(c.dataDir)
	if err != nil {
		return err
	}
	config, err := dynamoConfig(env, c.table)
	if err != nil {
		return &usageError{err}
	}
	e := &app.Environment{Getenv: env.getenv}
	services := endpoints{
		events: e.Endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE"), schedules: e.Endpoint("AWS_ENDPOINT_URL_SCHEDULER"), queues: e.Endpoint("AWS_ENDPOINT_URL_SQS"),
	}
	if err := e.Err(); err != nil {
		return &usageError{err}
	}
	if name != "api" && (services.events == "" || services.schedules == "" || services.queues == "") {
		return usageErrorf("this event is for the function %s, which needs the address of moto_server in AWS_ENDPOINT_URL_EVENTBRIDGE, AWS_ENDPOINT_URL_SCHEDULER and AWS_ENDPOINT_URL_SQS, or in AWS_ENDPOINT_URL", name)
	}
	if config.DynamoDBEndpoint == "" {
		server, err := dynamodblocal.Start(ctx, dynamodblocal.Options{Getenv: env.getenv, Progress: env.stderr})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		config.DynamoDBEndpoint = server.Endpoint
	}
	if err := app.DynamoDB(config).EnsureTable(ctx); err != nil {
		return err
	}
	function, err := lambdaruntime.Start(ctx, lambdaruntime.Options{
		Command: []string{cmp.Or(c.bootstrap, "bin/host/"+name+"/bootstrap")},
		Env:     functionEnvironment(env, config, keys, services),
		Output:  env.stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, function.Close()) }()
	response, err := function.Invoke(ctx, event)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.stdout, string(response))
	return nil
}

// endpoints are the addresses of the emulators of AWS other than DynamoDB, "" for none.
type endpoints struct{ events, schedules, queues string }

// functionEnvironment returns the variables of a function. keys are those that verify
// its tokens.
func functionEnvironment(env environment, config app.Config, keys []byte, services endpoints) []string {
	return []string{
		"AWS_REGION=" + config.Region,
		"AWS_ACCESS_KEY_ID=" + config.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + config.SecretAccessKey,
		"AWS_SESSION_TOKEN=" + config.SessionToken,
		"TABLE_NAME=" + config.TableName,
		"AWS_ENDPOINT_URL_DYNAMODB=" + config.DynamoDBEndpoint,
		"TOKEN_ISSUER=" + server.Issuer,
		"TOKEN_AUDIENCE=" + server.Audience,
		"TOKEN_JWKS=" + string(keys),
		"API_URL=" + env.valueOr("API_URL", "http://127.0.0.1:8080"),
		"EVENT_BUS=" + env.valueOr("EVENT_BUS", "default"),
		"EVENT_BUS_ARN=" + env.valueOr("EVENT_BUS_ARN", "arn:aws:events:us-east-1:123456789012:event-bus/default"),
		"AWS_ENDPOINT_URL_EVENTBRIDGE=" + services.events,
		"SCHEDULE_GROUP=" + env.valueOr("SCHEDULE_GROUP", "default"),
		"SCHEDULE_ROLE_ARN=" + env.valueOr("SCHEDULE_ROLE_ARN", "arn:aws:iam::123456789012:role/schedules"),
		"SCHEDULE_FAILURES_ARN=" + env.valueOr("SCHEDULE_FAILURES_ARN", "arn:aws:sqs:us-east-1:123456789012:failures"),
		"AWS_ENDPOINT_URL_SCHEDULER=" + services.schedules,
		"WATCH_QUEUE_URL=" + env.valueOr("WATCH_QUEUE_URL", "http://127.0.0.1:5000/123456789012/watch"),
		"RELAY_FAILURES_URL=" + env.valueOr("RELAY_FAILURES_URL", "http://127.0.0.1:5000/123456789012/relay-failures"),
		"AWS_ENDPOINT_URL_SQS=" + services.queues,
	}
}

// functionOf returns the function that an event is for, judging by its members.
func functionOf(text []byte) string {
	var event struct {
		DetailType string `json:"detail-type"` //nolint:tagliatelle // EventBridge's name
		Records    []struct {
			Source string `json:"eventSource"`    //nolint:tagliatelle // AWS's name
			ARN    string `json:"eventSourceARN"` //nolint:tagliatelle // as above
		} `json:"Records"` //nolint:tagliatelle // as above
	}
	_ = json.Unmarshal(text, &event) // the API refuses an event that cannot be decoded
	switch {
	case len(event.Records) > 0 && (event.Records[0].Source == "aws:dynamodb" || strings.HasSuffix(event.Records[0].ARN, ":"+watchQueue)):
		return "relay"
	case len(event.Records) > 0 && event.Records[0].Source == "aws:sqs", event.DetailType != "":
		return "intake"
	}
	return "api"
}

// invokeKeys returns the key set with the key of the sample events and that of
// `syncplane token`.
func invokeKeys(dataDir string) ([]byte, error) {
	sample := server.SampleKey()
	own, err := server.OpenKey(dataDir)
	if err != nil {
		return nil, err
	}
	return server.KeySet(sample, own)
}
