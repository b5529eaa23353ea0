package app

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"syncplane/pkg/runs"
)

// Config is the configuration that every function has: how to reach AWS or its
// emulators, and the log level.
type Config struct {
	Region           string // AWS_REGION
	TableName        string // TABLE_NAME
	DynamoDBEndpoint string // AWS_ENDPOINT_URL_DYNAMODB; "" is the region's own, see Environment.Endpoint

	AccessKeyID     string // AWS_ACCESS_KEY_ID; Lambda sets it and the next two
	SecretAccessKey string // AWS_SECRET_ACCESS_KEY
	SessionToken    string // AWS_SESSION_TOKEN

	RunRetention time.Duration // RUN_RETENTION_DAYS; how long runs are kept

	FunctionName string // AWS_LAMBDA_FUNCTION_NAME
	OnDemand     bool   // AWS_LAMBDA_INITIALIZATION_TYPE is on-demand: an event waits while the function starts
	LogLevel     string // AWS_LAMBDA_LOG_LEVEL
}

// Environment reads environment variables and collects the errors.
type Environment struct {
	Getenv func(string) string
	errs   []error
}

// Err returns all errors so far, nil if there are none.
func (e *Environment) Err() error { return errors.Join(e.errs...) }

// Reject adds an error, unless it has been added: several settings can depend on one
// variable.
func (e *Environment) Reject(err error) {
	same := func(earlier error) bool { return earlier.Error() == err.Error() }
	if !slices.ContainsFunc(e.errs, same) {
		e.errs = append(e.errs, err)
	}
}

// Required returns a variable. If it is not set, that is an error, and what describes
// what it must hold.
func (e *Environment) Required(name, what string) string {
	value := e.Getenv(name)
	if value == "" {
		e.Reject(fmt.Errorf("%s is not set; it must be %s", name, what))
	}
	return value
}

// Address returns a variable. If it is set to something else than an http or https
// address, that is an error.
func (e *Environment) Address(name string) string {
	value := e.Getenv(name)
	if parsed, err := url.Parse(value); value != "" && (err != nil || parsed.Host == "" || !strings.HasPrefix(parsed.Scheme, "http")) {
		e.Reject(fmt.Errorf("%s must be an http or https address, got %q", name, value))
	}
	return value
}

// Endpoint returns the address of a service of AWS, "" for the region's own. The
// service's variable, such as AWS_ENDPOINT_URL_DYNAMODB, precedes AWS_ENDPOINT_URL, an
// empty variable counts as not set, and AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true
// disables both, as in the AWS SDKs. The SDK reads them in its config package, which a
// Lambda function does without; see DynamoDB.
func (e *Environment) Endpoint(variable string) string {
	switch value := e.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"); {
	case strings.EqualFold(value, "true"):
		return ""
	case value != "" && !strings.EqualFold(value, "false"):
		e.Reject(fmt.Errorf("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS must be true or false, got %q", value))
	}
	own, global := e.Address(variable), e.Address("AWS_ENDPOINT_URL")
	return cmp.Or(own, global)
}

// Days returns a variable that holds a number of days, fallback if it is not set. A
// number below least or above maxDays is an error.
func (e *Environment) Days(name string, fallback, least time.Duration) time.Duration {
	const day = 24 * time.Hour
	text := e.Getenv(name)
	if text == "" {
		return fallback
	}
	days, err := strconv.Atoi(text)
	if err != nil || days < int(least/day) || days > maxDays {
		e.Reject(fmt.Errorf("%s must be a number of days from %d to %d, got %q", name, least/day, maxDays, text))
	}
	return time.Duration(days) * day
}

// maxDays is the longest retention, in days: ten years. Our own choice.
const maxDays = 3653

// Number returns a variable that holds a whole number, fallback if it is not set. A
// number below least or above most is an error.
func (e *Environment) Number(name string, fallback, least, most int64) int64 {
	text := e.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		e.Reject(fmt.Errorf("%s must be a number from %d to %d, got %q", name, least, most, text))
	}
	return n
}

// Common reads and returns a Config.
func (e *Environment) Common() Config {
	c := Config{
		Region:           e.Required("AWS_REGION", "the region of the table, such as eu-central-1"),
		TableName:        e.Required("TABLE_NAME", "the name of the DynamoDB table"),
		DynamoDBEndpoint: e.Endpoint("AWS_ENDPOINT_URL_DYNAMODB"),
		AccessKeyID:      e.Getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey:  e.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:     e.Getenv("AWS_SESSION_TOKEN"),
		FunctionName:     e.Getenv("AWS_LAMBDA_FUNCTION_NAME"),
		OnDemand:         e.Getenv("AWS_LAMBDA_INITIALIZATION_TYPE") == "on-demand",
		LogLevel:         e.Getenv("AWS_LAMBDA_LOG_LEVEL"),
	}
	c.RunRetention = e.Days("RUN_RETENTION_DAYS", runs.DefaultRetention().Runs, runs.MinRetention)
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		if c.DynamoDBEndpoint == "" {
			e.Reject(errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; Lambda sets them, and outside Lambda they must be those of an AWS user"))
		}
		c.AccessKeyID, c.SecretAccessKey = "local", "local" // emulators accept any
	}
	return c
}
