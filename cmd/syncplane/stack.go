package main

import (
	"context"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/spf13/cobra"
)

// stackOutputs returns the output of a stack that holds the value of each variable of
// its functions. A test compares them with template.yaml.
func stackOutputs() map[string]string {
	return map[string]string{
		"TABLE_NAME": "TableName", "API_URL": "ApiUrl", "RUN_RETENTION_DAYS": "RunRetentionDays",
		"EVENT_BUS": "EventBusName", "EVENT_BUS_ARN": "EventBusArn", "SCHEDULE_GROUP": "ScheduleGroupName",
		"SCHEDULE_ROLE_ARN": "ScheduleRoleArn", "SCHEDULE_FAILURES_ARN": "ScheduleFailuresArn",
		"WATCH_QUEUE_URL": "WatchQueueUrl", "RELAY_FAILURES_URL": "RelayFailuresUrl",
	}
}

// The outputs of a stack that are in no variable.
const (
	outputStream           = "TableStreamArn"
	outputScheduleFailures = "ScheduleFailuresUrl"
	outputWebhookFailures  = "WebhookFailuresUrl" // only with a webhook
)

// stack is a stack as the AWS profile reaches it.
type stack struct {
	profile aws.Config
	outputs map[string]string // nil without a name
	env     environment
}

// defineStackName adds the flag for the name of a stack.
func defineStackName(cmd *cobra.Command, to *string) {
	define(cmd, cmd.Flags(), to, setting[string]{
		flag: "stack", kind: "name", parse: parseGiven("the name of a stack"), usage: "the CloudFormation stack, whose outputs are read",
	})
}

// openStack reads the AWS profile, and the outputs of a stack unless its name is "".
func openStack(ctx context.Context, env environment, name string) (*stack, error) {
	profile, err := openProfile(ctx, env)
	if err != nil {
		return nil, err
	}
	if profile.Region == "" && name != "" {
		return nil, usageErrorf("AWS_REGION must be the region of the stack %s, such as eu-central-1, or the AWS profile must have a region", name)
	}
	s := &stack{profile: profile, env: env}
	if name == "" {
		return s, nil
	}
	out, err := cloudformation.NewFromConfig(profile).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil {
		return nil, fmt.Errorf("read the outputs of the stack %s: %w", name, err)
	}
	s.outputs = map[string]string{}
	for _, found := range out.Stacks {
		for _, output := range found.Outputs {
			s.outputs[aws.ToString(output.OutputKey)] = aws.ToString(output.OutputValue)
		}
	}
	for _, output := range stackOutputs() {
		if s.outputs[output] == "" {
			return nil, fmt.Errorf("the stack %s must be one of Syncplane, of this version; it has no output %s", name, output)
		}
	}
	return s, nil
}

// getenv returns a variable of the stack's functions: its output if the stack has a
// name, otherwise the environment variable. Endpoints, the region and the credentials
// are those of the profile.
func (s *stack) getenv(name string) string {
	switch name {
	case "AWS_REGION":
		if s.profile.Region != "" {
			return s.profile.Region
		}
	case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY":
		return "of the profile"
	case "AWS_ENDPOINT_URL_DYNAMODB":
		return aws.ToString(dynamodb.NewFromConfig(s.profile).Options().BaseEndpoint)
	case "AWS_ENDPOINT_URL_SCHEDULER":
		return aws.ToString(scheduler.NewFromConfig(s.profile).Options().BaseEndpoint)
	case "AWS_ENDPOINT_URL_EVENTBRIDGE":
		return aws.ToString(eventbridge.NewFromConfig(s.profile).Options().BaseEndpoint)
	case "AWS_ENDPOINT_URL_SQS":
		return aws.ToString(sqs.NewFromConfig(s.profile).Options().BaseEndpoint)
	}
	if output, ok := stackOutputs()[name]; ok && s.outputs != nil {
		return s.outputs[output]
	}
	return s.env.getenv(name)
}

// credentials returns the credentials of the profile.
func (s *stack) credentials() aws.CredentialsProvider {
	return aws.NewCredentialsCache(s.profile.Credentials)
}
