package httpfunc

import (
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"syncplane/pkg/api"
)

// namespace is the CloudWatch namespace of the metrics.
const namespace = "Syncplane"

// metadata is the member "_aws" with which CloudWatch extracts metrics from a log
// line, without an API call (the specification of the embedded metric format).
type metadata struct {
	Timestamp         int64 // milliseconds since 1970
	CloudWatchMetrics []directive
}

type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []metric
}

type metric struct {
	Name string
	Unit string
}

// observe returns a hook that adds attributes to the log line of a request:
// cold_start, and unless function is "" those that CloudWatch extracts: the number of
// requests by status class, their latency, and the number of cold starts. The name of
// the function keeps the metrics of several stacks in one account apart.
func observe(now func() time.Time, function string) func(api.Observation) []slog.Attr {
	var warm atomic.Bool
	return func(o api.Observation) []slog.Attr {
		cold := !warm.Swap(true)
		attrs := append(make([]slog.Attr, 0, 6), slog.Bool("cold_start", cold))
		if function == "" {
			return attrs
		}
		class := "Requests" + strconv.Itoa(o.Status/100) + "xx"
		coldStarts := 0
		if cold {
			coldStarts = 1
		}
		return append(attrs,
			slog.String("function", function),
			slog.Int(class, 1),
			slog.Float64("Latency", o.Milliseconds), //nolint:sloglint // CloudWatch shows the name
			slog.Int("ColdStarts", coldStarts),      //nolint:sloglint // as above
			slog.Any("_aws", metadata{ //nolint:sloglint // CloudWatch's own name
				Timestamp: now().UnixMilli(),
				CloudWatchMetrics: []directive{{
					Namespace:  namespace,
					Dimensions: [][]string{{"function", "path", "method"}},
					Metrics:    []metric{{class, "Count"}, {"Latency", "Milliseconds"}, {"ColdStarts", "Count"}},
				}},
			}),
		)
	}
}
