package api

import (
	"log/slog"
	"strconv"
)

// Namespace is where the metrics appear in CloudWatch.
const Namespace = "Syncplane"

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

// metrics are the attributes that count a request: how many there were, by
// status class; how long they took; how many of them met a cold start.
func (a *API) metrics(record record, status int, milliseconds float64) []slog.Attr {
	class := "Requests" + strconv.Itoa(status/100) + "xx"
	coldStarts := 0
	if record.coldStart {
		coldStarts = 1
	}
	return []slog.Attr{
		slog.Int(class, 1),
		slog.Float64("Latency", milliseconds), //nolint:sloglint // as above
		slog.Int("ColdStarts", coldStarts),    //nolint:sloglint // as above
		slog.Any("_aws", metadata{ //nolint:sloglint // CloudWatch's own name
			Timestamp: a.Now().UnixMilli(),
			CloudWatchMetrics: []directive{{
				Namespace:  Namespace,
				Dimensions: [][]string{{"path", "method"}},
				Metrics:    []metric{{class, "Count"}, {"Latency", "Milliseconds"}, {"ColdStarts", "Count"}},
			}},
		}),
	}
}
