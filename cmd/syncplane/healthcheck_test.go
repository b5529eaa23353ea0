package main_test

import (
	"os"
	"strings"
	"testing"

	"syncplane/pkg/testkit/freeport"
)

// TestHealthcheck checks the exit code and the output over a server, a server with
// another data directory, and none.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	port := freeport.New(t)
	s := start(t, command(t, []string{"HOST=0.0.0.0", "PORT=" + port, "DATA_DIR=" + dataDir}, "serve"))
	for _, env := range [][]string{{"HOST=0.0.0.0"}, {"HOST=127.0.0.1"}, {}} {
		out, err := command(t, append(env, "PORT="+port, "DATA_DIR="+dataDir), "healthcheck").Output()
		if err != nil || string(out) != "healthy\n" {
			t.Errorf("%v: got %q, %v", env, out, err)
		}
	}
	other := t.TempDir()
	env := []string{"PORT=" + port, "DATA_DIR=" + other}
	checkFails(t, 1, other+" has no signing key; DATA_DIR must be the data directory of the server", env, "healthcheck")
	if left, err := os.ReadDir(other); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	token(t, other)
	checkFails(t, 1, "the server at http://127.0.0.1:"+port+"/api/v1/syncs refuses a token that is signed with the key in "+other+"; DATA_DIR must be the data directory of the server", env, "healthcheck")
	s.stop(t, os.Interrupt)
	cmd := command(t, []string{"PORT=" + port, "DATA_DIR=" + dataDir}, "healthcheck")
	if out, err := cmd.CombinedOutput(); err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "check the server: ") {
		t.Errorf("without a server: got %q, %v", out, err)
	}
}
