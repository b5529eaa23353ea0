// Command reconcile is the Lambda function that reconciles all schedules once a day.
package main

import (
	"fmt"
	"os"

	"syncplane/pkg/app/eventfunc"
)

func main() {
	if err := eventfunc.Reconcile(os.Getenv, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "the function cannot start:\n%v\n", err)
		os.Exit(1)
	}
}
