package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/client"
	"syncplane/pkg/syncjson"
)

// newRuns returns the command for runs.
func newRuns(env environment) *cobra.Command {
	c := &apiCommand{env: env}
	cmd := newGroup(&cobra.Command{
		Use:     "runs",
		Short:   "List, show, trigger and cancel runs",
		Long:    "Runs calls the API.\n\n" + syncHelp + "\n\n" + remoteHelp,
		Example: "  syncplane runs list",
	})
	defineRemote(cmd, env, &c.remoteConfig)
	defineJSON(cmd, &c.json)
	cmd.AddCommand(newRunsList(c), newRunsShow(c), newRunsTrigger(c), newRunsCancel(c))
	return cmd
}

func newRunsList(c *apiCommand) *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use:   "list [SYNC]",
		Short: "List the runs of a sync, newest first, or all runs that have not ended",
		Long:  "List prints the runs of a sync, newest first, or all runs that have not ended.\n\n" + syncHelp,
		Example: `  syncplane runs list
  syncplane runs list contacts-to-crm --limit 20`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch len(args) {
			case 0:
				return c.listOpenRuns(cmd.Context(), limit)
			case 1:
				return c.withSync(cmd.Context(), args[0], func(api *client.ClientWithResponses, id client.SyncID) error {
					return c.listRuns(cmd.Context(), api, id, limit)
				})
			}
			return usageErrorf("runs list takes at most one argument, the ID or the name of a sync; see %s --help", cmd.CommandPath())
		},
	}
	define(cmd, cmd.Flags(), &limit, setting[int]{flag: "limit", fallback: "100", kind: "number", parse: parseLimit, usage: "how many runs at most"})
	return cmd
}

// maxRunsPage is how many runs are listed at once, the most that the API returns.
const maxRunsPage = 100

// listOpenRuns prints the runs of the workspace that have not ended.
func (c *apiCommand) listOpenRuns(ctx context.Context, limit int) error {
	api, err := c.open()
	if err != nil {
		return err
	}
	size := min(limit, maxRunsPage)
	params := client.ListOpenRunsParams{PageSize: &size}
	return c.printRuns(limit, func(after *string) (*client.SyncRunList, []byte, error) {
		params.PageAfter = after
		page, err := api.ListOpenRunsWithResponse(ctx, &params)
		if err := remote.Check(page, err); err != nil {
			return nil, nil, err
		}
		return page.JSON200, page.Body, nil
	})
}

// listRuns prints the runs of a sync.
func (c *apiCommand) listRuns(ctx context.Context, api *client.ClientWithResponses, id client.SyncID, limit int) error {
	size := min(limit, maxRunsPage)
	params := client.ListRunsParams{PageSize: &size}
	return c.printRuns(limit, func(after *string) (*client.SyncRunList, []byte, error) {
		params.PageAfter = after
		page, err := api.ListRunsWithResponse(ctx, id, &params)
		if err := remote.Check(page, err); err != nil {
			return nil, nil, err
		}
		return page.JSON200, page.Body, nil
	})
}

// printRuns prints up to limit runs of the pages that next returns.
func (c *apiCommand) printRuns(limit int, next func(after *string) (*client.SyncRunList, []byte, error)) error {
	var all []json.RawMessage
	rows := newTable(c.env.stdout, "RUN", "STATUS", "TRIGGER", "STARTED", "FINISHED", "SUCCESSFUL", "FAILED", "ERROR")
	for after, first := (*string)(nil), true; (first || after != nil) && len(all) < limit; first = false {
		page, body, err := next(after)
		if err != nil {
			return err
		}
		data, err := dataOf(body)
		if err != nil {
			return err
		}
		for i, run := range page.Data {
			if len(all) == limit {
				break
			}
			all = append(all, data[i])
			a := run.Attributes
			reason := a.Error
			if reason == nil {
				reason = a.ErrorCode
			}
			rows.row(run.ID, a.Status, a.Trigger, a.StartedAt, a.FinishedAt, a.SuccessfulRows, a.FailedRows, reason)
		}
		after = page.Meta.Page.After
	}
	if c.json {
		return printArray(c.env.stdout, all)
	}
	return rows.Flush()
}

// parseRunID parses the ID of a run: the ID of its sync, a slash and its time.
func parseRunID(text string) (client.SyncID, client.SyncRunTime, error) {
	sync, at, _ := strings.Cut(text, "/")
	id, isID := parseSyncID(sync)
	if _, ok := syncjson.ParseRunTime(at); !ok || !isID {
		return id, at, usageErrorf("the ID of a run must be that of its sync, a slash and a time such as 2026-11-24T06:00:00Z, as runs list prints it, got %.80q", text)
	}
	return id, at, nil
}

