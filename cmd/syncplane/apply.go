package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"syncplane/cmd/syncplane/internal/apply"
)

// maxInput is the size of the largest file that is read, in bytes. Our own choice.
const maxInput = 16 << 20

// applyConfig holds the settings of apply.
type applyConfig struct {
	remoteConfig

	files  []string
	dryRun bool
	prune  bool
}

// newApply returns the command that makes syncs those of a file.
func newApply(env environment) *cobra.Command {
	var c applyConfig
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create, change and delete syncs as a file describes",
		Long: `Apply makes the syncs of a workspace those that a file describes, and prints what
it changes. Applied again, the file changes nothing. An apply that was ended can be
repeated, and two at the same time create no sync twice.

A file is YAML or JSON. A document of it is a sync, a list of syncs, or a member
"syncs" with a list. A sync has a name and the fields of the API; configuration,
schedule_type, sync_mode and sync_interval_unit may be left out. "enabled: false"
pauses it, "enabled: true" resumes it.

The name identifies the sync. It is kept in its configuration, in the member
` + apply.NameMember + `. Syncs without that member are left as they are.

` + remoteHelp,
		Example: `  syncplane apply -f examples/syncs.yaml --dry-run
  syncplane apply -f examples/syncs.yaml
  syncplane apply -f examples/syncs.yaml --prune --dry-run
  syncplane apply -f - <<<'{"name":"contacts","source_id":1,"destination_id":2,"model_id":3,"stream_name":"contacts","sync_interval":30}'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("unexpected argument %q; -f names a file: %s -f %[1]s", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runApply(cmd.Context(), env, c) },
	}
	cmd.Flags().StringArrayVarP(&c.files, "file", "f", nil, "the file, - for standard input; may be given several times")
	define(cmd, cmd.Flags(), &c.dryRun, setting[bool]{
		flag: "dry-run", fallback: "false", kind: kindBool, parse: parseBool, usage: "only print what would change",
	})
	define(cmd, cmd.Flags(), &c.prune, setting[bool]{
		flag: "prune", fallback: "false", kind: kindBool, parse: parseBool, usage: "delete the syncs with a name that the files do not have",
	})
	defineRemote(cmd, env, &c.remoteConfig)
	return cmd
}

func runApply(ctx context.Context, env environment, c applyConfig) error {
	if len(c.files) == 0 || slices.Contains(c.files, "") {
		return usageErrorf("-f must name a file of syncs, such as syncs.yaml; see syncplane apply --help")
	}
	var files []apply.File
	for _, name := range c.files {
		text, err := readInput(env, name)
		if err != nil {
			return err
		}
		files = append(files, apply.File{Name: name, Text: text})
	}
	want, err := apply.Read(files...)
	if err != nil {
		return &usageError{err}
	}
	api, err := c.open()
	if err != nil {
		return err
	}
	applier := apply.Applier{Client: api, Out: env.stdout, DryRun: c.dryRun, Prune: c.prune}
	report, err := applier.Apply(ctx, want)
	if err != nil && ctx.Err() == nil && report == (apply.Report{}) {
		return err
	}
	if c.dryRun {
		fmt.Fprintf(env.stdout, "%v (dry run: nothing was changed)\n", report)
	} else {
		fmt.Fprintf(env.stdout, "%v\n", report)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted; apply the file again to complete it")
	}
	return err
}

// readAll reads up to maxInput bytes.
func readAll(from io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("the file must have at most %d bytes", maxInput)
	}
	return text, err
}
