package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"syncplane/pkg/app"
	"syncplane/pkg/emulator/dynamodblocal"
	"syncplane/pkg/emulator/lambdaruntime"
	"syncplane/pkg/local/server"
)

// invoke runs a built Lambda function once, as `sam local invoke` does, without
// Docker. The function uses the DynamoDB that AWS_ENDPOINT_URL_DYNAMODB or
// AWS_ENDPOINT_URL names, or a DynamoDB Local that is stopped when the command ends.
func invoke(ctx context.Context, env environment, file string) (err error) {
	event, err := os.ReadFile(file) //nolint:gosec // the file that the user names
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	name := functionOf(event)
	keys, err := invokeKeys(env)
	if err != nil {
		return err
	}
	config, err := dynamoConfig(env)
	if err != nil {
		return err
	}
	e := &app.Environment{Getenv: env.getenv}
	events, schedules, queues := e.Endpoint("AWS_ENDPOINT_URL_EVENTBRIDGE"), e.Endpoint("AWS_ENDPOINT_URL_SCHEDULER"), e.Endpoint("AWS_ENDPOINT_URL_SQS")
	if err := e.Err(); err != nil {
		return err
	}
	if name != "api" && (events == "" || schedules == "" || queues == "") {
		return fmt.Errorf("this event is for the function %s, which needs the address of moto_server in AWS_ENDPOINT_URL_EVENTBRIDGE, AWS_ENDPOINT_URL_SCHEDULER and AWS_ENDPOINT_URL_SQS, or in AWS_ENDPOINT_URL", name)
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
		Command: []string{env.valueOr("BOOTSTRAP", "bin/host/"+name+"/bootstrap")},
		Env: []string{
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
			"AWS_ENDPOINT_URL_EVENTBRIDGE=" + events,
			"SCHEDULE_GROUP=" + env.valueOr("SCHEDULE_GROUP", "default"),
			"SCHEDULE_ROLE_ARN=" + env.valueOr("SCHEDULE_ROLE_ARN", "arn:aws:iam::123456789012:role/schedules"),
			"SCHEDULE_FAILURES_ARN=" + env.valueOr("SCHEDULE_FAILURES_ARN", "arn:aws:sqs:us-east-1:123456789012:failures"),
			"AWS_ENDPOINT_URL_SCHEDULER=" + schedules,
			"WATCH_QUEUE_URL=" + env.valueOr("WATCH_QUEUE_URL", "http://127.0.0.1:5000/123456789012/watch"),
			"AWS_ENDPOINT_URL_SQS=" + queues,
		},
		Output: env.stderr,
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

// functionOf returns the function that an event is for, judging by its members.
func functionOf(text []byte) string {
	var event struct {
		DetailType string `json:"detail-type"` //nolint:tagliatelle // EventBridge's name
		Records    []struct {
			Source string `json:"eventSource"` //nolint:tagliatelle // AWS's name
		} `json:"Records"` //nolint:tagliatelle // as above
	}
	_ = json.Unmarshal(text, &event) // the API refuses an event that cannot be decoded
	switch {
	case len(event.Records) > 0 && event.Records[0].Source == "aws:dynamodb":
		return "relay"
	case len(event.Records) > 0 && event.Records[0].Source == "aws:sqs", event.DetailType != "":
		return "intake"
	}
	return "api"
}

// invokeKeys returns the key set with the key of the sample events and that of
// `syncplane token`.
func invokeKeys(env environment) ([]byte, error) {
	sample := server.SampleKey()
	own, err := server.OpenKey(env.valueOr("DATA_DIR", defaultDataDir))
	if err != nil {
		return nil, err
	}
	return server.KeySet(sample, own)
}
