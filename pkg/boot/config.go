// Package boot is the edge of the Lambda: it turns the environment into a
// Config, the Config into clients and those into a handler. It knows AWS and
// every package that the function is made of, and decides nothing.
package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"syncplane/pkg/quota"
)

// Config is everything that can be set from outside. template.yaml and README
// name the same variables; a test compares the three.
type Config struct {
	Region           string // AWS_REGION
	TableName        string // TABLE_NAME
	DynamoDBEndpoint string // DYNAMODB_ENDPOINT; "" is the region's own

	TokenIssuer    string // TOKEN_ISSUER, the value of iss
	TokenAudience  string // TOKEN_AUDIENCE, a value of aud
	TokenJWKSURL   string // TOKEN_JWKS_URL; "" is found through the issuer
	TokenJWKS      string // TOKEN_JWKS, a pinned key set; with it nothing is fetched
	WorkspaceClaim string // TOKEN_WORKSPACE_CLAIM

	AccessKeyID     string // AWS_ACCESS_KEY_ID, as are the next two; Lambda sets them
	SecretAccessKey string // AWS_SECRET_ACCESS_KEY
	SessionToken    string // AWS_SESSION_TOKEN

	CreateLimit quota.Policy // CREATE_LIMIT, such as 100/1m; zero is no limit

	LogLevel string // AWS_LAMBDA_LOG_LEVEL
}

// defaultWorkspaceClaim is the claim that names the workspace.
const defaultWorkspaceClaim = "workspace_id"

// Read reads the environment. The error names every fault there is.
func Read(getenv func(string) string) (Config, error) {
	var faults []error
	required := func(name, what string) string {
		value := getenv(name)
		if value == "" {
			faults = append(faults, fmt.Errorf("%s is not set; it must be %s", name, what))
		}
		return value
	}
	address := func(name string) string {
		value := getenv(name)
		if parsed, err := url.Parse(value); value != "" && (err != nil || parsed.Host == "" || !strings.HasPrefix(parsed.Scheme, "http")) {
			faults = append(faults, fmt.Errorf("%s must be an http or https address, got %q", name, value))
		}
		return value
	}
	c := Config{
		Region:           required("AWS_REGION", "the region of the table, such as eu-central-1"),
		TableName:        required("TABLE_NAME", "the name of the DynamoDB table"),
		DynamoDBEndpoint: address("DYNAMODB_ENDPOINT"),
		TokenIssuer:      required("TOKEN_ISSUER", "the issuer of the bearer tokens, as in their iss claim"),
		TokenAudience:    required("TOKEN_AUDIENCE", "the audience of the bearer tokens, as in their aud claim"),
		TokenJWKSURL:     address("TOKEN_JWKS_URL"),
		TokenJWKS:        getenv("TOKEN_JWKS"),
		WorkspaceClaim:   getenv("TOKEN_WORKSPACE_CLAIM"),
		AccessKeyID:      getenv("AWS_ACCESS_KEY_ID"),
		SecretAccessKey:  getenv("AWS_SECRET_ACCESS_KEY"),
		SessionToken:     getenv("AWS_SESSION_TOKEN"),
		LogLevel:         getenv("AWS_LAMBDA_LOG_LEVEL"),
	}
	if c.WorkspaceClaim == "" {
		c.WorkspaceClaim = defaultWorkspaceClaim
	}
	if c.TokenJWKS != "" && !json.Valid([]byte(c.TokenJWKS)) {
		faults = append(faults, errors.New(`TOKEN_JWKS must be a JSON Web Key Set such as {"keys":[…]}`))
	}
	if c.TokenJWKS != "" && c.TokenJWKSURL != "" {
		faults = append(faults, errors.New("TOKEN_JWKS and TOKEN_JWKS_URL exclude each other; set one or none"))
	}
	if c.TokenJWKS == "" && c.TokenJWKSURL == "" {
		address("TOKEN_ISSUER") // its keys are found at this address
	}
	if text := getenv("CREATE_LIMIT"); text != "" {
		var err error
		if c.CreateLimit, err = quota.ParsePolicy(text); err != nil {
			faults = append(faults, fmt.Errorf("CREATE_LIMIT %w", err))
		}
	}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		if c.DynamoDBEndpoint == "" {
			faults = append(faults, errors.New("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set; Lambda sets them, elsewhere they must be those of an AWS user"))
		}
		c.AccessKeyID, c.SecretAccessKey = "local", "local" // DynamoDB Local takes any
	}
	return c, errors.Join(faults...)
}
