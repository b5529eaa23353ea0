package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/local/server"
)

// newEvents returns the command for events.
func newEvents(env environment) *cobra.Command {
	c := &apiCommand{env: env}
	cmd := newGroup(&cobra.Command{
		Use:     "events",
		Short:   "Print the events of the local server as they come",
		Long:    "Events calls the local server.\n\n" + remoteHelp,
		Example: "  syncplane events tail --after 0",
	})
	defineRemote(cmd, env, &c.remoteConfig)
	defineJSON(cmd, &c.json)
	after := ""
	tail := &cobra.Command{
		Use:   "tail",
		Short: "Print the events of the workspace until it is interrupted",
		Long: `Tail prints the events of the workspace as they come, one on a line, until it is
interrupted. After a lost connection it continues with the next event. A stack has
no event stream; its events are on its event bus.`,
		Example: `  syncplane events tail
  syncplane events tail --after 0 --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.tail(cmd.Context(), after) },
	}
	define(tail, tail.Flags(), &after, setting[string]{flag: "after", kind: "number", parse: parseEventNumber, usage: "begin after the event with this number; 0 is the oldest that is kept"})
	cmd.AddCommand(tail)
	return cmd
}

// parseEventNumber accepts the number of an event of the stream, and returns it as the
// stream writes it.
func parseEventNumber(text string) (string, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return "", fmt.Errorf("must be the number of an event, 0 or more, got %q", text)
	}
	return strconv.FormatUint(n, 10), nil
}

// reconnectPause is the time until another connection. Our own choice.
const reconnectPause = time.Second

// tail prints events until ctx ends.
func (c *apiCommand) tail(ctx context.Context, after string) error {
	token, err := c.authorization()
	if err != nil {
		return err
	}
	c.rootsFor(c.address)
	address := strings.TrimRight(c.address, "/") + server.StreamPath
	connected := false
	for {
		err := c.stream(ctx, address, token, &after, &connected)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was interrupted
		}
		_, refused := errors.AsType[*remote.Error](err)
		if _, lost := errors.AsType[*outputError](err); lost || refused || !connected {
			return err
		}
		fmt.Fprintln(c.env.stderr, "the connection was lost; connecting again")
		select {
		case <-time.After(reconnectPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// stream prints the events of one connection. It sets connected when the first one is
// there, and after to the number of the last event.
func (c *apiCommand) stream(ctx context.Context, address, token string, after *string, connected *bool) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "text/event-stream")
	if *after != "" {
		r.Header.Set("Last-Event-ID", *after)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return remote.Explain(err, c.address)
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxInput))
		return remote.Failure(response.StatusCode, body)
	}
	*connected = true
	lines := bufio.NewReader(response.Body)
	id := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		if text, ok := strings.CutPrefix(line, "id: "); ok {
			id = text
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			if err := c.printEvent(id, text); err != nil {
				return err
			}
		}
		if line == "" && id != "" {
			*after = id
		}
	}
}

// printEvent prints the data of an event.
func (c *apiCommand) printEvent(id, data string) error {
	if c.json {
		_, err := fmt.Fprintln(c.env.stdout, data)
		return err
	}
	var e struct {
		Type    string `json:"type"`
		Subject string `json:"subject"`
		Time    string `json:"time"`
		From    *int64 `json:"from"`
		To      *int64 `json:"to"`
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil || e.Type == "" {
		fmt.Fprintf(c.env.stderr, "the events up to %s are no longer kept\n", remote.Printable(id))
		return nil //nolint:nilerr // the data of such an event is not that of a sync or a run
	}
	_, err := fmt.Fprintln(c.env.stdout, remote.Printable(id+"  "+e.Time+"  "+e.Type+"  "+e.Subject))
	return err
}
