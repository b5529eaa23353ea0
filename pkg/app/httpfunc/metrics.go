package httpfunc

import (
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"syncplane/pkg/api"
)

// namespace is where the metrics appear in CloudWatch.
const namespace = "Syncplane"

// metadata is the member "_aws" that makes CloudWatch read metrics off a log
// line, with no call of ours: the embedded metric format's specification.
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

// observe returns what adds to the log line of a request whether it met a cold
// start, and with metrics the counts that CloudWatch reads: how many requests
// there were, by status class, how long they took, how many met a cold start.
func observe(now func() time.Time, metrics bool) func(api.Observation) []slog.Attr {
	var warm atomic.Bool
	return func(o api.Observation) []slog.Attr {
		cold := !warm.Swap(true)
		attrs := append(make([]slog.Attr, 0, 5), slog.Bool("cold_start", cold))
		if !metrics {
			return attrs
		}
		class := "Requests" + strconv.Itoa(o.Status/100) + "xx"
		coldStarts := 0
		if cold {
			coldStarts = 1
		}
		return append(attrs,
			slog.Int(class, 1),
			slog.Float64("Latency", o.Milliseconds), //nolint:sloglint // CloudWatch shows the name
			slog.Int("ColdStarts", coldStarts),      //nolint:sloglint // as above
			slog.Any("_aws", metadata{ //nolint:sloglint // CloudWatch's own name
				Timestamp: now().UnixMilli(),
				CloudWatchMetrics: []directive{{
					Namespace:  namespace,
					Dimensions: [][]string{{"path", "method"}},
					Metrics:    []metric{{class, "Count"}, {"Latency", "Milliseconds"}, {"ColdStarts", "Count"}},
				}},
			}),
		)
	}
}
