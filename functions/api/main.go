// Command api is the Lambda function behind every HTTP route.
package main

import (
	"fmt"
	"os"

	"syncplane/pkg/app/httpfunc"
)

func main() {
	if err := httpfunc.Run(os.Getenv, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "the function cannot start:\n%v\n", err)
		os.Exit(1)
	}
}
