package main

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/spf13/cobra"

	"syncplane/pkg/app"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/ratelimit"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
)

// The storage backends, as values of --store.
const (
	storeBolt     = "bolt"
	storeDynamoDB = "dynamodb"
)

// storageConfig holds the settings of the storage of a command.
type storageConfig struct {
	dataDir string
	store   string
	table   string
}

// defineDataDir adds --data-dir.
func defineDataDir(cmd *cobra.Command, to *string) {
	define(cmd, cmd.PersistentFlags(), to, setting[string]{
		flag: "data-dir", variable: "DATA_DIR", fallback: ".syncs", kind: kindDirectory, parse: parseText,
		usage: "the directory of the local server's data and signing key",
	})
}

// defineStore adds --store.
func defineStore(cmd *cobra.Command, to *string) {
	stores := []string{storeBolt, storeDynamoDB}
	define(cmd, cmd.PersistentFlags(), to, setting[string]{
		flag: "store", variable: "STORE", fallback: storeBolt, kind: "name", values: stores, parse: parseOneOf(stores...),
		usage: "the storage backend: bolt, a file in the data directory, or dynamodb",
	})
}

// defineTable adds --table.
func defineTable(cmd *cobra.Command, to *string) {
	define(cmd, cmd.PersistentFlags(), to, setting[string]{
		flag: "table", variable: "TABLE_NAME", fallback: "syncplane", kind: "name", parse: parseText,
		usage: "the DynamoDB table",
	})
}

// backend is the storage of a command.
type backend struct {
	syncs    syncs.Store
	runs     runs.Store
	limits   ratelimit.Store
	keys     apikey.Store
	feed     *bolt.Store // nil with DynamoDB, whose feed is the stream of the table
	location string      // for messages
	close    func() error
}

// logTo sets the logger for rows that cannot be read. It must be called before the
// store is used.
func (e backend) logTo(log *slog.Logger) {
	switch store := e.syncs.(type) {
	case *bolt.Store:
		store.Log = log
	case *dynamo.Store:
		store.Log = log
	}
}

// runsService returns the operations on runs.
func (e backend) runsService() *runs.Service {
	return app.Runs(e.runs, e.syncs, runs.DefaultRetention().Runs)
}

// damaged returns a channel that receives an error if damage to the file is found
// while the server runs.
func (e backend) damaged() <-chan error {
	found := make(chan error, 1)
	if e.feed != nil {
		go func() {
			if err, ok := <-e.feed.Damaged(); ok {
				found <- err
			}
		}()
	}
	return found
}

// openBackend opens the storage backend of c.
func openBackend(ctx context.Context, env environment, c storageConfig) (backend, error) {
	if c.store == storeBolt {
		path := filepath.Join(c.dataDir, "syncs.db")
		store, err := bolt.Open(path)
		if err != nil {
			return backend{}, err
		}
		return backend{store, bolt.Runs{Store: store, Now: time.Now}, store, localKeys(c.dataDir), store, path, store.Close}, nil
	}
	store, err := openDynamoDB(ctx, env, c.table)
	if err != nil {
		return backend{}, err
	}
	if err := store.EnsureTable(ctx); err != nil {
		return backend{}, err
	}
	return backend{store, dynamo.Runs{Store: store, Now: time.Now}, store, store, nil, "the DynamoDB table " + store.Table, func() error { return nil }}, nil
}

// openKeys opens only the API keys of the storage backend of c.
func openKeys(ctx context.Context, env environment, c storageConfig) (apikey.Store, error) {
	if c.store == storeBolt {
		return localKeys(c.dataDir), nil
	}
	return openDynamoDB(ctx, env, c.table)
}

func localKeys(dataDir string) bolt.Keys { return bolt.Keys{Path: filepath.Join(dataDir, "keys.db")} }

// openDynamoDB returns a table with the credentials of the AWS profile. With an
// endpoint the profile is not read, since DynamoDB Local accepts any credentials.
func openDynamoDB(ctx context.Context, env environment, table string) (*dynamo.Store, error) {
	target, err := dynamoConfig(env, table)
	if err != nil {
		return nil, &usageError{err}
	}
	if target.DynamoDBEndpoint != "" {
		return app.DynamoDB(target), nil
	}
	profile, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the AWS profile: %w", err)
	}
	if profile.Region != "" {
		target.Region = profile.Region
	}
	target.DynamoDBEndpoint = aws.ToString(dynamodb.NewFromConfig(profile).Options().BaseEndpoint) // its endpoint_url
	return app.DynamoDBAs(target, aws.NewCredentialsCache(profile.Credentials)), nil
}

// dynamoConfig returns the settings of DynamoDB from the environment.
func dynamoConfig(env environment, table string) (app.Config, error) {
	e := &app.Environment{Getenv: env.getenv}
	c := app.Config{
		Region:           env.valueOr("AWS_REGION", "us-east-1"),
		TableName:        table,
		DynamoDBEndpoint: e.Endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
		AccessKeyID:      env.valueOr("AWS_ACCESS_KEY_ID", "local"),
		SecretAccessKey:  env.valueOr("AWS_SECRET_ACCESS_KEY", "local"),
		SessionToken:     env.getenv("AWS_SESSION_TOKEN"),
	}
	return c, e.Err()
}
