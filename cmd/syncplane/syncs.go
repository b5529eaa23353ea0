package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/apply"
	"syncplane/cmd/syncplane/internal/remote"
	"syncplane/pkg/client"
	"syncplane/pkg/syncs"
)

// apiCommand holds the settings that all commands for the API have.
type apiCommand struct {
	remoteConfig

	env  environment
	json bool
}

// newSyncs returns the command for syncs.
func newSyncs(env environment) *cobra.Command {
	c := &apiCommand{env: env}
	cmd := newGroup(&cobra.Command{
		Use:     "syncs",
		Short:   "Create, read, list, change, pause, resume and delete syncs",
		Long:    "Syncs calls the API.\n\n" + syncHelp + "\n\n" + remoteHelp,
		Example: "  syncplane syncs list",
	})
	defineRemote(cmd, env, &c.remoteConfig)
	defineJSON(cmd, &c.json)
	cmd.AddCommand(
		newSyncsCreate(c), newSyncsGet(c), newSyncsList(c), newSyncsUpdate(c),
		newSyncsEnable(c, false), newSyncsEnable(c, true), newSyncsDelete(c),
	)
	return cmd
}

// oneSync describes the argument SYNC.
const oneSync = "the ID or the name of the sync, as syncs list prints them"

// syncHelp describes the argument SYNC.
const syncHelp = `SYNC is the ID of a sync, or the name that syncplane apply gave it. An argument that
is a UUID is an ID; any other is a name. A name is looked up in the list of the syncs,
which needs the scope syncs:read. It must be the name of exactly one sync.`

// parseSyncID parses the ID of a sync, a UUID of 36 characters.
func parseSyncID(text string) (id client.SyncID, ok bool) {
	id, err := uuid.Parse(text)
	return id, err == nil && len(text) == len(id.String())
}

// findSync returns the ID of the sync that an argument names.
func findSync(ctx context.Context, api *client.ClientWithResponses, text string) (client.SyncID, error) {
	id, ok := parseSyncID(text)
	if ok {
		return id, nil
	}
	var found []string
	for page, err := range remote.Pages(ctx, api, nil) {
		if err != nil {
			return id, fmt.Errorf("find the sync %.300q: %w", text, err)
		}
		for _, s := range page.JSON200.Data {
			if apply.NameOf(s) == text {
				id = s.ID
				found = append(found, s.ID.String())
			}
		}
	}
	switch len(found) {
	case 0:
		return id, fmt.Errorf("no sync has the name %.300q; syncplane syncs list prints the names and the IDs", text)
	case 1:
		return id, nil
	}
	slices.Sort(found) // oldest first
	return id, fmt.Errorf("%d syncs have the name %.300q, %s; give one of these IDs, or delete the sync that is not wanted", len(found), text, listOf(found, "and"))
}

// syncFields holds the fields of a sync from a file and from flags.
type syncFields struct {
	file   string
	values map[string]json.RawMessage // from flags
}

