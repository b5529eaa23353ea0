package templatetest_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/testkit/templatetest"
)

// TestAlarms checks that there is an alarm for each fault that an operator must see,
// that it reaches the topic, and that its metric is of this stack alone.
func TestAlarms(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	alarms := template.OfType("AWS::CloudWatch::Alarm")
	want := []string{
		"DroppedEventAlarm", "ErrorAlarm", "FaultAlarm", "IntakeAgeAlarm", "IntakeErrorAlarm", "IntakeFailureAlarm", "LatencyAlarm",
		"ReconcileErrorAlarm", "ReconcileMissedAlarm", "RelayErrorAlarm", "RelayFailedBatchAlarm", "RelayFailureAlarm", "RelayLagAlarm",
		"ScheduleFailureAlarm", "ThrottleAlarm", "WatchFailureAlarm", "WebhookFailureAlarm",
	}
	if diff := cmp.Diff(want, alarms); diff != "" {
		t.Error(diff)
	}
	published := map[string]bool{} // by metric filters
	for _, id := range template.OfType("AWS::Logs::MetricFilter") {
		transformations, _ := template.Property(id, "MetricTransformations").([]any)
		for _, one := range transformations {
			members, _ := one.(map[string]any)
			name, _ := members["MetricName"].(string)
			published[name] = true
			checkNamespace(t, id, members["MetricNamespace"])
		}
	}
	for _, id := range alarms {
		if diff := cmp.Diff([]string{"AlarmTopicArn"}, templatetest.Refs(template.Property(id, "AlarmActions"))); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
		if text, _ := template.Property(id, "AlarmDescription").(string); !strings.HasSuffix(text, ".") {
			t.Errorf("%s has no description", id)
		}
		for _, metric := range metricsOf(template, id) {
			namespace, _ := metric["Namespace"].(string)
			name, _ := metric["MetricName"].(string)
			switch {
			case strings.HasPrefix(namespace, "AWS/") && len(templatetest.Refs(metric["Dimensions"])) == 0:
				t.Errorf("%s: %s has no dimension of this stack", id, name)
			case !strings.HasPrefix(namespace, "AWS/"):
				checkNamespace(t, id, metric["Namespace"])
				if !published[name] {
					t.Errorf("%s: nothing publishes %s", id, name)
				}
			}
		}
	}
}

// metricsOf returns the metrics of an alarm.
func metricsOf(template templatetest.Template, id string) []map[string]any {
	queries, _ := template.Property(id, "Metrics").([]any)
	if queries == nil {
		properties, _ := template.Property(id).(map[string]any)
		return []map[string]any{properties}
	}
	var all []map[string]any
	templatetest.Walk(queries, func(value any) {
		if members, ok := value.(map[string]any); ok && members["MetricName"] != nil {
			all = append(all, members)
		}
	})
	return all
}

func checkNamespace(t *testing.T, id string, got any) {
	t.Helper()
	if diff := cmp.Diff(any(map[string]any{"Fn::Sub": "Syncplane/${AWS::StackName}"}), got); diff != "" {
		t.Errorf("%s: %s", id, diff)
	}
}

// TestLatencyAlarm checks that the alarm works with few requests, and not after a
// single slow one.
func TestLatencyAlarm(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	got := map[string]any{}
	for _, name := range []string{"ExtendedStatistic", "EvaluateLowSampleCountPercentile", "Period", "EvaluationPeriods", "DatapointsToAlarm"} {
		got[name] = template.Property("LatencyAlarm", name)
	}
	if diff := cmp.Diff(map[string]any{
		"ExtendedStatistic": "p99", "EvaluateLowSampleCountPercentile": "evaluate", "Period": 60, "EvaluationPeriods": 5, "DatapointsToAlarm": 2,
	}, got); diff != "" {
		t.Error(diff)
	}
}

