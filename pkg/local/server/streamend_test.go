package server_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"syncplane/pkg/auth"
	"syncplane/pkg/auth/apikey"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/event"
	"syncplane/pkg/event/eventtest"
	"syncplane/pkg/fault"
	"syncplane/pkg/local/server"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest"
)

// message is an event as a client receives it.
type message struct{ ID, Type, Data string }

// messages parses a stream by the HTML standard, section 9.2.6, and calls
// receive for each event until that returns false.
func messages(in *bufio.Reader, receive func(message) bool) error {
	var line, data strings.Builder
	var id, kind string
	after := byte(0) // the byte before
	for {
		c, err := in.ReadByte()
		if err != nil {
			return err
		}
		before := after
		after = c
		if c == '\n' && before == '\r' {
			continue
		}
		if c != '\n' && c != '\r' {
			line.WriteByte(c)
			continue
		}
		text := line.String()
		line.Reset()
		if text == "" {
			if data.Len() > 0 && !receive(message{id, kind, strings.TrimSuffix(data.String(), "\n")}) {
				return nil
			}
			data.Reset()
			kind = ""
			continue
		}
		name, value, _ := strings.Cut(text, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			kind = value
		case "data":
			data.WriteString(value + "\n")
		case "id":
			if !strings.Contains(value, "\x00") {
				id = value
			}
		}
	}
}

// receive returns the next count events.
func (l *listener) receive(t *testing.T, count int) []message {
	t.Helper()
	var got []message
	err := messages(bufio.NewReader(l.body), func(m message) bool {
		got = append(got, m)
		return len(got) < count
	})
	if err != nil {
		t.Fatalf("%d of %d events, then: %v", len(got), count, err)
	}
	return got
}