func newRunsShow(c *apiCommand) *cobra.Command {
	return &cobra.Command{
		Use:     "show RUN",
		Short:   "Print a run",
		Example: "  syncplane runs show \"$(syncplane runs list --json | jq -r '.[0].id')\"",
		Args:    oneArgument("the ID of the run, as runs list prints it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, at, err := parseRunID(args[0])
			if err != nil {
				return err
			}
			api, err := c.open()
			if err != nil {
				return err
			}
			response, err := api.ReadRunWithResponse(cmd.Context(), id, at, nil)
			if err := remote.Check(response, err); err != nil {
				return err
			}
			return c.printRun(response.JSON200, response.Body)
		},
	}
}

func newRunsTrigger(c *apiCommand) *cobra.Command {
	test, key := false, ""
	cmd := &cobra.Command{
		Use:     "trigger SYNC",
		Short:   "Run a sync now",
		Long:    "Trigger runs a sync now, and prints the new run, or the one that has not started.\n\n" + syncHelp,
		Example: "  syncplane runs trigger contacts-to-crm",
		Args:    oneArgument(oneSync),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withSync(cmd.Context(), args[0], func(api *client.ClientWithResponses, id client.SyncID) error {
				params, body := client.TriggerRunParams{}, client.TriggerSyncRun{}
				if key != "" {
					params.IdempotencyKey = &key
				}
				if test {
					kind := client.SyncRunKindTest
					body.SyncRun = &client.SyncRunOptions{SyncRunType: &kind}
				}
				response, err := api.TriggerRunWithResponse(cmd.Context(), id, &params, body)
				if err := remote.Check(response, err); err != nil {
					return err
				}
				if response.JSON201 != nil {
					return c.printRun(response.JSON201, response.Body)
				}
				return c.printRun(response.JSON200, response.Body)
			})
		},
	}
	define(cmd, cmd.Flags(), &test, setting[bool]{flag: "test", fallback: "false", kind: kindBool, parse: parseBool, usage: "a test run, which does not count for the status of the sync"})
	defineIdempotencyKey(cmd, &key, "repeated triggers with the same key create one run")
	return cmd
}

func newRunsCancel(c *apiCommand) *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "cancel RUN",
		Short: "Cancel a run",
		Long: `Cancel cancels a run that has not started. If a run is in progress, its executor is
requested to stop.`,
		Example: "  syncplane runs cancel \"$(syncplane runs list --json | jq -r '.[0].id')\" --force",
		Args:    oneArgument("the ID of the run, as runs list prints it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, at, err := parseRunID(args[0])
			if err != nil {
				return err
			}
			api, err := c.open()
			if err != nil {
				return err
			}
			response, err := api.CancelRunWithResponse(cmd.Context(), id, at, client.CancelSyncRun{SyncRun: &client.SyncRunCancellation{Force: &force}})
			if err := remote.Check(response, err); err != nil {
				return err
			}
			if response.JSON202 != nil {
				return c.printRun(response.JSON202, response.Body)
			}
			return c.printRun(response.JSON200, response.Body)
		},
	}
	define(cmd, cmd.Flags(), &force, setting[bool]{flag: "force", fallback: "false", kind: kindBool, parse: parseBool, usage: "end a run that is in progress now"})
	return cmd
}

// printRun prints a run.
func (c *apiCommand) printRun(run *client.SyncRun, body []byte) error {
	if c.json {
		return printJSON(c.env.stdout, body)
	}
	a := run.Attributes
	duration := "-"
	if a.Duration != nil {
		duration = time.Duration(float64(*a.Duration) * float64(time.Second)).Round(time.Millisecond).String()
	}
	rows := newTable(c.env.stdout, "id", run.ID)
	rows.row("status", a.Status)
	rows.row("trigger", a.Trigger)
	rows.row("sync_run_type", a.SyncRunType)
	rows.row("executor", a.Executor)
	rows.row("attempt", a.Attempt)
	rows.row("deadline_at", a.DeadlineAt)
	rows.row("cancel_requested_at", a.CancelRequestedAt)
	rows.row("started_at", a.StartedAt)
	rows.row("finished_at", a.FinishedAt)
	rows.row("duration", duration)
	rows.row("total_query_rows", a.TotalQueryRows)
	rows.row("total_rows", a.TotalRows)
	rows.row("skipped_rows", a.SkippedRows)
	rows.row("successful_rows", a.SuccessfulRows)
	rows.row("failed_rows", a.FailedRows)
	rows.row("error", a.Error)
	rows.row("error_code", a.ErrorCode)
	rows.row("log_url", a.LogURL)
	return rows.Flush()
}
