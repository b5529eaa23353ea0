// Command intake is the Lambda function behind the queue of create requests.
package main

import (
	"fmt"
	"os"

	"syncplane/pkg/app/eventfunc"
)

func main() {
	if err := eventfunc.Intake(os.Getenv, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "the function cannot start:\n%v\n", err)
		os.Exit(1)
	}
}
