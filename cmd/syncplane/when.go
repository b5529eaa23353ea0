package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"syncplane/pkg/cloud/reconciler"
	"syncplane/pkg/schedule"
	"syncplane/pkg/syncs"
)

// when prints what a cron expression, or an interval in minutes from now on, means,
// its next runs and its schedule expressions for EventBridge Scheduler.
func when(env environment, args []string) error {
	text := strings.Join(args, " ") // quoted or not
	if text == "" {
		return fmt.Errorf("when takes a cron expression such as %q, or a number of minutes", schedule.Example)
	}
	now := time.Now()
	var s schedule.Schedule
	if minutes, err := strconv.ParseInt(text, 10, 64); err == nil {
		if minutes < 1 || minutes > syncs.MaxInterval {
			return fmt.Errorf("an interval must be 1 to %d minutes, got %d", syncs.MaxInterval, minutes)
		}
		s = schedule.Every(minutes, now)
	} else {
		cron, err := schedule.Parse(text)
		if err != nil {
			return err
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
