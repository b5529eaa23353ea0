package dynamotest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"syncplane/pkg/testkit/dynamotest"
)

func TestSharedServer(t *testing.T) {
	endpoint := dynamotest.Endpoint(t)
	db := dynamodb.New(dynamodb.Options{
		BaseEndpoint: &endpoint,
		Region:       "eu-central-1",
		Credentials:  aws.AnonymousCredentials{},
	})
	// It refuses anonymous calls with DynamoDB's own error.
	_, err := db.ListTables(t.Context(), &dynamodb.ListTablesInput{})
	if err == nil || !strings.Contains(err.Error(), "MissingAuthenticationToken") {
		t.Errorf("got %v, want DynamoDB's MissingAuthenticationToken", err)
	}
	if again := dynamotest.Endpoint(t); again != endpoint {
		t.Errorf("the second endpoint is %s, the first was %s", again, endpoint)
	}
}

func TestEndpoint(t *testing.T) {
	if _, nested := os.LookupEnv("DYNAMOTEST_NESTED"); nested {
		t.Log("endpoint:", dynamotest.Endpoint(t))
		return
	}
	for _, c := range []struct {
		name   string
		env    []string
		passes bool
		want   []string
	}{
		{"given", []string{"AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:4711"}, true, []string{"endpoint: http://127.0.0.1:4711", "--- PASS"}},
		{"shared", []string{dynamotest.SharedVariable + "=http://127.0.0.1:4712"}, true, []string{"endpoint: http://127.0.0.1:4712", "--- PASS"}},
		{"skipped", []string{"CI="}, true, []string{"--- SKIP", "NOT TESTED", "needs java", "openjdk"}},
		{"failed in continuous integration", []string{"CI=true"}, false, []string{"--- FAIL", "needs java", "openjdk"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			program, err := filepath.Abs(os.Args[0])
			if err != nil {
				t.Fatal(err)
			}
			command := exec.CommandContext(t.Context(), program, "-test.v", "-test.run=^TestEndpoint$")
			command.Env = append(os.Environ(), "DYNAMOTEST_NESTED=1", "AWS_ENDPOINT_URL_DYNAMODB=", dynamotest.SharedVariable+"=", "PATH="+t.TempDir(),
				"GORACE=atexit_sleep_ms=0") // by default a second
			command.Env = append(command.Env, c.env...)
			text, err := command.CombinedOutput()
			if (err == nil) != c.passes {
				t.Errorf("ended with %v: %s", err, text)
			}
			for _, part := range c.want {
				if !strings.Contains(string(text), part) {
					t.Errorf("%s lacks %q", text, part)
				}
			}
		})
	}
}
