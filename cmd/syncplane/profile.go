package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

// openProfile reads the AWS profile, which must have credentials. The SDK logs nothing:
// its errors are returned.
func openProfile(ctx context.Context, env environment) (aws.Config, error) {
	env.addRoots()
	profile, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}))
	if err != nil {
		return aws.Config{}, fmt.Errorf("read the AWS profile: %w", err)
	}
	if _, err := profile.Credentials.Retrieve(ctx); err != nil {
		return aws.Config{}, fmt.Errorf("the AWS profile has no valid credentials; log in, for example with aws sso login, or set AWS_PROFILE to another profile: %w", err)
	}
	return profile, nil
}
