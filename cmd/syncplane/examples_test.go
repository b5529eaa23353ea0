package main_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncplane/pkg/testkit/dynamotest"
	"syncplane/pkg/testkit/stacktest"
)

// TestHelpExamples runs the examples of the help of each command against a server, in
// a copy of the repository. Ports, data directories and names of stacks are replaced by
// those of the test.
func TestHelpExamples(t *testing.T) {
	t.Parallel()
	checkJQ(t)
	d := newDocsRunner(t)
	const setup = `PATH="$PWD/bin:$PATH"
`
	// What the examples of syncs and runs need, once for all of them, and again after one
	// that deletes a sync or ends a run.
	const syncsAndRuns = `syncplane apply -f examples/syncs.yaml >/dev/null
syncplane syncs create --source-id 1 --destination-id 2 --model-id 3 --stream-name contacts --sync-interval 30 >/dev/null
syncplane runs trigger contacts-to-crm >/dev/null
`
	applied := false
	ran := 0
	var check func(path string)
	check = func(path string) {
		_, examples, _ := strings.Cut(helpOf(t, path), "\nExamples:\n")
		examples, _, _ = strings.Cut(examples, "\n\n")
		switch path {
		case "syncplane serve", "syncplane events", "syncplane events tail", "syncplane emulate":
			for line := range strings.SplitSeq(examples, "\n") {
				if strings.TrimSpace(line) == emulateBind {
					continue // TestEmulate runs it
				}
				line = strings.NewReplacer("--port 8081", "--port 0", "/tmp/syncs", t.TempDir()).Replace(line)
				d := d
				if path == "syncplane emulate" {
					// Free ports. verify/emulate runs the examples with their own, and with
					// moto_server, in a network that has the address of --bind.
					line += " --dynamodb-port 0 --moto-port 0"
					d.env = append(slices.Clone(d.env), "DATA_DIR="+t.TempDir(), "PATH="+withoutMoto(t))
				}
				if strings.Contains(line, "STORE=dynamodb") {
					d = d.over(dynamotest.Endpoint(t))
				}
				if strings.Contains(line, "syncplane serve") {
					d.env = append(slices.Clone(d.env), "PORT=0", "DATA_DIR="+t.TempDir())
				} else if path != "syncplane emulate" && !strings.Contains(line, "--after") {
					continue // it prints nothing until a sync is created
				}
				d.interrupt(t, &block{info: []string{"sh", untilInterrupted}, text: strings.Replace(line, "syncplane ", "exec bin/syncplane ", 1)})
				ran++
			}
		default:
			d := d
			switch path {
			case "syncplane reconcile":
				stack := stacktest.New(t, dynamotest.NewTable(t))
				stack.Deploy(t, "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/s")
				d.env = append(slices.Clone(d.env), stack.OperatorEnv()...)
				examples = strings.ReplaceAll(examples, "syncplane-prod", stack.Name)
			case "syncplane healthcheck":
				dataDir := t.TempDir()
				port := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
				d.env = append(slices.Clone(d.env), "PORT="+port(d.address))
				examples = strings.NewReplacer("8081", port(serve(t, dataDir).address), "/tmp/syncs", dataDir).Replace(examples)
			case "syncplane replay":
				o, _, events := newOperated(t)
				o.stack.Send(t, o.stack.Config.RelayFailuresURL, o.batch(o.shard, o.first, o.last, time.Now()), nil)
				d.env = append(slices.Clone(d.env), o.stack.OperatorEnv()...)
				examples = strings.ReplaceAll(examples, "syncplane-prod", o.stack.Name)
				defer func() {
					if diff := cmp.Diff(events, o.published(t)); diff != "" {
						t.Errorf("the examples of replay (-) and the bus (+) differ: %s", diff)
					}
				}()
			case "syncplane dead-letters resend":
				d.env = append(slices.Clone(d.env), "WEBHOOK_SECRET=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5")
			case "syncplane invoke":
				d = d.over(dynamotest.Endpoint(t))
				linkFunctions(t, d.dir)
			}
			if !applied && (strings.HasPrefix(path, "syncplane syncs") || strings.HasPrefix(path, "syncplane runs")) {
				examples, applied = syncsAndRuns+examples, true
			}
			d.command(t, setup+examples)
			applied = applied && path != "syncplane syncs delete" && path != "syncplane runs cancel"
			ran++
		}
		for _, name := range commands(t, path) {
			check(path + " " + name)
		}
	}
	check("syncplane")
	if ran < 30 {
		t.Errorf("only %d examples ran", ran)
	}
}