// defineFields adds a flag for each field of a sync, and -f.
func (f *syncFields) defineFields(cmd *cobra.Command) {
	f.values = map[string]json.RawMessage{}
	define(cmd, cmd.Flags(), &f.file, setting[string]{
		flag: "file", letter: "f", kind: kindFile, parse: parseGiven("the name of a file, or - for standard input"),
		usage: "a JSON file with the fields of the sync, or with {\"sync\": {…}}; - for standard input",
	})
	integer := func(text string) (json.RawMessage, error) {
		if _, err := strconv.ParseInt(text, 10, 64); err != nil {
			return nil, fmt.Errorf("must be an integer, got %q", text)
		}
		return json.RawMessage(text), nil
	}
	quoted := func(text string) (json.RawMessage, error) { return json.Marshal(text) }
	object := func(text string) (json.RawMessage, error) {
		if !json.Valid([]byte(text)) || jsontext.Value(text).Kind() != jsontext.KindBeginObject {
			return nil, fmt.Errorf("must be a JSON object, got %.60q", text)
		}
		return json.RawMessage(text), nil
	}
	for _, s := range []setting[json.RawMessage]{
		{flag: "source-id", kind: "number", parse: integer, usage: "the source"},
		{flag: "destination-id", kind: "number", parse: integer, usage: "the destination"},
		{flag: "model-id", kind: "number", parse: integer, usage: "the model"},
		{flag: "stream-name", kind: "text", parse: quoted, usage: "the stream of the destination"},
		{flag: "sync-interval", kind: "minutes", parse: integer, usage: "the interval, in minutes"},
		{flag: "cron-expression", kind: "cron", parse: quoted, usage: "the cron expression, which takes precedence over the interval"},
		{flag: "cursor-field", kind: "text", parse: quoted, usage: "the cursor field; it cannot be changed"},
		{flag: "configuration", kind: "json", parse: object, usage: "the configuration, a JSON object"},
	} {
		define(cmd, cmd.Flags(), new(json.RawMessage), setting[json.RawMessage]{
			flag: s.flag, kind: s.kind, usage: s.usage,
			parse: func(text string) (json.RawMessage, error) {
				value, err := s.parse(text)
				if err == nil {
					f.values[fieldOf(s.flag)] = value
				}
				return value, err
			},
		})
	}
}

// fieldOf returns the name of the field that a flag sets.
func fieldOf(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// read returns the fields of the file and of the flags, which take precedence, and
// defaults.
func (f *syncFields) read(env environment, defaults map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	fields := maps.Clone(defaults)
	if f.file != "" {
		text, err := readInput(env, f.file)
		if err != nil {
			return nil, err
		}
		var document map[string]json.RawMessage
		if jsontext.Value(text).IsValid() { // json.Unmarshal takes the last of two equal members
			err = json.Unmarshal(text, &document)
		}
		if inner, ok := document["sync"]; err == nil && ok && len(document) == 1 {
			document = nil
			err = json.Unmarshal(inner, &document)
		}
		if err != nil || document == nil {
			return nil, usageErrorf("%s must hold a JSON object with the fields of a sync, none of them twice", f.file)
		}
		maps.Copy(fields, document)
	}
	maps.Copy(fields, f.values)
	return fields, nil
}

// bodyOf returns the body of a request with fields.
func bodyOf(fields map[string]json.RawMessage) ([]byte, error) {
	text := []byte(`{"sync":{`)
	for i, name := range slices.Sorted(maps.Keys(fields)) { // json.Marshal would change a configuration
		if i > 0 {
			text = append(text, ',')
		}
		quoted, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			return nil, usageErrorf("the name of a field: %w", err)
		}
		text = append(append(append(text, quoted...), ':'), fields[name]...)
	}
	return append(text, "}}"...), nil
}

