// Package preconnect provides HTTP clients that can open a connection, including its
// TLS handshake, before the first request. It knows net/http, not AWS.
package preconnect

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"syncplane/pkg/tlsdial"
)

// idleTimeout is how long an idle connection is kept, as in net/http's default transport.
const idleTimeout = 90 * time.Second

// maxWait is how long after the start of Connect a request waits for its connection.
// Our own choice: a handshake takes milliseconds. Lambda may freeze the process during
// it, and a server forgets the connection of a process that is frozen for long.
const maxWait = time.Second

// Config configures a Client.
type Config struct {
	Timeout time.Duration // of a request, including its body; zero is none
	MaxIdle int           // the most idle connections that are kept
	TLS     *tls.Config   // nil trusts the roots of the system
}

// Client is an HTTP client that does not follow redirects.
type Client struct {
	http.Client
	dialer tlsdial.Dialer
	// connecting is held by the call of Connect that dials, at most one at a time.
	connecting chan struct{}
	opening    atomic.Pointer[opening] // what that call opens
	ready      chan connection
}

// opening is a connection that Connect is opening.
type opening struct {
	address string
	start   time.Time     // by the wall clock, since the other one may stand while the process is frozen
	ended   chan struct{} // closed when the connection is ready or has failed
	late    atomic.Bool   // a request has given up the wait, so none may come for the connection
}

// connection is a connection that Connect has opened.
type connection struct {
	address string
	net.Conn
}

// New returns a Client.
func New(c Config) *Client {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		config = c.TLS.Clone()
	}
	config.NextProtos = []string{"http/1.1"} // DynamoDB, EventBridge and Scheduler support no other
	client := &Client{
		dialer:     tlsdial.Dialer{Config: config},
		connecting: make(chan struct{}, 1),
		ready:      make(chan connection, 1),
	}
	client.Timeout = c.Timeout
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Transport = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         client.plain,
		DialTLSContext:      client.secure,
		MaxIdleConns:        c.MaxIdle,
		MaxIdleConnsPerHost: c.MaxIdle,
		IdleConnTimeout:     idleTimeout,
	}
	return client
}

// maxCopied is the size up to which bodies are copied. Our own choice: the largest
// requests of the functions are below it.
const maxCopied = 1 << 20

// Do sends a request. It first reads a body of known length, so that net/http sends it
// with the header and can send it again on another connection. The bodies of the AWS
// SDK need this: when the SDK closes one, which it does once there is a response, its
// end becomes an error, and net/http closes the connection if it reads the end after
// that.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxCopied {
		return c.Client.Do(r) //nolint:gosec // the caller chooses the address
	}
	text := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, text)
	if err := errors.Join(err, r.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the body of the request: %w", err)
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	r.Body, _ = r.GetBody()
	return c.Client.Do(r) //nolint:gosec // the caller chooses the address
}

// Connect opens a connection that the next request to this address uses; a request that
// comes earlier waits for it. It does nothing if an earlier connection is unused, or if
// the environment names a proxy for the address. Concurrent calls open one connection.
// It calls TLSHandshakeStart of the httptrace.ClientTrace in ctx.
func (c *Client) Connect(ctx context.Context, address *url.URL) error {
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: address}); proxy != nil || err != nil {
		return err
	}
	select {
	case c.connecting <- struct{}{}:
		defer func() { <-c.connecting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if len(c.ready) > 0 {
		return nil
	}
	port := "443"
	if address.Scheme == "http" {
		port = "80"
	}
	target := net.JoinHostPort(address.Hostname(), cmp.Or(address.Port(), port))
	o := &opening{address: target, start: time.Now().Round(0), ended: make(chan struct{})} //nolint:forbidigo // it is compared with the same clock only
	c.opening.Store(o)
	defer func() {
		c.opening.Store(nil)
		close(o.ended)
	}()
	conn, err := c.dialer.DialContext(ctx, "tcp", target)
	if err == nil && address.Scheme != "http" {
		if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.TLSHandshakeStart != nil {
			trace.TLSHandshakeStart()
		}
		conn, err = c.dialer.Handshake(ctx, conn, target)
	}
	if err != nil {
		return fmt.Errorf("connect to %s: %w", target, err)
	}
	if o.late.Load() {
		return conn.Close()
	}
	c.ready <- connection{target, conn} // never blocks: only the holder of connecting sends
	return nil
}

// waiting returns the connection that Connect has opened or is opening if it is to this
// address, otherwise nil.
func (c *Client) waiting(ctx context.Context, address string) net.Conn {
	if o := c.opening.Load(); o != nil && o.address == address {
		late := time.NewTimer(time.Until(o.start.Add(maxWait)))
		defer late.Stop()
		select {
		case <-o.ended:
		case <-late.C:
			o.late.Store(true)
		case <-ctx.Done():
		}
	}
	select {
	case open := <-c.ready:
		if open.address == address {
			return open.Conn
		}
		_ = open.Close() // its address is another
	default:
	}
	return nil
}

// plain dials without TLS, or returns the waiting connection.
func (c *Client) plain(ctx context.Context, network, address string) (net.Conn, error) {
	if open := c.waiting(ctx, address); open != nil {
		return open, nil
	}
	return c.dialer.DialContext(ctx, network, address)
}

// secure dials with TLS, or returns the waiting connection.
func (c *Client) secure(ctx context.Context, network, address string) (net.Conn, error) {
	if open := c.waiting(ctx, address); open != nil {
		return open, nil
	}
	return c.dialer.DialTLSContext(ctx, network, address)
}
