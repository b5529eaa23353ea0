// Package scheduletest generates cron expressions for property tests.
package scheduletest

import (
	"fmt"
	"strconv"
	"strings"

	"pgregory.net/rapid"

	"syncplane/pkg/schedule"
)

// DrawCron draws a valid expression. As in expressions that people write, lists
// are frequent in the minutes and rare elsewhere, and so are restrictions of both
// day fields.
func DrawCron(t *rapid.T) string {
	for {
		var parts []string
		for i, b := range [][2]int{{0, 59}, {0, 23}, {1, 31}, {1, 12}, {0, 7}} {
			item := func() string {
				low := rapid.IntRange(b[0], b[1]).Draw(t, "low")
				high := rapid.IntRange(low, b[1]).Draw(t, "high")
				step := rapid.IntRange(1, b[1]-b[0]).Draw(t, "step")
				switch rapid.IntRange(0, 4).Draw(t, "form") {
				case 0:
					return fmt.Sprintf("%d-%d/%d", low, high, step)
				case 1:
					return fmt.Sprintf("%d-%d", low, high)
				case 2:
					return fmt.Sprintf("*/%0*d", rapid.IntRange(1, 3).Draw(t, "digits"), step)
				default:
					return strconv.Itoa(low)
				}
			}
			if i > 1 && rapid.IntRange(0, 2).Draw(t, "open") > 0 {
				parts = append(parts, "*")
				continue
			}
			var items []string
			for range rapid.IntRange(1, 4).Draw(t, "items") {
				items = append(items, item())
			}
			parts = append(parts, strings.Join(items, ","))
		}
		text := strings.Join(parts, " ")
		if _, err := schedule.Parse(text); err == nil {
			return text
		}
	}
}
