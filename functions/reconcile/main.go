// Command reconcile is the Lambda behind the daily comparison of table and schedules.
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