func newSyncsCreate(c *apiCommand) *cobra.Command {
	var fields syncFields
	key := ""
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a sync",
		Long: `Create creates a sync from flags or from a JSON file. configuration, schedule_type,
sync_mode and sync_interval_unit may be left out.`,
		Example: `  syncplane syncs create --source-id 1 --destination-id 2 --model-id 3 --stream-name contacts --sync-interval 30
  syncplane syncs create --source-id 1 --destination-id 2 --model-id 3 --stream-name orders --sync-interval 60 --cron-expression '0 6 * * 1-5' --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values, err := fields.read(c.env, map[string]json.RawMessage{
				"configuration": json.RawMessage(`{}`), "schedule_type": json.RawMessage(`"` + syncs.ScheduleAutomated + `"`),
				"sync_mode": json.RawMessage(`"` + syncs.ModeFullRefresh + `"`), "sync_interval_unit": json.RawMessage(`"` + syncs.UnitMinutes + `"`),
			})
			if err != nil {
				return err
			}
			body, err := bodyOf(values)
			if err != nil {
				return err
			}
			api, err := c.open()
			if err != nil {
				return err
			}
			params := client.CreateSyncParams{}
			if key != "" {
				params.IdempotencyKey = &key
			}
			response, err := api.CreateSyncWithBodyWithResponse(cmd.Context(), &params, "application/json", bytes.NewReader(body))
			if err := remote.Check(response, err); err != nil {
				return err
			}
			return c.printSync(response.JSON200, response.Body)
		},
	}
	fields.defineFields(cmd)
	defineIdempotencyKey(cmd, &key, "repeated creates with the same key create one sync")
	return cmd
}

func newSyncsGet(c *apiCommand) *cobra.Command {
	return &cobra.Command{
		Use:     "get SYNC",
		Short:   "Print a sync",
		Long:    "Get prints a sync.\n\n" + syncHelp,
		Example: "  syncplane syncs get contacts-to-crm\n  syncplane syncs get \"$(syncplane syncs list --json | jq -r '.[0].id')\"",
		Args:    oneArgument(oneSync),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withSync(cmd.Context(), args[0], func(api *client.ClientWithResponses, id client.SyncID) error {
				response, err := api.ReadSyncWithResponse(cmd.Context(), id, nil)
				if err := remote.Check(response, err); err != nil {
					return err
				}
				return c.printSync(response.JSON200, response.Body)
			})
		},
	}
}

// withSync calls do with a client and the ID of the sync that an argument names.
func (c *apiCommand) withSync(ctx context.Context, text string, do func(api *client.ClientWithResponses, id client.SyncID) error) error {
	if text == "" {
		return usageErrorf("the sync must be an ID or a name, as syncplane syncs list prints them, got an empty text")
	}
	api, err := c.open()
	if err != nil {
		return err
	}
	id, err := findSync(ctx, api, text)
	if err != nil {
		return err
	}
	return do(api, id)
}

func newSyncsList(c *apiCommand) *cobra.Command {
	status := ""
	var statuses []string
	for _, s := range syncs.Statuses() {
		statuses = append(statuses, string(s))
	}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the syncs of the workspace, newest first",
		Example: "  syncplane syncs list --status pending\n  syncplane syncs list --json",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.listSyncs(cmd.Context(), status) },
	}
	define(cmd, cmd.Flags(), &status, setting[string]{
		flag: "status", kind: "status", values: statuses, parse: parseOneOf(statuses...), usage: "only those with a status: " + listOf(statuses, "or"),
	})
	return cmd
}

// listSyncs prints all pages.
func (c *apiCommand) listSyncs(ctx context.Context, status string) error {
	api, err := c.open()
	if err != nil {
		return err
	}
	var wanted *client.SyncStatus
	if status != "" {
		wanted = new(client.SyncStatus(status))
	}
	var all []json.RawMessage
	rows := newTable(c.env.stdout, "ID", "NAME", "STATUS", "STREAM", "SCHEDULE", "SOURCE", "DESTINATION", "MODEL", "NEXT RUN")
	for page, err := range remote.Pages(ctx, api, wanted) {
		if err != nil {
			return err
		}
		data, err := dataOf(page.Body)
		if err != nil {
			return err
		}
		all = append(all, data...)
		for _, s := range page.JSON200.Data {
			a := s.Attributes
			rows.row(s.ID, new(apply.NameOf(s)), a.Status, a.StreamName, scheduleOf(a), a.SourceID, a.DestinationID, a.ModelID, a.NextRunAt)
		}
	}
	if c.json {
		return printArray(c.env.stdout, all)
	}
	return rows.Flush()
}

// scheduleOf returns the cron expression or the interval of a sync.
func scheduleOf(a client.SyncAttributes) string {
	if a.CronExpression != nil {
		return *a.CronExpression
	}
	return fmt.Sprintf("every %d minutes", a.SyncInterval)
}

func newSyncsUpdate(c *apiCommand) *cobra.Command {
	var fields syncFields
	match := ""
	cmd := &cobra.Command{
		Use:   "update SYNC",
		Short: "Change fields of a sync",
		Long: `Update changes the fields that flags or a JSON file name. A configuration is replaced
as a whole, except for the name of the sync in its member ` + apply.NameMember + `, which stays
unless the new configuration has that member.

` + syncHelp,
		Example: `  syncplane syncs update contacts-to-crm --sync-interval 45 --cron-expression ''
  syncplane syncs update "$(syncplane syncs list --json | jq -r '.[0].id')" --stream-name contacts`,
		Args: oneArgument(oneSync),
		RunE: func(cmd *cobra.Command, args []string) error {
			values, err := fields.read(c.env, map[string]json.RawMessage{})
			if err != nil {
				return err
			}
			return c.withSync(cmd.Context(), args[0], func(api *client.ClientWithResponses, id client.SyncID) error {
				if configuration, ok := values["configuration"]; ok {
					before, err := api.ReadSyncWithResponse(cmd.Context(), id, nil)
					if err := remote.Check(before, err); err != nil {
						return err
					}
					values["configuration"] = json.RawMessage(apply.KeepName(jsontext.Value(configuration), *before.JSON200))
				}
				body, err := bodyOf(values)
				if err != nil {
					return err
				}
				params := client.ChangeSyncParams{}
				if match != "" {
					params.IfMatch = &match
				}
				response, err := api.ChangeSyncWithBodyWithResponse(cmd.Context(), id, &params, "application/json", bytes.NewReader(body))
				if err := remote.Check(response, err); err != nil {
					return err
				}
				return c.printSync(response.JSON200, response.Body)
			})
		},
	}
	fields.defineFields(cmd)
	define(cmd, cmd.Flags(), &match, setting[string]{flag: "if-match", kind: "etag", parse: parseTag, usage: `change only this version, by its ETag, such as '"3"'`})
	return cmd
}

// newSyncsEnable returns the command that resumes a sync, or the one that pauses it.
func newSyncsEnable(c *apiCommand, enable bool) *cobra.Command {
	name, short := "pause", "Pause a sync, so that it does not run"
	if enable {
		name, short = "resume", "Resume a sync that is paused"
	}
	return &cobra.Command{
		Use:     name + " SYNC",
		Short:   short,
		Long:    short + ".\n\n" + syncHelp,
		Example: "  syncplane syncs " + name + " contacts-to-crm",
		Args:    oneArgument(oneSync),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withSync(cmd.Context(), args[0], func(api *client.ClientWithResponses, id client.SyncID) error {
				response, err := api.EnableSyncWithResponse(cmd.Context(), id, nil, client.Enable{Enable: enable})
				if err := remote.Check(response, err); err != nil {
					return err
				}
				return c.printSync(response.JSON200, response.Body)
			})
		},
	}
}

func newSyncsDelete(c *apiCommand) *cobra.Command {
	return &cobra.Command{
		Use:     "delete SYNC",
		Short:   "Delete a sync",
		Long:    "Delete deletes a sync.\n\n" + syncHelp,
		Example: "  syncplane syncs delete contacts-to-crm",
		Args:    oneArgument(oneSync),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withSync(cmd.Context(), args[0], func(api *client.ClientWithResponses, id client.SyncID) error {
				response, err := api.DeleteSyncWithResponse(cmd.Context(), id, nil)
				return remote.Check(response, err)
			})
		},
	}
}

// printSync prints a sync.
func (c *apiCommand) printSync(s *client.Sync, body []byte) error {
	if c.json {
		return printJSON(c.env.stdout, body)
	}
	a := s.Attributes
	rows := newTable(c.env.stdout, "id", s.ID)
	rows.row("name", new(apply.NameOf(*s)))
	rows.row("status", a.Status)
	rows.row("stream_name", a.StreamName)
	rows.row("schedule", scheduleOf(a))
	rows.row("source_id", a.SourceID)
	rows.row("destination_id", a.DestinationID)
	rows.row("model_id", a.ModelID)
	rows.row("cursor_field", a.CursorField)
	rows.row("configuration", string(a.Configuration))
	rows.row("created_at", a.CreatedAt)
	rows.row("updated_at", a.UpdatedAt)
	rows.row("next_run_at", a.NextRunAt)
	return rows.Flush()
}
