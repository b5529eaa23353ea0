// Package freeport chooses ports for servers that a test starts as processes. The port
// that the system chooses for a listener is no longer reserved when that is closed: until
// the server listens, or while it restarts, a connection of another process may have it.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The ports are below those that systems choose for connections: by default Linux chooses
// from 32768, other systems from 49152.
const first, last = 20000, 32767

// attempts is how many ports are tried. Our own choice: few of them are in use.
const attempts = 100

// New returns a TCP port of 127.0.0.1 on which nothing listens. No other call returns it,
// in any process, until the test ends: New holds the UDP port of that number.
func New(t testing.TB) string {
	t.Helper()
	var listen net.ListenConfig
	for range attempts {
		port := strconv.Itoa(first + rand.IntN(last-first+1)) //nolint:gosec // it need not be unpredictable
		address := net.JoinHostPort("127.0.0.1", port)
		reserved, err := listen.ListenPacket(t.Context(), "udp", address)
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = reserved.Close() })
		if listener, err := listen.Listen(t.Context(), "tcp", address); err == nil {
			_ = listener.Close() // it accepted nothing
			return port
		}
	}
	t.Fatalf("no free port from %d to %d in %d attempts", first, last, attempts)
	return ""
}
