package main_test

import (
	"strings"
	"testing"
)

// TestNoCredentials checks what the commands for AWS print without credentials, and
// without a region.
func TestNoCredentials(t *testing.T) {
	t.Parallel()
	empty := []string{
		"HOME=" + t.TempDir(), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent",
		"DATA_DIR=" + t.TempDir(),
	}
	const want = "syncplane: the AWS profile has no valid credentials; log in, for example with aws sso login, or set AWS_PROFILE to another profile: "
	for _, args := range []string{
		"replay --stack s", "reconcile --stack s", "reconcile", "serve --store dynamodb", "keys create CI --store dynamodb --workspace acme",
	} {
		cmd := command(t, empty, strings.Fields(args)...)
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.HasPrefix(string(out), want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%s: got %v, %s", args, err, out)
		}
	}
	set := append(empty, "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=y")
	for _, args := range []string{"replay --stack s", "reconcile --stack s"} {
		checkFails(t, 2, "AWS_REGION must be the region of the stack s, such as eu-central-1, or the AWS profile must have a region", set, strings.Fields(args)...)
	}
	out, err := command(t, append(set, "AWS_REGION=eu-central-1"), "reconcile").CombinedOutput()
	if err == nil || !strings.HasPrefix(string(out), "syncplane: --stack must be given, or the variables of ReconcileFunction must be set:\nTABLE_NAME is not set; ") {
		t.Errorf("got %v, %s", err, out)
	}
}

// TestNoDatabase checks that a command prints why DynamoDB did not respond, and not the
// message for clients of the API.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	env := []string{"STORE=dynamodb", "AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:1", "DATA_DIR=" + t.TempDir()}
	for want, args := range map[string]string{
		"syncplane: create the table syncplane: ": "serve",
		"syncplane: write the key: ":              "keys create CI --workspace acme",
	} {
		out, err := command(t, env, strings.Fields(args)...).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), "connection refused") {
			t.Errorf("%s: got %v, %s, want %s", args, err, out, want)
		}
	}
}

// TestKeysLocation checks that the command prints where a key is valid.
func TestKeysLocation(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	cmd := command(t, []string{"DATA_DIR=" + dataDir}, "keys", "create", "CI")
	var notice strings.Builder
	cmd.Stderr = &notice
	if err := cmd.Run(); err != nil || !strings.Contains(notice.String(), "(CI) of the workspace demo in "+dataDir+", which expires at ") {
		t.Errorf("got %v, %s", err, &notice)
	}
}
