package main_test

import (
	"bytes"
	"strings"
	"testing"

	"syncplane/pkg/app"
	"syncplane/pkg/storage/storagetest"
	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/stacktest"
)

// TestReconcile has the command tell what is missing, repair it, and find
// nothing the next time.
func TestReconcile(t *testing.T) {
	config := dynamotest.NewTable(t)
	stack := stacktest.New(t, config)
	store := app.DynamoDB(config)
	s := storagetest.NewSync(t)
	if err := store.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args      []string
		out, err  string
		schedules int
	}{
		{[]string{"reconcile", "--dry-run"}, s.ID + "\n", "1 syncs; to repair: the schedules of 1 of them", 0},
		{[]string{"reconcile"}, s.ID + "\n", "1 syncs; repaired: the schedules of 1 of them", 1},
		{[]string{"reconcile"}, "", "1 syncs; repaired: the schedules of 0 of them", 1},
	} {
		var stdout, stderr bytes.Buffer
		cmd := command(t, stack.Env(), step.args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Run(); err != nil || stdout.String() != step.out || !strings.Contains(stderr.String(), step.err) {
			t.Errorf("%v: %v, %q, %q", step.args, err, &stdout, &stderr)
		}
		if got := len(stack.All(t)); got != step.schedules {
			t.Errorf("%v: there are %d schedules, want %d", step.args, got, step.schedules)
		}
	}
}
