package httpfunc

import (
	"encoding/json"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"syncplane/pkg/api"
)

// namespace is the CloudWatch namespace of the metrics.
const namespace = "Syncplane"

// metadata returns the member "_aws" with which CloudWatch extracts metrics from a log
// line, without an API call (the specification of the embedded metric format). It is
// written without encoding/json, which would take as long as the rest of the line. class
// is the metric of the status.
func metadata(at time.Time, class string) json.RawMessage {
	const most = 300 // bytes
	b := append(make([]byte, 0, most), `{"Timestamp":`...)
	b = strconv.AppendInt(b, at.UnixMilli(), 10)
	b = append(b, `,"CloudWatchMetrics":[{"Namespace":"`+namespace+`","Dimensions":[["function","path","method"]],"Metrics":[{"Name":"`...)
	b = append(b, class...)
	return append(b, `","Unit":"Count"},{"Name":"Latency","Unit":"Milliseconds"},{"Name":"ColdStarts","Unit":"Count"}]}]}`...)
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
			slog.Float64("Latency", o.Milliseconds),  //nolint:sloglint // CloudWatch shows the name
			slog.Int("ColdStarts", coldStarts),       //nolint:sloglint // as above
			slog.Any("_aws", metadata(now(), class)), //nolint:sloglint // CloudWatch's own name
		)
	}
}
