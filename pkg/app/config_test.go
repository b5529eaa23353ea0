package app_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"syncplane/pkg/app"
)

const ignore = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"

// sdkEndpoints returns the endpoints of the clients that the SDK makes from the
// process's environment.
func sdkEndpoints(t *testing.T) map[string]string {
	t.Helper()
	c, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"DYNAMODB":    aws.ToString(dynamodb.NewFromConfig(c).Options().BaseEndpoint),
		"EVENTBRIDGE": aws.ToString(eventbridge.NewFromConfig(c).Options().BaseEndpoint),
		"SCHEDULER":   aws.ToString(scheduler.NewFromConfig(c).Options().BaseEndpoint),
		"SQS":         aws.ToString(sqs.NewFromConfig(c).Options().BaseEndpoint),
	}
}

// TestEndpoint compares Endpoint with what is expected and with the SDK.
func TestEndpoint(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, file := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(file, none)
	}
	t.Setenv("AWS_CA_BUNDLE", "") // the SDK would parse it for each configuration
	const global, own = "http://127.0.0.1:4566", "https://dynamodb.example.com"
	services := []string{"DYNAMODB", "EVENTBRIDGE", "SCHEDULER", "SQS"}
	all := func(endpoint string) map[string]string {
		want := map[string]string{}
		for _, service := range services {
			want[service] = endpoint
		}
		return want
	}
	mixed := all(global)
	mixed["DYNAMODB"] = own
	each := map[string]string{}
	for _, service := range services {
		each["AWS_ENDPOINT_URL_"+service] = "http://" + strings.ToLower(service) + ".example.com"
	}
	for name, test := range map[string]struct {
		set  map[string]string
		want map[string]string
	}{
		"none":                        {nil, all("")},
		"global":                      {map[string]string{"AWS_ENDPOINT_URL": global}, all(global)},
		"one service":                 {map[string]string{"AWS_ENDPOINT_URL_SQS": own}, map[string]string{"DYNAMODB": "", "EVENTBRIDGE": "", "SCHEDULER": "", "SQS": own}},
		"service before global":       {map[string]string{"AWS_ENDPOINT_URL": global, "AWS_ENDPOINT_URL_DYNAMODB": own}, mixed},
		"each service":                {each, map[string]string{"DYNAMODB": each["AWS_ENDPOINT_URL_DYNAMODB"], "EVENTBRIDGE": each["AWS_ENDPOINT_URL_EVENTBRIDGE"], "SCHEDULER": each["AWS_ENDPOINT_URL_SCHEDULER"], "SQS": each["AWS_ENDPOINT_URL_SQS"]}},
		"an empty service":            {map[string]string{"AWS_ENDPOINT_URL": global, "AWS_ENDPOINT_URL_DYNAMODB": ""}, all(global)},
		"an empty global":             {map[string]string{"AWS_ENDPOINT_URL": ""}, all("")},
		"an unknown service":          {map[string]string{"AWS_ENDPOINT_URL_S3": own}, all("")},
		"ignored":                     {map[string]string{ignore: "true", "AWS_ENDPOINT_URL": global, "AWS_ENDPOINT_URL_DYNAMODB": own}, all("")},
		"ignored, in capitals":        {map[string]string{ignore: "True", "AWS_ENDPOINT_URL": global}, all("")},
		"ignored, though invalid":     {map[string]string{ignore: "true", "AWS_ENDPOINT_URL": "x", "AWS_ENDPOINT_URL_DYNAMODB": "y"}, all("")},
		"not ignored":                 {map[string]string{ignore: "FALSE", "AWS_ENDPOINT_URL": global}, all(global)},
		"an empty variable to ignore": {map[string]string{ignore: "", "AWS_ENDPOINT_URL": global, "AWS_ENDPOINT_URL_DYNAMODB": own}, mixed},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range test.set {
				t.Setenv(name, value)
			}
			e := &app.Environment{Getenv: os.Getenv}
			got := map[string]string{}
			for _, service := range services {
				got[service] = e.Endpoint("AWS_ENDPOINT_URL_" + service)
			}
			if !maps.Equal(got, test.want) || e.Err() != nil {
				t.Errorf("got %v, %v, want %v", got, e.Err(), test.want)
			}
			if sdk := sdkEndpoints(t); !maps.Equal(sdk, test.want) {
				t.Errorf("the SDK has %v, want %v", sdk, test.want)
			}
		})
	}
}

// TestEndpointErrors checks that each invalid variable is one error, however many
// services it is for.
func TestEndpointErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		set  map[string]string
		want []string
	}{
		"global":                 {map[string]string{"AWS_ENDPOINT_URL": "localhost:4566"}, []string{`AWS_ENDPOINT_URL must be an http or https address, got "localhost:4566"`}},
		"a service":              {map[string]string{"AWS_ENDPOINT_URL_SQS": "x"}, []string{`AWS_ENDPOINT_URL_SQS must be an http or https address, got "x"`}},
		"both":                   {map[string]string{"AWS_ENDPOINT_URL": "x", "AWS_ENDPOINT_URL_DYNAMODB": "y"}, []string{`AWS_ENDPOINT_URL_DYNAMODB must be an http or https address, got "y"`, `AWS_ENDPOINT_URL must be an http or https address, got "x"`}},
		"neither true nor false": {map[string]string{ignore: "1"}, []string{ignore + ` must be true or false, got "1"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &app.Environment{Getenv: func(name string) string { return test.set[name] }}
			for _, service := range []string{"DYNAMODB", "SQS"} {
				e.Endpoint("AWS_ENDPOINT_URL_" + service)
			}
			if err := e.Err(); err == nil || err.Error() != strings.Join(test.want, "\n") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
