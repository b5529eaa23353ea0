// Command server starts DynamoDB Local, prints its endpoint, and closes it when
// its standard input ends. Tests run it to have processes that they can kill.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"syncplane/pkg/emulator/dynamodblocal"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	server, err := dynamodblocal.Start(context.Background(), dynamodblocal.Options{
		Getenv:   os.Getenv,
		Progress: os.Stderr,
	})
	if err != nil {
		return err
	}
	fmt.Println(server.Endpoint)
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return server.Close()
}
