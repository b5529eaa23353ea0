package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/testkit/freeport"
)

// TestUsage checks that each command refuses arguments, flags and settings that it
// does not know or that are invalid, with exit code 2 and the values that it accepts.
func TestUsage(t *testing.T) {
	t.Parallel()
	const scopes = "must be some of syncs:read, syncs:write, runs:execute, runs:execute:all, got "
	const secret = "WEBHOOK_SECRET=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5"
	all := strings.Join(commands(t, "syncplane"), ", ")
	past := time.Now().AddDate(0, 0, -1).UTC().Format(time.DateOnly)
	for name, test := range map[string]struct {
		env  string // variables, separated by semicolons
		args string // separated by semicolons
		want string
	}{
		"no command":                {"", "", "no command given; must be one of COMMANDS; see syncplane --help"},
		"an unknown command":        {"", "start", `unknown command "start"; see syncplane --help`},
		"a misspelled command":      {"", "tokn", `unknown command "tokn", did you mean token?; see syncplane --help`},
		"an unknown flag":           {"", "--port;8081", "unknown flag: --port; see syncplane --help"},
		"help for none":             {"", "help;start", `unknown command "start"; see syncplane --help`},
		"help for an unknown key":   {"", "help;keys;show", `unknown command "keys show"; see syncplane keys --help`},
		"--help of none":            {"", "start;--help", `unknown command "start"; see syncplane --help`},
		"--help of an unknown key":  {"", "keys;show;--help", `unknown command "keys show"; see syncplane keys --help`},
		"a shell that is not known": {"", "completion;cmd", `unknown command "completion cmd"; see syncplane completion --help`},
		"an argument after it":      {"", "completion;bash;x", `unexpected argument "x"; see syncplane completion bash --help`},

		"token: an argument":         {"", "token;acme", `unexpected argument "acme"; see syncplane token --help`},
		"token: an unknown flag":     {"", "token;--wrkspace;acme", "unknown flag: --wrkspace; see syncplane token --help"},
		"token: a flag without text": {"", "token;--workspace", "flag needs an argument: --workspace; see syncplane token --help"},
		"token: a workspace":         {"", "token;--workspace;a b", `--workspace must be 1 to 128 visible ASCII characters other than #, got "a b"; see syncplane token --help`},
		"token: an empty workspace":  {"", "token;--workspace;", `--workspace must be 1 to 128 visible ASCII characters other than #, got ""; see syncplane token --help`},
		"token: a workspace by env":  {"WORKSPACE=a#b", "token", `WORKSPACE must be 1 to 128 visible ASCII characters other than #, got "a#b"`},
		"token: a scope":             {"", "token;--scope;sync:read", "--scope " + scopes + `"sync:read"; see syncplane token --help`},
		"token: a scope by env":      {"SCOPE=syncs:read sync:read", "token", "SCOPE " + scopes + `"sync:read"`},
		"token: no scope":            {"SCOPE= ", "token", "SCOPE " + scopes + `" "`},
		"token: a ttl":               {"TTL=1 hour", "token", `TTL must be a duration such as 30d, 1h or 15m, got "1 hour"`},
		"token: a number":            {"", "token;--ttl;90", `--ttl must be a duration such as 30d, 1h or 15m, got "90"; see syncplane token --help`},
		"token: a ttl too long":      {"", "token;--ttl;99999999d", `--ttl must be a duration such as 30d, 1h or 15m, got "99999999d"; see syncplane token --help`},
		"token: days after hours":    {"", "token;--ttl;1h1d", `--ttl must be a duration such as 30d, 1h or 15m, got "1h1d"; see syncplane token --help`},
		"token: two faults":          {"TTL=x;SYNCPLANE_SCOPE=y", "token", "SYNCPLANE_SCOPE " + scopes + `"y"; TTL must be a duration such as 30d, 1h or 15m, got "x"`},

		"serve: an argument":      {"", "serve;8081", `unexpected argument "8081"; see syncplane serve --help`},
		"serve: a port":           {"PORT=http", "serve", `PORT must be a number from 0 to 65535, got "http"`},
		"serve: a port by flag":   {"", "serve;--port;65536", `--port must be a number from 0 to 65535, got "65536"; see syncplane serve --help`},
		"serve: a backend":        {"STORE=sqlite", "serve", `STORE must be bolt or dynamodb, got "sqlite"`},
		"serve: a level":          {"LOG_LEVEL=debgu", "serve", `LOG_LEVEL must be DEBUG, INFO, WARN or ERROR, got "debgu"`},
		"serve: a level between":  {"LOG_LEVEL=warn+1", "serve", `LOG_LEVEL must be DEBUG, INFO, WARN or ERROR, got "warn+1"`},
		"serve: no directory":     {"", "serve;--data-dir;", `--data-dir must be a directory such as .syncs, got ""; see syncplane serve --help`},
		"serve: no origin":        {"CORS_ORIGINS= ,", "serve", `CORS_ORIGINS must be origins such as http://localhost:3000, separated by commas, or *, got " ,"`},
		"serve: no table":         {"", "serve;--store;dynamodb;--table;", `--table must be the name of a table such as syncplane, got ""; see syncplane serve --help`},
		"serve: a host with port": {"HOST=0.0.0.0:80", "serve", `HOST must be an IP address or a host name without a port, such as 0.0.0.0, got "0.0.0.0:80"`},
		"serve: an origin":        {"CORS_ORIGINS=localhost:3000", "serve", `CORS_ORIGINS must be origins such as http://localhost:3000, separated by commas, or *, got "localhost:3000"`},
		"serve: a page":           {"CORS_ORIGINS=http://localhost:3000/", "serve", `CORS_ORIGINS must be origins such as http://localhost:3000, separated by commas, or *, got "http://localhost:3000/"`},
		"serve: a boolean":        {"CREATE_TABLE=yes", "serve", `CREATE_TABLE must be true or false, got "yes"`},
		"serve: a limit":          {"CREATE_LIMIT=100", "serve", `CREATE_LIMIT must be a number from 1 to 1000000 and a duration from 1s to 24h0m0s, such as 100/1m, got "100"`},
		"serve: a webhook":        {"WEBHOOK_URL=example.com", "serve", "WEBHOOK_URL must be an http or https address"},
		"serve: a short secret":   {"WEBHOOK_URL=http://127.0.0.1:1;WEBHOOK_SECRET=x", "serve", "WEBHOOK_SECRET must be 24 to 64 bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one"},
		"serve: no secret":        {"WEBHOOK_URL=http://127.0.0.1:1", "serve", "WEBHOOK_SECRET must be 24 to 64 bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one"},
		"serve: only a secret":    {secret, "serve", "WEBHOOK_SECRET needs WEBHOOK_URL, the address to which events are posted"},
		"serve: a needless hook":  {secret + ";WEBHOOK_URL=http://127.0.0.1:1;STORE=dynamodb", "serve", "WEBHOOK_URL needs STORE=bolt; with DynamoDB the stack delivers events"},
		"serve: a scope":          {"SCOPE=sync:read", "serve", "SCOPE " + scopes + `"sync:read"`},
		"serve: a prefixed level": {"SYNCPLANE_LOG_LEVEL=loud;LOG_LEVEL=INFO", "serve", `SYNCPLANE_LOG_LEVEL must be DEBUG, INFO, WARN or ERROR, got "loud"`},

		"replay: no stack":        {"", "replay", "--stack must be given"},
		"replay: a queue":         {"", "replay;--stack;s;--queue;intake", `--queue must be relay, schedules or webhook, got "intake"; see syncplane replay --help`},
		"replay: a time":          {"", "replay;--stack;s;--from;today", `--from must be a time such as 2026-11-30T02:00:00Z, got "today"; see syncplane replay --help`},
		"replay: queue and range": {"", "replay;--stack;s;--queue;relay;--from;2026-11-30T02:00:00Z", "--queue and --from exclude each other"},
		"replay: an end alone":    {"", "replay;--stack;s;--to;2026-11-30T02:00:00Z", "--to needs --from"},
		"replay: an empty range":  {"", "replay;--stack;s;--from;2026-11-30T02:00:00Z;--to;2026-11-30T02:00:00Z", "--to must be after --from"},

		"keys: no command":           {"", "keys", "no command given; must be one of create, list, revoke; see syncplane keys --help"},
		"keys: an unknown command":   {"", "keys;show;--workspace;a", `unknown command "keys show"; see syncplane keys --help`},
		"keys create: no name":       {"", "keys;create", "keys create takes one argument, the name of the key, such as CI; see syncplane keys create --help"},
		"keys create: two names":     {"", "keys;create;a;b", "keys create takes one argument, the name of the key, such as CI; see syncplane keys create --help"},
		"keys create: a second name": {"", "keys;create;a;--name;b", "keys create takes one argument, the name of the key, such as CI; see syncplane keys create --help"},
		"keys create: a line break":  {"", "keys;create;a\nb", `the name of the key must be 1 to 255 characters without control characters and not all invisible, got "a\nb"`},
		"keys create: an empty name": {"", "keys;create;", `the name of the key must be 1 to 255 characters without control characters and not all invisible, got ""`},
		"keys create: a blank name":  {"", "keys;create; \u200b", `the name of the key must be 1 to 255 characters without control characters and not all invisible, got " \u200b"`},
		"keys create: a C1 control":  {"", "keys;create;a\u0085b", `the name of the key must be 1 to 255 characters without control characters and not all invisible, got "a\u0085b"`},
		"keys create: an empty flag": {"", "keys;create;--name;", `the name of the key must be 1 to 255 characters without control characters and not all invisible, got ""`},
		"keys create: a scope":       {"", "keys;create;CI;--scopes;admin", "--scopes " + scopes + `"admin"; see syncplane keys create --help`},
		"keys create: an expiry":     {"", "keys;create;CI;--expires;soon", `--expires must be a duration such as 30d or 720h, a date such as 2027-02-28, or never, got "soon"; see syncplane keys create --help`},
		"keys create: none":          {"", "keys;create;CI;--expires;", `--expires must be a duration such as 30d or 720h, a date such as 2027-02-28, or never, got ""; see syncplane keys create --help`},
		"keys create: a past date":   {"", "keys;create;CI;--expires;" + past, "--expires must be in the future, got " + past + "T00:00:00Z"},
		"keys create: a past time":   {"", "keys;create;CI;--expires;-1h", `--expires must be a duration such as 30d or 720h, a date such as 2027-02-28, or never, got "-1h"; see syncplane keys create --help`},
		"keys create: a stack":       {"STORE=dynamodb", "keys;create;CI", "--workspace must be given with STORE=dynamodb"},
		"keys list: a flag":          {"", "keys;list;--scopes;x", "unknown flag: --scopes; see syncplane keys list --help"},
		"keys list: a workspace":     {"", "keys;list;--workspace;", `--workspace must be 1 to 128 visible ASCII characters other than #, got ""; see syncplane keys list --help`},
		"keys revoke: no key":        {"", "keys;revoke", "keys revoke takes one argument, the ID of the key, as keys list prints it; see syncplane keys revoke --help"},

		"events tail: a number":       {"", "events;tail;--after;x", `--after must be the number of an event, 0 or more, got "x"; see syncplane events tail --help`},
		"events tail: a negative":     {"", "events;tail;--after;-1", `--after must be the number of an event, 0 or more, got "-1"; see syncplane events tail --help`},
		"events tail: too large":      {"", "events;tail;--after;9223372036854775808", `--after must be the number of an event, 0 or more, got "9223372036854775808"; see syncplane events tail --help`},
		"events tail: no number":      {"", "events;tail;--after;", `--after must be the number of an event, 0 or more, got ""; see syncplane events tail --help`},
		"runs trigger: no key":        {"", "runs;trigger;a;--idempotency-key;", `--idempotency-key must be 1 to 255 visible ASCII characters, got ""; see syncplane runs trigger --help`},
		"runs trigger: a line break":  {"", "runs;trigger;a;--idempotency-key;a\nb", `--idempotency-key must be 1 to 255 visible ASCII characters, got "a\nb"; see syncplane runs trigger --help`},
		"syncs create: no key":        {"", "syncs;create;--idempotency-key;", `--idempotency-key must be 1 to 255 visible ASCII characters, got ""; see syncplane syncs create --help`},
		"syncs create: no file":       {"", "syncs;create;-f;", `--file must be the name of a file, or - for standard input, got ""; see syncplane syncs create --help`},
		"syncs create: not an object": {"", "syncs;create;--configuration;[]", `--configuration must be a JSON object, got "[]"; see syncplane syncs create --help`},
		"syncs update: no version":    {"", "syncs;update;a;--if-match;", `--if-match must be an ETag such as "3", or *, got ""; see syncplane syncs update --help`},
		"syncs update: a line break":  {"", "syncs;update;a;--if-match;\"3\"\n", `--if-match must be an ETag such as "3", or *, got "\"3\"\n"; see syncplane syncs update --help`},
		"apply: no file":              {"", "apply;-f;", `-f must name a file of syncs, such as syncs.yaml; see syncplane apply --help`},
		"invoke: no program":          {"", "invoke;x;--bootstrap;", `--bootstrap must be the name of a file, got ""; see syncplane invoke --help`},
		"reconcile: no stack":         {"", "reconcile;--stack;", `--stack must be the name of a stack, got ""; see syncplane reconcile --help`},

		"dead-letters: no command":         {"", "dead-letters", "no command given; must be one of list, resend; see syncplane dead-letters --help"},
		"dead-letters: an unknown command": {"", "dead-letters;remove;1", `unknown command "dead-letters remove"; see syncplane dead-letters --help`},
		"dead-letters: a stack":            {"STORE=dynamodb", "dead-letters;list", "dead-letters needs STORE=bolt; with DynamoDB they are in the queue WebhookFailures of the stack"},
		"dead-letters resend: none":        {"", "dead-letters;resend", "dead-letters resend takes the IDs of dead letters, as dead-letters list prints them, or --all"},
		"dead-letters resend: both":        {"", "dead-letters;resend;1;--all", "dead-letters resend takes the IDs of dead letters, as dead-letters list prints them, or --all"},
		"dead-letters resend: an ID":       {"", "dead-letters;resend;all", `the ID of a dead letter must be a number, got "all"; see dead-letters list`},
		"dead-letters resend: no webhook":  {"", "dead-letters;resend;--all", "WEBHOOK_URL must be an http or https address"},

		"when: no schedule":    {"", "when", `when takes a cron expression such as "0 6 * * 1-5", or a number of minutes`},
		"when: one never due":  {"", "when;0 0 30 2 *", "it never fires, as no month that it names has such a day"},
		"when: an interval":    {"", "when;0", "an interval must be 1 to 527040 minutes, got 0"},
		"reconcile: argument":  {"", "reconcile;all", `unexpected argument "all"; see syncplane reconcile --help`},
		"reconcile: a boolean": {"", "reconcile;--dry-run=maybe", `--dry-run must be true or false, got "maybe"; see syncplane reconcile --help`},
		"version: an argument": {"", "version;1", `unexpected argument "1"; see syncplane version --help`},
		"invoke: no event":     {"", "invoke", "invoke takes one argument, the file of the event, such as events/create-sync.json; see syncplane invoke --help"},
		"invoke: two events":   {"", "invoke;a;b", "invoke takes one argument, the file of the event, such as events/create-sync.json; see syncplane invoke --help"},
		"emulate: elsewhere":   {"", "emulate", "emulate must run in the directory of template.yaml: stat env.local.json: no such file or directory"},
		"emulate: an address":  {"", "emulate;--bind;docker0", `--bind must be an IP address such as 172.17.0.1, got "docker0"; see syncplane emulate --help`},
		"emulate: a port":      {"", "emulate;--moto-port;x", `--moto-port must be a number from 0 to 65535, got "x"; see syncplane emulate --help`},
	} {
		t.Run(name, func(t *testing.T) {
			dataDir := t.TempDir()
			env := []string{"DATA_DIR=" + dataDir}
			if test.env != "" {
				env = append(env, strings.Split(test.env, ";")...)
			}
			var args []string
			if test.args != "" {
				args = strings.Split(test.args, ";")
			}
			want := strings.ReplaceAll(test.want, "COMMANDS", all)
			checkCallFails(t, 2, want, env, args...)
			if left, err := os.ReadDir(dataDir); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
}

// helps holds functions that return the help of a command, by its path, so that one
// process prints it for all tests.
var helps sync.Map

// helpOf returns what syncplane help prints about a command, such as syncplane keys.
func helpOf(t *testing.T, path string) string {
	t.Helper()
	cmd := newCall(t, nil, append([]string{"help"}, strings.Fields(path)[1:]...)...)
	help, _ := helps.LoadOrStore(path, sync.OnceValues(func() ([]byte, error) { return cmd.Output() }))
	out, err := help.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// commands returns the commands below a command, such as syncplane keys, except for
// help, sorted, as its help lists them.
func commands(t *testing.T, parent string) []string {
	t.Helper()
	var names []string
	text, _, _ := strings.Cut(helpOf(t, parent), "\nFlags:\n")
	if _, text, _ = strings.Cut(text, "[command]\n"); text == "" {
		return nil
	}
	for _, match := range regexp.MustCompile(`(?m)^  ([a-z-]+) +[A-Z]`).FindAllStringSubmatch(text, -1) {
		if match[1] != "help" {
			names = append(names, match[1])
		}
	}
	slices.Sort(names)
	return names
}

// TestHelp checks that each command has a help with an example, and that --help does
// nothing else.
func TestHelp(t *testing.T) {
	t.Parallel()
	var check func(path string)
	check = func(path string) {
		dataDir := t.TempDir()
		help := helpOf(t, path)
		flag, err := newCall(t, []string{"DATA_DIR=" + dataDir, "PORT=0"}, append(strings.Fields(path)[1:], "--help")...).Output()
		if err != nil || string(flag) != help {
			t.Errorf("%s --help: got %v, %s, want %s", path, err, flag, help)
		}
		if !strings.Contains(help, "\nExamples:\n") {
			t.Errorf("%s has no example: %s", path, help)
		}
		if left, err := os.ReadDir(dataDir); err != nil || len(left) > 0 {
			t.Errorf("%s --help left %v, %v", path, left, err)
		}
		for _, name := range commands(t, path) {
			check(path + " " + name)
		}
	}
	check("syncplane")
}

// TestCompletion has bash complete a command, a flag and a value.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{ // the shell selects those that begin with the last word
		"tok":                        "token",
		"keys cr":                    "create",
		"serve --create":             "--create-limit",
		"serve --store dy":           "dynamodb",
		"serve --log-level E":        "ERROR",
		"dead-letters resend --all ": ":4", // and no names of files
	} {
		out, err := newCall(t, nil, append([]string{"__complete"}, strings.Split(args, " ")...)...).Output()
		if err != nil || !regexp.MustCompile(`(?m)^`+want+`(\t|$)`).Match(out) {
			t.Errorf("%s: got %v, %q, want %q", args, err, out, want)
		}
	}
	for _, shell := range commands(t, "syncplane completion") {
		out, err := newCall(t, nil, "completion", shell).Output()
		if err != nil || !strings.Contains(string(out), "syncplane") {
			t.Errorf("%s: %v, %.200s", shell, err, out)
		}
	}
	out, err := newCall(t, nil, "completion", "bash").Output()
	if err != nil {
		t.Fatal(err)
	}
	bash := exec.CommandContext(t.Context(), "bash", "-n")
	bash.Stdin = strings.NewReader(string(out))
	if out, err := bash.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestPrecedence checks that a flag takes precedence over the variable with the prefix,
// that over the variable without, and all over the default.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	claims := func(env []string, args ...string) string {
		t.Helper()
		out, err := newCall(t, append(env, "DATA_DIR="+dataDir), append([]string{"token"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(decodeSegment(t, strings.Split(string(out), ".")[1]))
	}
	for want, got := range map[string]string{
		`"workspace_id":"demo"`:             claims(nil),
		`"workspace_id":"a"`:                claims([]string{"WORKSPACE=a"}),
		`"workspace_id":"b"`:                claims([]string{"WORKSPACE=a", "SYNCPLANE_WORKSPACE=b"}),
		`"workspace_id":"c"`:                claims([]string{"WORKSPACE=a", "SYNCPLANE_WORKSPACE=b"}, "--workspace", "c"),
		`"workspace_id":"d"`:                claims([]string{"WORKSPACE=d", "SYNCPLANE_WORKSPACE="}),
		`"workspace_id":"e"`:                claims([]string{"WORKSPACE=#"}, "--workspace=e"),
		`"scope":"syncs:read runs:execute"`: claims(nil, "--scope", "syncs:read,runs:execute"),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	port := freeport.New(t)
	s := serve(t, dataDir, "SYNCPLANE_PORT="+port)
	if !strings.HasSuffix(s.address, ":"+port) {
		t.Errorf("it listens on %s, want port %s", s.address, port)
	}
	s.stop(t, os.Interrupt)
}

// TestServeFlags starts a server with flags and without variables.
func TestServeFlags(t *testing.T) {
	t.Parallel()
	dataDir := filepath.Join(t.TempDir(), "data")
	s := start(t, command(t, nil, "serve", "--port", "0", "--data-dir", dataDir, "--log-level", "warn", "--create-limit", "1/1h"))
	bearer := token(t, dataDir)
	for _, want := range []int{200, 429} {
		if status, answer := s.create(t, bearer); status != want {
			t.Errorf("got %d %s, want %d", status, answer, want)
		}
	}
	s.stop(t, os.Interrupt)
	if s.log.Len() > 0 {
		t.Errorf("it logged %s", s.log)
	}
}

// TestKeysExpire checks when a key expires: after 90 days without --expires.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	for expires, want := range map[string]time.Duration{
		"":                90 * 24 * time.Hour,
		"--expires=30d":   30 * 24 * time.Hour,
		"--expires=1d12h": 36 * time.Hour,
		"--expires=720h":  720 * time.Hour,
		"--expires=never": 0,
		"--expires=" + time.Now().Add(50*time.Hour).UTC().Format(time.RFC3339): 50 * time.Hour,
	} {
		dataDir := t.TempDir()
		args := []string{"keys", "create", "CI"}
		if expires != "" {
			args = append(args, expires)
		}
		cmd := newCall(t, []string{"DATA_DIR=" + dataDir}, args...)
		var notice strings.Builder
		cmd.Stderr = &notice
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		keys, err := bolt.Keys{Path: filepath.Join(dataDir, "keys.db")}.Keys(t.Context(), "demo")
		if err != nil || len(keys) != 1 || keys[0].Name != "CI" {
			t.Fatalf("%s: got %v, %+v", expires, err, keys)
		}
		k := keys[0]
		switch life := k.ExpiresAt.Sub(k.CreatedAt); {
		case want == 0 && (!k.ExpiresAt.IsZero() || !strings.Contains(notice.String(), "does not expire")):
			t.Errorf("%s: it expires at %v: %s", expires, k.ExpiresAt, &notice)
		case want > 0 && (life-want).Abs() > time.Minute:
			t.Errorf("%s: it is valid for %v, want %v", expires, life, want)
		case want > 0 && !strings.Contains(notice.String(), "expires at "+k.ExpiresAt.UTC().Format(time.RFC3339)):
			t.Errorf("%s: got %s", expires, &notice)
		}
		if strings.Contains(notice.String(), strings.TrimSpace(string(out))) {
			t.Error("standard error holds the key")
		}
	}
}
