package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
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

	createTable bool // also in an AWS account
}

const defaultDataDir = ".syncs"

// defineDataDir adds --data-dir.
func defineDataDir(cmd *cobra.Command, to *string) {
	define(cmd, cmd.PersistentFlags(), to, setting[string]{
		flag: "data-dir", variable: "DATA_DIR", fallback: defaultDataDir, kind: kindDirectory, parse: parseGiven("a directory such as " + defaultDataDir),
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
		flag: "table", variable: "TABLE_NAME", fallback: "syncplane", kind: "name", parse: parseGiven("the name of a table such as syncplane"),
		usage: "the DynamoDB table",
	})
}

// defineCreateTable adds --create-table.
func defineCreateTable(cmd *cobra.Command, to *bool) {
	define(cmd, cmd.Flags(), to, setting[bool]{
		flag: "create-table", variable: "CREATE_TABLE", fallback: "false", kind: kindBool, parse: parseBool,
		usage: "create the DynamoDB table in the AWS account if it does not exist; in an emulator it is always created",
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
		if errors.Is(err, bolt.ErrInUse) {
			err = fmt.Errorf("%w, such as another server; stop that one, or use another directory and port: DATA_DIR=%s-2 PORT=8081", err, filepath.Clean(c.dataDir))
		}
		if err != nil {
			return backend{}, err
		}
		return backend{store, bolt.Runs{Store: store, Now: time.Now}, store, localKeys(c.dataDir), store, absolute(path), store.Close}, nil
	}
	store, err := openDynamoDB(ctx, env, c.table)
	if err != nil {
		return backend{}, err
	}
	if err := ensureTable(ctx, store, c.createTable); err != nil {
		return backend{}, err
	}
	return backend{store, dynamo.Runs{Store: store, Now: time.Now}, store, store, nil, "the DynamoDB table " + store.Table, func() error { return nil }}, nil
}

// ensureTable creates the table in an emulator if it does not exist. In an AWS account
// the stack creates it, unless create is set.
func ensureTable(ctx context.Context, store *dynamo.Store, create bool) error {
	options := store.Client.Options()
	if create || isEmulator(aws.ToString(options.BaseEndpoint)) {
		return store.EnsureTable(ctx)
	}
	exists, err := store.HasTable(ctx)
	if err != nil || exists {
		return err
	}
	return fmt.Errorf("the DynamoDB table %s does not exist in %s; deploy the stack and set TABLE_NAME to its table, set CREATE_TABLE=true to create one in this AWS account, or set AWS_ENDPOINT_URL_DYNAMODB to the address of an emulator", store.Table, options.Region)
}

// isEmulator reports whether the endpoint of a service of AWS is set and not one of
// AWS, such as a VPC endpoint.
func isEmulator(endpoint string) bool {
	address, err := url.Parse(endpoint)
	if err != nil || endpoint == "" {
		return false
	}
	return !slices.ContainsFunc([]string{".amazonaws.com", ".amazonaws.com.cn", ".api.aws"}, func(domain string) bool {
		return strings.HasSuffix(address.Hostname(), domain)
	})
}

// absolute returns the absolute form of a path, for messages.
func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
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
		env.rootsFor(target.DynamoDBEndpoint)
		return app.DynamoDB(target), nil
	}
	profile, err := openProfile(ctx, env)
	if err != nil {
		return nil, err
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
