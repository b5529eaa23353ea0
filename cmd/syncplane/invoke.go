package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"syncplane/pkg/boot"
	"syncplane/pkg/dynamolocal"
	"syncplane/pkg/local"
	"syncplane/pkg/runtimeapi"
)

// invoke runs the built Lambda once: `sam local invoke` without Docker. Behind
// it stands the DynamoDB of DYNAMODB_ENDPOINT, or a DynamoDB Local that lives
// as long as the command.
func invoke(ctx context.Context, m machine, file string) (err error) {
	event, err := os.ReadFile(file) //nolint:gosec // the file that the user names
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	keys, err := invokeKeys(m)
	if err != nil {
		return err
	}
	config := dynamoConfig(m)
	if config.DynamoDBEndpoint == "" {
		server, err := dynamolocal.Start(ctx, dynamolocal.Options{Getenv: m.getenv, Progress: m.stderr})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		config.DynamoDBEndpoint = server.Endpoint
	}
	if err := boot.DynamoDB(config).EnsureTable(ctx); err != nil {
		return err
	}
	function, err := runtimeapi.Start(ctx, runtimeapi.Options{
		Command: []string{m.setting("BOOTSTRAP", "bin/host/api/bootstrap")},
		Env: []string{
			"AWS_REGION=" + config.Region,
			"AWS_ACCESS_KEY_ID=" + config.AccessKeyID,
			"AWS_SECRET_ACCESS_KEY=" + config.SecretAccessKey,
			"AWS_SESSION_TOKEN=" + config.SessionToken,
			"TABLE_NAME=" + config.TableName,
			"DYNAMODB_ENDPOINT=" + config.DynamoDBEndpoint,
			"TOKEN_ISSUER=" + local.Issuer,
			"TOKEN_AUDIENCE=" + local.Audience,
			"TOKEN_JWKS=" + string(keys),
		},
		Output: m.stderr,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, function.Close()) }()
	response, err := function.Invoke(ctx, event)
	if err != nil {
		return err
	}
	fmt.Fprintln(m.stdout, string(response))
	return nil
}

// invokeKeys is the key set of the sample events and of `syncplane token`.
func invokeKeys(m machine) ([]byte, error) {
	sample := local.SampleKey()
	own, err := local.OpenKey(m.setting("DATA_DIR", defaultDataDir))
	if err != nil {
		return nil, err
	}
	return local.KeySet(sample, own)
}
