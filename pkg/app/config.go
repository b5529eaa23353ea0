package app

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Config is what reaches AWS and its emulators, and the log level. Every function
// has it.
type Config struct {
	Region           string // AWS_REGION
	TableName        string // TABLE_NAME
	DynamoDBEndpoint string // DYNAMODB_ENDPOINT; "" is the region's own

	AccessKeyID     string // AWS_ACCESS_KEY_ID, as are the next two; Lambda sets them
	SecretAccessKey string // AWS_SECRET_ACCESS_KEY
	SessionToken    string // AWS_SESSION_TOKEN

	LogLevel string // AWS_LAMBDA_LOG_LEVEL
}

// Environment reads variables and keeps every fault.
type Environment struct {
	Getenv func(string) string
	faults []error
}

// Err names every fault there was, nil if there was none.
func (e *Environment) Err() error { return errors.Join(e.faults...) }

// Refuse notes a fault.
func (e *Environment) Refuse(err error) { e.faults = append(e.faults, err) }

// Required is a variable that must be set; what says to what.
func (e *Environment) Required(name, what string) string {
	value := e.Getenv(name)
	if value == "" {
		e.Refuse(fmt.Errorf("%s is not set; it must be %s", name, what))
	}
	return value
}

// Address is a variable that is an http or https address if it is set.
func (e *Environment) Address(name string) string {
	value := e.Getenv(name)
	if parsed, err := url.Parse(value); value != "" && (err != nil || parsed.Host == "" || !strings.HasPrefix(parsed.Scheme, "http")) {
		e.Refuse(fmt.Errorf("%s must be an http or https address, got %q", name, value))
	}
	return value
}

// Common reads a Config.
func (e *Environment) Common() Config {
	c := Config{
		Region:           e.Required("AWS_REGION", "the region of the table, such as eu-central-1"),
		TableName:        e.Required("TABLE_NAME", "the name of the DynamoDB table"),
		DynamoDBEndpoint: e.Address("DYNAMODB_ENDPOINT"),
		AccessKeyID:      e.Getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey:  e.Getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:     e.Getenv("AWS_SESSION_TOKEN"),
		LogLevel:         e.Getenv("AWS_LAMBDA_LOG_LEVEL"),
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		if c.DynamoDBEndpoint == "" {
			e.Refuse(errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; Lambda sets them, elsewhere they must be those of an AWS user"))
		}
		c.AccessKeyID, c.SecretAccessKey = "local", "local" // emulators take any
	}
	return c
}