// TestLineBreaks streams configurations in which each line break of the
// standard stands at each place where JSON allows one.
func TestLineBreaks(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	configurations := []string{`{}`}
	for _, br := range []string{"\n", "\r", "\r\n", "\n\r", "\n\n", "\r\r", "\r\n\r\n", " \r\t\n "} {
		configurations = append(configurations,
			strings.ReplaceAll(`{~"a"~:~[~1.0~,~"\r\n\u2028`+"\u2028\u0085"+`"~]~,~"data"~:~{~"id"~:~null~}~}`, "~", br),
			"{"+br+"}")
	}
	want := make([]any, len(configurations))
	for i, text := range configurations {
		s := storagetest.NewSync(t)
		s.Workspace, s.Configuration = "acme", text
		if err := g.store.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber() // numbers keep their spelling
		if err := decoder.Decode(&want[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range g.open(t, "Bearer acme syncs:read", "0").receive(t, len(want)) {
		if m.ID != strconv.Itoa(i+1) || m.Type != "sync.created" {
			t.Errorf("got %+v", m)
		}
		seen := eventtest.Check(t, []byte(m.Data))
		if diff := cmp.Diff(want[i], seen.Data["attributes"].(map[string]any)["configuration"]); diff != "" {
			t.Errorf("%q: %s", configurations[i], diff)
		}
		if strings.ContainsAny(m.Data, "\r\n") {
			t.Errorf("the data has more than one line: %q", m.Data)
		}
	}
}

// setSequence sets the number of the newest event of the store in the file path.
func setSequence(t *testing.T, path string, sequence uint64) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("feed")).SetSequence(sequence) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestGap comes back after the feed has dropped events.
func TestGap(t *testing.T) {
	t.Parallel()
	const kept, stored, batch = 100_000, 100_500, 500
	path := filepath.Join(t.TempDir(), "syncs.db")
	publish := func(store *bolt.Store, first, count int) {
		t.Helper()
		events := make([]event.Event, 0, count)
		for i := range count {
			events = append(events, event.Event{Kind: event.Due, ID: strconv.Itoa(first + i), Subject: "s", Workspace: "acme", Data: []byte("{}")})
		}
		if err := store.Publish(t.Context(), events, "test", 0); err != nil {
			t.Fatal(err)
		}
	}
	store, err := bolt.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	publish(store, 1, 2*batch)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	setSequence(t, path, stored-2*batch) // instead of 99,500 events in between
	g := newHarnessOver(t, path)
	publish(g.store, stored-2*batch+1, batch)
	publish(g.store, stored-batch+1, batch)
	entries, err := g.store.Events(0, 1)
	if err != nil || len(entries) != 1 {
		t.Fatalf("got %v, %v", entries, err)
	}
	oldest := int(entries[0].Sequence)
	if oldest < 2 || oldest > stored-kept+1 {
		t.Fatalf("the oldest event that is kept is %d", oldest)
	}
	gap := func(from, to int) message {
		return message{strconv.Itoa(to), "gap", fmt.Sprintf(`{"from":%d,"to":%d}`, from, to)}
	}
	for _, test := range []struct {
		last string
		want []message // the data of others than gaps is left out
	}{
		{"0", []message{gap(1, oldest-1), {strconv.Itoa(oldest), "sync.due", ""}}},
		{"1", []message{gap(2, oldest-1), {strconv.Itoa(oldest), "sync.due", ""}}},
		{strconv.Itoa(oldest - 2), []message{gap(oldest-1, oldest-1), {strconv.Itoa(oldest), "sync.due", ""}}},
		{strconv.Itoa(oldest - 1), []message{{strconv.Itoa(oldest), "sync.due", ""}, {strconv.Itoa(oldest + 1), "sync.due", ""}}},
		{strconv.Itoa(stored - 1), []message{{strconv.Itoa(stored), "sync.due", ""}}},
	} {
		l := g.open(t, "Bearer acme syncs:read", test.last)
		got := l.receive(t, len(test.want))
		l.cancel()
		for i := range got {
			if got[i].Type != "gap" {
				got[i].Data = ""
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("after %s: %s", test.last, diff)
		}
	}
	// Another workspace sees that something may be missing, and nothing else.
	other := g.open(t, "Bearer other syncs:read", "7")
	if got := other.receive(t, 1)[0]; got != gap(8, oldest-1) {
		t.Errorf("got %+v", got)
	}
}

// TestWithdrawn ends the stream of a token that is no longer accepted, while it
// is silent and while it is busy.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]struct {
		who auth.Caller
		err error
	}{
		"expired":   {err: &fault.Error{Kind: fault.Unauthenticated, Code: "invalid_token", Message: "the token has expired"}},
		"no scope":  {who: auth.Caller{Workspace: "acme"}},
		"moved":     {who: auth.Caller{Workspace: "other", Scopes: []string{"syncs:read"}}},
		"no answer": {err: &fault.Error{Kind: fault.Unavailable, Code: "store_unavailable", Message: "the store does not answer"}},
	} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, busy %v", name, busy), func(t *testing.T) {
				t.Parallel()
				var withdrawn atomic.Bool
				g := newHarness(t, func(s *server.Stream) {
					s.Recheck = time.Millisecond
					s.Now = func() time.Time {
						if withdrawn.Load() {
							return time.Now().Add(time.Minute) // for what may pass
						}
						return time.Now()
					}
					s.Caller = func(ctx context.Context, authorization string) (auth.Caller, error) {
						if withdrawn.Load() {
							return answer.who, answer.err
						}
						return caller(ctx, authorization)
					}
				})
				l := g.listen(t, "Bearer acme syncs:read", "")
				g.create(t, "acme")
				if id, _, _ := l.next(t); id != "1" {
					t.Errorf("got %s", id)
				}
				withdrawn.Store(true)
				stop := make(chan struct{})
				ended := make(chan error, 1)
				go func() {
					defer close(ended)
					for busy {
						select {
						case <-stop:
							return
						default:
						}
						s := storagetest.NewSync(t)
						s.Workspace = "acme"
						if err := g.store.Create(t.Context(), s); err != nil {
							ended <- err
							return
						}
					}
				}()
				last := ""
				for l.Scan() { // to its end
					if l.Text() != "" {
						last = l.Text()
					}
				}
				close(stop)
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if err := l.Err(); err != nil || last != ": the token is no longer accepted" {
					t.Errorf("got %v after %q", err, last)
				}
				g.log.wait(t, `"message":"stream ended"`)
				level := `"level":"INFO"`
				if name == "no answer" {
					level = `"level":"ERROR"`
				}
				if text := g.log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `"workspace":"acme"`) || !strings.Contains(text, level) {
					t.Errorf("got %s", text)
				}
			})
		}
	}
}

// TestUnverified keeps a stream whose token cannot be verified for less than a
// minute, and logs it.
func TestUnverified(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	const failing = 5
	passed := make(chan struct{})
	g := newHarness(t, func(s *server.Stream) {
		s.Recheck = time.Millisecond
		s.Caller = func(ctx context.Context, authorization string) (auth.Caller, error) {
			switch call := calls.Add(1); {
			case call > 1 && call <= 1+failing:
				return auth.Caller{}, &fault.Error{Kind: fault.Unavailable, Code: "store_unavailable", Message: "the keys are in use"}
			case call == 2+failing:
				close(passed)
			}
			return caller(ctx, authorization)
		}
	})
	l := g.listen(t, "Bearer acme syncs:read", "")
	select {
	case <-passed:
	case <-time.After(timeout):
		t.Fatal("the token is not verified again")
	}
	g.create(t, "acme")
	if id, _, _ := l.next(t); id != "1" {
		t.Errorf("got %s", id)
	}
	if text := g.log.String(); strings.Count(text, `"level":"WARN","message":"token not verified"`) != failing || strings.Count(text, "\n") != failing {
		t.Errorf("got %s", text)
	}
}

