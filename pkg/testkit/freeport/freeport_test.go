package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"syncplane/pkg/testkit/freeport"
)

// TestNew checks that the ports differ as long as the test runs, that each is free and
// below the ports of connections, and that none is reserved after the test.
func TestNew(t *testing.T) {
	seen := map[string]bool{}
	t.Run("reserved", func(t *testing.T) {
		for range 500 { // with random ports alone, some are equal in all but 1 of 20000 runs
			port := freeport.New(t)
			if number, err := strconv.Atoi(port); err != nil || number < 20000 || number > 32767 {
				t.Errorf("got %s", port)
			}
			if seen[port] {
				t.Errorf("got %s twice", port)
			}
			seen[port] = true
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = listener.Close() })
		}
	})
	for port := range seen {
		reserved, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		_ = reserved.Close()
	}
}
