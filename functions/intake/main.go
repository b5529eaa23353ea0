// Command intake is the Lambda behind the queue of creates by event.
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
