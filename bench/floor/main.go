// Command floor is a Lambda function that does the least for a create: it puts the
// unchecked body into DynamoDB. The benchmark compares the API function with it.
package main

import (
	"context"
	"os"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func main() {
	client := dynamodb.New(dynamodb.Options{
		Region:       os.Getenv("AWS_REGION"),
		BaseEndpoint: aws.String(os.Getenv("AWS_ENDPOINT_URL_DYNAMODB")),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}, nil
		}),
	})
	table := os.Getenv("TABLE_NAME")
	lambda.Start(func(ctx context.Context, event events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
		_, err := client.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: &table,
			Item:      map[string]types.AttributeValue{"pk": text("floor"), "sk": text(event.RequestContext.RequestID), "body": text(event.Body)},
		})
		return events.APIGatewayV2HTTPResponse{StatusCode: 200, Body: event.Body}, err
	})
}
