package main_test

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/app"
	"syncplane/pkg/app/eventfunc"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/stacktest"
	"syncplane/pkg/testkit/templatetest"
)

// TestReconcile checks that the command finds what is missing, repairs it, and finds
// nothing the next time, with the variables of the function and with the outputs of the
// stack.
func TestReconcile(t *testing.T) {
	for name, named := range map[string]bool{"variables": false, "outputs": true} {
		t.Run(name, func(t *testing.T) {
			config := dynamotest.NewTable(t)
			stack := stacktest.New(t, config)
			env := stack.Env()
			var flags []string
			if named {
				stack.Deploy(t, "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/s")
				env, flags = stack.OperatorEnv(), []string{"--stack", stack.Name}
			}
			store := app.DynamoDB(config)
			s := storagetest.NewSync(t)
			s.Status = syncs.Pending
			check(t, store.Create(t.Context(), s))
			service := eventfunc.Runs(store, runs.DefaultRetention().Runs)
			late := runs.Key{Workspace: s.Workspace, SyncID: s.ID, Time: time.Now().UTC().Truncate(time.Second)}
			service.Now = func() time.Time { return time.Now().Add(-2 * time.Hour) } // a run can be claimed for an hour
			_, _, err := service.Due(t.Context(), late, false)
			check(t, err)
			for _, step := range []struct {
				args      []string
				out, err  string
				schedules int
				status    runs.Status
			}{
				{[]string{"reconcile", "--dry-run"}, s.ID + "\n" + s.ID + "\n", "1 syncs; to repair: the schedules of 1 of them and those of 0 deleted syncs; 1 runs ended", 0, runs.Queued},
				{[]string{"reconcile"}, s.ID + "\n" + s.ID + "\n", "1 syncs; repaired: the schedules of 1 of them and those of 0 deleted syncs; 1 runs ended", 1, runs.Failed},
				{[]string{"reconcile"}, "", "1 syncs; repaired: the schedules of 0 of them and those of 0 deleted syncs; 0 runs ended", 1, runs.Failed},
			} {
				var stdout, stderr bytes.Buffer
				cmd := command(t, env, append(step.args, flags...)...)
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				if err := cmd.Run(); err != nil || stdout.String() != step.out || !strings.Contains(stderr.String(), step.err) {
					t.Errorf("%v: %v, %q, %q", step.args, err, &stdout, &stderr)
				}
				if got := len(stack.All(t)); got != step.schedules {
					t.Errorf("%v: there are %d schedules, want %d", step.args, got, step.schedules)
				}
				if run, err := service.Store.Run(t.Context(), late); err != nil || run.Status != step.status {
					t.Errorf("%v: the run is %s, %v", step.args, run.Status, err)
				}
			}
		})
	}
}

// TestStackOutputs checks that each variable that a stack's functions read is an output
// of template.yaml, with the same value.
func TestStackOutputs(t *testing.T) {
	t.Parallel()
	template := templatetest.Read(t)
	source, err := os.ReadFile("stack.go")
	check(t, err)
	matches := regexp.MustCompile(`"([A-Z_]+)": "([A-Z][A-Za-z]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(matches) != 10 {
		t.Fatalf("got %d outputs", len(matches))
	}
	for _, match := range matches {
		variable, output := match[1], match[2]
		want := template.Property("RelayFunction", "Environment", "Variables", variable)
		if want == nil {
			want = template.Property("ApiFunction", "Environment", "Variables", variable)
		}
		if diff := cmp.Diff(want, template.At("Outputs", output, "Value")); diff != "" {
			t.Errorf("%s and %s: %s", variable, output, diff)
		}
	}
	for _, output := range regexp.MustCompile(`= "(\w+(?:Url|Arn))"`).FindAllStringSubmatch(string(source), -1) {
		if template.At("Outputs", output[1]) == nil {
			t.Errorf("there is no output %s", output[1])
		}
	}
}
