package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/schedule"
	"syncplane/pkg/syncs"
)

// newWhen returns the command that explains a schedule.
func newWhen(env environment) *cobra.Command {
	return &cobra.Command{
		Use:   "when CRON|MINUTES",
		Short: "Print what a schedule means and when it runs next",
		Long: `When prints what a cron expression means, or an interval in minutes from now
on, its next five runs, and its expressions for EventBridge Scheduler.`,
		Example: `  syncplane when '0 6 * * 1-5'
  syncplane when 90`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(_ *cobra.Command, args []string) error { return when(env, args) },
	}
}

func when(env environment, args []string) error {
	text := strings.Join(args, " ") // quoted or not
	if text == "" {
		return usageErrorf("when takes a cron expression such as %q, or a number of minutes", schedule.Example)
	}
	now := time.Now()
	var s schedule.Schedule
	if minutes, err := strconv.ParseInt(text, 10, 64); err == nil {
		if minutes < 1 || minutes > syncs.MaxInterval {
			return usageErrorf("an interval must be 1 to %d minutes, got %d", syncs.MaxInterval, minutes)
		}
		s = schedule.Every(minutes, now)
	} else {
		cron, err := schedule.Parse(text)
		if err != nil {
			return &usageError{err}
		}
		s = schedule.At(cron)
	}
	fmt.Fprintln(env.stdout, s)
	const next = 5
	for _, at := range s.Times(now, next) {
		fmt.Fprintln(env.stdout, at.Format("  Mon 2006-01-02T15:04:05Z"))
	}
	for _, expression := range reconciler.Expressions(s) {
		fmt.Fprintln(env.stdout, " ", expression)
	}
	return nil
}
