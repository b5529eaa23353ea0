package main_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
)

// smallBuffer makes the buffer small in which a client receives, so that only that of the
// server holds what the client does not read: 4 MB on Linux.
func smallBuffer(_, _ string, c syscall.RawConn) error {
	var failure error
	err := c.Control(func(descriptor uintptr) {
		failure = syscall.SetsockoptInt(int(descriptor), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
	})
	return errors.Join(err, failure)
}

// TestStopsWithStuckClients ends a server whose clients read no events, do not
// finish their bodies and keep connections open.
func TestStopsWithStuckClients(t *testing.T) {
	t.Parallel()
	dataDir := t.TempDir()
	store, err := bolt.Open(dataDir + "/syncs.db")
	if err != nil {
		t.Fatal(err)
	}
	e := event.Event{Kind: event.Due, Workspace: "demo", Time: time.Now(), Data: []byte(`{"x":"` + strings.Repeat("x", event.MaxConfiguration) + `"}`)}
	var events []event.Event
	for n := range 100 { // 6.5 MB of events, more than the buffers of a connection
		e.Subject, e.ID = strconv.Itoa(n), strconv.Itoa(n)+"/x"
		events = append(events, e)
	}
	if err := store.Publish(t.Context(), events, "test", 0); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dataDir)
	bearer := "Authorization: Bearer " + token(t, dataDir) + "\r\n"
	const post = "POST /api/v1/syncs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
	for _, client := range []struct{ request, reply string }{
		{"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 0\r\n" + bearer + "\r\n", "HTTP/1.1 200 OK\r\n"},
		{"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n" + bearer + "\r\n", "HTTP/1.1 200 OK\r\n"},
		{post + bearer + "Content-Length: 500\r\n\r\n", "HTTP/1.1 100 Continue\r\n"},
		{post + bearer + "Transfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 100 Continue\r\n"},
		{"GET /api/v1/syncs HTTP/1.1\r\nHost: x\r\n" + bearer + "\r\n", "HTTP/1.1 200 OK\r\n"}, // and is idle after that
		{"POST /api/v1/syncs HTTP/1.1\r\nHost: x\r\n", ""},
		{"", ""},
	} {
		for range 3 {
			dialer := net.Dialer{Control: smallBuffer}
			conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(s.address, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, client.request); err != nil {
				t.Fatal(err)
			}
			if client.reply == "" {
				continue
			}
			if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil || line != client.reply {
				t.Fatalf("got %q, %v to %s", line, err, client.request)
			}
		}
	}
	started := time.Now()
	s.stop(t, syscall.SIGTERM) // it must exit with 0
	took := time.Since(started)
	t.Logf("it took %v", took)
	if took > 5*time.Second { // twice what it takes on a slow machine
		t.Errorf("it took %v to stop", took)
	}
	if strings.Contains(s.log.String(), `"level":"ERROR"`) {
		t.Errorf("got %s", s.log)
	}
}