// TestDashboard checks that the body is JSON whose metrics are of this stack, and that
// it shows requests, latency, errors, ages, dead letters and runs.
func TestDashboard(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	arguments, _ := template.Property("Dashboard", "DashboardBody", "Fn::Sub").([]any)
	if len(arguments) != 2 {
		t.Fatalf("got %v", arguments)
	}
	text, _ := arguments[0].(string)
	variables, _ := arguments[1].(map[string]any)
	optional, _ := variables["WebhookMetric"].(map[string]any)["Fn::If"].([]any)
	for _, webhook := range []bool{true, false} {
		extra := ""
		if webhook {
			extra, _ = optional[1].(map[string]any)["Fn::Sub"].(string)
		}
		body := strings.ReplaceAll(text, "${WebhookMetric}", extra)
		for _, match := range regexp.MustCompile(`\$\{([A-Za-z]+)[.}]`).FindAllStringSubmatch(body, -1) {
			if !slices.Contains(template.Names("Resources"), match[1]) {
				t.Errorf("there is no %s", match[1])
			}
		}
		var parsed struct {
			Widgets []struct {
				Properties struct {
					Title   string  `json:"title"`
					Metrics [][]any `json:"metrics"`
				} `json:"properties"`
			} `json:"widgets"`
		}
		if err := json.Unmarshal([]byte(regexp.MustCompile(`\$\{[^}]+\}`).ReplaceAllString(body, "x")), &parsed); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		var titles []string
		for _, widget := range parsed.Widgets {
			titles = append(titles, strings.Fields(widget.Properties.Title)[0])
			for _, metric := range widget.Properties.Metrics {
				if first, ok := metric[0].(string); ok && !strings.Contains(strings.Join(texts(metric), " "), "x") {
					t.Errorf("%s: %s is not of this stack", widget.Properties.Title, first)
				}
			}
		}
		if diff := cmp.Diff([]string{"Requests", "Latency", "Errors", "Age", "Messages", "Runs"}, titles); diff != "" {
			t.Error(diff)
		}
	}
}

// texts returns the texts among values, without options.
func texts(values []any) []string {
	var all []string
	for _, value := range values {
		if text, ok := value.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

// TestProduction checks that samconfig.toml requires a topic of alarms.
func TestProduction(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(templatetest.Root(t), "samconfig.toml"))
	if err != nil {
		t.Fatal(err)
	}
	_, prod, _ := strings.Cut(string(text), "[prod.deploy.parameters]")
	given := map[string]string{}
	for _, match := range regexp.MustCompile(`"(\w+)=([^"]*)"`).FindAllStringSubmatch(prod, -1) {
		given[match[1]] = match[2]
	}
	if _, named := given["AlarmTopicArn"]; !named {
		t.Error("prod does not name AlarmTopicArn")
	}
	for rule, ok := range rules(t, templatetest.Read(t), given) {
		if ok != (rule != "ProductionHasAlarms") {
			t.Errorf("%s: %v", rule, ok)
		}
	}
}

// TestDroppedEvents checks that the alarm has the events of every rule that did not
// reach its dead-letter queue, and that each metric is in the expression.
func TestDroppedEvents(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	metrics := template.Property("DroppedEventAlarm", "Metrics")
	watched := templatetest.Refs(metrics)
	for _, rule := range template.OfType("AWS::Events::Rule") {
		if !slices.Contains(watched, rule) {
			t.Errorf("the alarm has no metric of %s", rule)
		}
	}
	var ids, expressions []string
	templatetest.Walk(metrics, func(value any) {
		members, _ := value.(map[string]any)
		if id, ok := members["Id"].(string); ok && members["MetricStat"] != nil {
			ids = append(ids, "FILL("+id+", 0)")
		}
		if choice, ok := members["Expression"].(map[string]any); ok {
			alternatives, _ := choice["Fn::If"].([]any)
			expressions = append(expressions, texts(alternatives)...)
		}
	})
	if len(expressions) != 3 { // the condition, with and without a webhook
		t.Fatalf("got %q", expressions)
	}
	for i, want := range []string{strings.Join(ids, " + "), strings.Join(ids[:len(ids)-1], " + ")} {
		if diff := cmp.Diff(want, expressions[i+1]); diff != "" {
			t.Error(diff)
		}
	}
}