// TestCredentials ends the streams of an expired token and of a revoked key by
// the verification that requests have, and not before.
func TestCredentials(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	signing, err := server.OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := server.KeySet(signing)
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Int64 // of the clock, in nanoseconds
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	keys := bolt.Keys{Path: filepath.Join(dir, "keys.db")}
	tokens := oidc.New(oidc.Config{Issuer: server.Issuer, Audiences: []string{server.Audience}, WorkspaceClaim: server.WorkspaceClaim}, oidc.Static(set), now)
	verifications := make(chan struct{})
	g := newHarness(t, func(s *server.Stream) {
		s.Recheck, s.Now = time.Millisecond, now
		s.Caller = func(ctx context.Context, authorization string) (auth.Caller, error) {
			select {
			case verifications <- struct{}{}:
			default:
			}
			return oidc.ByPrefix(tokens.Caller, apikey.Prefix, apikey.NewVerifier(keys, now).Caller)(ctx, authorization)
		}
	})
	scopes := []string{string(auth.ReadSyncs)}
	token, err := signing.Token(server.Claims{Workspace: "acme", Scopes: scopes, Issued: now(), Expires: now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	key, text, err := apikey.New(rand.Reader, "acme", "a stream", scopes, now(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, bearer string
		end          func()
	}{
		{"a revoked key", text, func() {
			if err := keys.RevokeKey(t.Context(), "acme", key.ID, now()); err != nil {
				t.Error(err)
			}
		}},
		{"an expired token", token, func() { ahead.Store(int64(time.Hour)) }},
	} {
		l := g.listen(t, "Bearer "+test.bearer, "")
		for range 3 {
			select {
			case <-verifications:
			case <-time.After(timeout):
				t.Fatalf("%s: it is not verified again", test.name)
			}
		}
		g.create(t, "acme")
		l.next(t) // it continues
		test.end()
		last := ""
		for l.Scan() {
			if l.Text() != "" {
				last = l.Text()
			}
		}
		if last != ": the token is no longer accepted" {
			t.Errorf("%s: the stream ends with %q", test.name, last)
		}
		if l := g.open(t, "Bearer "+test.bearer, ""); l.status != http.StatusUnauthorized {
			t.Errorf("%s: got %d afterwards", test.name, l.status)
		}
	}
}

// TestKeepsCheckpoint gives a client an id before its first event, and while there
// are events of other workspaces alone.
func TestKeepsCheckpoint(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	g.create(t, "acme")
	l := g.listen(t, "Bearer acme syncs:read", "")
	if got := l.line(t); got != "id: 1" {
		t.Errorf("the stream begins with %q", got)
	}
	g.create(t, "other")
	for end := time.Now().Add(timeout); l.line(t) != "id: 2"; { // of a heartbeat
		if time.Now().After(end) {
			t.Fatal("the id does not grow")
		}
	}
	l.cancel()
	s := g.create(t, "acme")
	if id, _, seen := g.listen(t, "Bearer acme syncs:read", "2").next(t); id != "3" || seen.Subject != s.ID {
		t.Errorf("got %s of %s", id, seen.Subject)
	}
}

// TestNeverReads checks that a client that does not read is disconnected.
func TestNeverReads(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	g := newHarness(t, func(s *server.Stream) { s.WriteTimeout = brief })
	next := g.Config.Handler
	g.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		next.ServeHTTP(w, r)
	})
	large := storagetest.NewSync(t)
	large.Workspace, large.Configuration = "acme", `{"x":"`+strings.Repeat("x", event.MaxConfiguration-100)+`"}`
	// A megabyte, more than the buffers of both ends.
	if err := g.store.Publish(t.Context(), slices.Repeat([]event.Event{event.OfChange(nil, &large)}, 16), "test", 0); err != nil {
		t.Fatal(err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", g.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // a test's own
	if err := conn.(*net.TCPConn).SetReadBuffer(1 << 16); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n"+writer+"\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(timeout):
		t.Fatal("the stream continues")
	}
	g.log.wait(t, "the client does not read")
}

// TestStoreFails reports an error of the store: as an answer before the stream
// has started, in the log after.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	g := newHarness(t)
	l := g.listen(t, "Bearer acme syncs:read", "")
	g.close(t)
	for l.Scan() { // the heartbeat reads on
		continue
	}
	if err := l.Err(); err != nil {
		t.Error(err)
	}
	g.log.wait(t, `"message":"stream ended"`)
	if text := g.log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `"level":"ERROR"`) || !strings.Contains(text, "not open") {
		t.Errorf("got %s", text)
	}
	for _, last := range []string{"", "0"} {
		if l := g.listen(t, "Bearer acme syncs:read", last); l.status != http.StatusInternalServerError || !strings.Contains(l.line(t), `"code":"internal"`) {
			t.Errorf("got %d %s", l.status, l.Text())
		}
	}
}

// TestGoneReader checks that a client that disconnects is not logged.
func TestGoneReader(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	g := newHarness(t)
	next := g.Config.Handler
	g.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		next.ServeHTTP(w, r)
	})
	g.listen(t, "Bearer acme syncs:read", "").cancel()
	select {
	case <-ended:
	case <-time.After(timeout):
		t.Fatal("the stream continues")
	}
	if g.log.String() != "" {
		t.Errorf("got %s", g.log)
	}
}
