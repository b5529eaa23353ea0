package httpfunc_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth"
)

// TestMetrics checks the log lines of a first and a second request, with the metrics
// for CloudWatch and without them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	for _, wanted := range []bool{true, false} {
		var log bytes.Buffer
		handler := httpfunc.API(httpfunc.Deps{
			Caller:    func(context.Context, string) (auth.Caller, error) { return auth.Caller{}, nil },
			Log:       app.Logger(&log, ""),
			MetricsOf: map[bool]string{true: "stack-api"}[wanted],
		})
		for range 2 {
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/nowhere", nil))
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 {
			t.Fatalf("got %q", lines)
		}
		for i, want := range []string{`"cold_start":true`, `"cold_start":false`} {
			if !strings.Contains(lines[i], want) {
				t.Errorf("got %s, want %s in it", lines[i], want)
			}
			const metrics = `"CloudWatchMetrics":[{"Namespace":"Syncplane","Dimensions":[["function","path","method"]],` +
				`"Metrics":[{"Name":"Requests4xx","Unit":"Count"},{"Name":"Latency","Unit":"Milliseconds"},{"Name":"ColdStarts","Unit":"Count"}]}]`
			if strings.Contains(lines[i], metrics) != wanted || strings.Contains(lines[i], `"function":"stack-api","Requests4xx":1`) != wanted {
				t.Errorf("wanted %v: got %s", wanted, lines[i])
			}
		}
	}
}
