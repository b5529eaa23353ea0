// Command relay is the Lambda function behind the table's stream.
package main

import (
	"fmt"
	"os"

	"syncplane/pkg/app/eventfunc"
)

func main() {
	if err := eventfunc.Relay(os.Getenv, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "the function cannot start:\n%v\n", err)
		os.Exit(1)
	}
}
