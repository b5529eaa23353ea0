// Command function is a Lambda function that carries out the command in its event,
// and the one in INIT before the first event.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// brokenError is an error type with its own name.
type brokenError struct{}

func (brokenError) Error() string { return "it is broken" }

// breakingReader returns an error after its text.
type breakingReader struct{ text io.Reader }

func (b *breakingReader) Read(p []byte) (int, error) {
	n, err := b.text.Read(p)
	if errors.Is(err, io.EOF) {
		err = brokenError{}
	}
	return n, err
}

// slow is how long a slow start takes.
const slow = 1200 * time.Millisecond

func main() {
	switch mode := os.Getenv("INIT"); mode {
	case "exit":
		fmt.Fprintln(os.Stderr, "no table is configured")
		os.Exit(3)
	case "end":
		return
	case "panic":
		panic("no table is configured")
	case "report":
		post("runtime/init/error", `{"errorType":"Config.Missing","errorMessage":"no table is configured"}`, "Config.Missing")
		os.Exit(1)
	case "report-text":
		post("runtime/init/error", `no table is configured`, "Config.Text")
		post("runtime/init/error", `again`, "")
		os.Exit(1)
	case "slow":
		time.Sleep(slow)
		lambda.Start(handle)
	case "hang":
		fmt.Println("waiting for a table")
		time.Sleep(time.Hour)
	case "":
		lambda.Start(handle)
	default:
		log.Fatalf("no such mode: %s", mode)
	}
}

// api returns the address of a path of the Runtime API.
func api(path string) string {
	return "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/" + path
}

// post posts body to a path of the Runtime API and returns the status.
func post(path, body, kind string) int {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, api(path), strings.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Lambda-Runtime-Function-Error-Type", kind)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		log.Fatal(err)
	}
	return response.StatusCode
}

// memory holds the memory that events allocate.
var memory []byte

func handle(ctx context.Context, event json.RawMessage) (any, error) {
	var in struct {
		Do    string
		Path  string
		Body  string
		Bytes int
	}
	if err := json.Unmarshal(event, &in); err != nil {
		return nil, err
	}
	called, _ := lambdacontext.FromContext(ctx)
	switch in.Do {
	case "echo":
		return event, nil
	case "context":
		deadline, _ := ctx.Deadline()
		return map[string]any{
			"pid":         os.Getpid(),
			"request_id":  called.AwsRequestID,
			"arn":         called.InvokedFunctionArn,
			"deadline_ms": deadline.UnixMilli(),
			"trace":       os.Getenv("_X_AMZN_TRACE_ID"),
			"environment": os.Environ(),
		}, nil
	case "fail":
		return nil, brokenError{}
	case "panic":
		panic("out of cheese")
	case "exit":
		os.Exit(in.Bytes)
	case "post": // the status of a call to the Runtime API
		return post(strings.ReplaceAll(in.Path, "ID", called.AwsRequestID), in.Body, ""), nil
	case "repeat": // responds twice, in addition to the library
		path := "runtime/invocation/" + called.AwsRequestID + "/response"
		log.Println("statuses", post(path, `"first"`, ""), post(path, `"second"`, ""))
	case "bytes":
		return bytes.NewBufferString(strings.Repeat("x", in.Bytes)), nil
	case "break":
		return &breakingReader{strings.NewReader("half of it")}, nil
	case "grow":
		memory = bytes.Repeat([]byte{1}, in.Bytes)
	case "list": // the names in the working directory
		return filepath.Glob("*")
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
	case "spawn": // leaves a child process that holds the output
		command := exec.CommandContext(context.Background(), os.Args[0])
		command.Env = append(os.Environ(), "INIT=hang")
		command.Stdout = os.Stdout
		if err := command.Start(); err != nil {
			return nil, err
		}
		return command.Process.Pid, nil
	case "visit": // waits until the visited server responds, even past its deadline
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, in.Path, nil)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return nil, err
		}
		return nil, response.Body.Close()
	default:
		return nil, fmt.Errorf("no such thing to do: %s", in.Do)
	}
	return nil, nil
}
