// Package chaosproxy injects faults between a client and an AWS service: lost
// responses, broken connections, delays, failures and throttling. The faults are
// random; the same seed draws the same sequence. It is for tests.
package chaosproxy

import (
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Secret is in the message of every error that the proxy invents. Clients of the
// API must never receive it.
const Secret = "internal detail of the service, request 7f3c-4711"

// maxDelay is the longest delay of a call. Our own choice: long enough for other
// calls to overtake it.
const maxDelay = 20 * time.Millisecond

// fault is a kind of fault.
type fault int

const (
	none fault = iota
	delay
	lostAnswer  // the call took effect, and the connection breaks
	lateFailure // the call took effect, and the response is status 500
	reset       // the call had no effect, and the connection breaks
	failure     // the call had no effect: status 500
	throttle    // the call had no effect: status 400, as AWS throttles
	unavailable // the call had no effect: status 503
	faults      // the number of kinds
)

// Proxy forwards calls to a service, some of them with a fault.
type Proxy struct {
	URL string // use it in place of the address of the service

	mu     sync.Mutex
	random *rand.Rand
	share  float64
	calls  atomic.Int64
	counts [faults]atomic.Int64
}

// Start returns a Proxy for the service at address that runs until the test ends.
// share is the share of calls with a fault, from 0 to 1.
func Start(tb testing.TB, address string, seed uint64, share float64) *Proxy {
	tb.Helper()
	behind, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(behind)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	forward.Transport = transport
	p := &Proxy{random: rand.New(rand.NewPCG(seed, seed)), share: share} //nolint:gosec // it must be repeatable, not secret
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, forward) }))
	tb.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
		tb.Logf("seed %d: %d calls, of which %d were delayed, %d lost the response, %d failed late, %d were reset, %d failed, %d were throttled, %d found the service unavailable",
			seed, p.calls.Load(), p.counts[delay].Load(), p.counts[lostAnswer].Load(), p.counts[lateFailure].Load(), p.counts[reset].Load(),
			p.counts[failure].Load(), p.counts[throttle].Load(), p.counts[unavailable].Load())
	})
	p.URL = server.URL
	return p
}

// Fewest returns how many calls had the rarest kind of fault so far.
func (p *Proxy) Fewest() int64 {
	fewest := p.counts[delay].Load()
	for kind := delay; kind < faults; kind++ {
		fewest = min(fewest, p.counts[kind].Load())
	}
	return fewest
}

// next draws the fault of the next call, and the time for a delay.
func (p *Proxy) next() (fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.random.Float64() >= p.share {
		return none, 0
	}
	return delay + fault(p.random.IntN(int(faults-delay))), time.Duration(p.random.Int64N(int64(maxDelay)))
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	kind, wait := p.next()
	p.calls.Add(1)
	p.counts[kind].Add(1)
	switch kind {
	case delay:
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			forward.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	case lostAnswer:
		forward.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w, r)
	case lateFailure:
		forward.ServeHTTP(httptest.NewRecorder(), r)
		fail(w, http.StatusInternalServerError, "InternalServerError")
	case reset:
		hangUp(w, r)
	case failure:
		fail(w, http.StatusInternalServerError, "InternalServerError")
	case throttle:
		fail(w, http.StatusBadRequest, "ThrottlingException")
	case unavailable:
		fail(w, http.StatusServiceUnavailable, "ServiceUnavailable")
	case none, faults:
		forward.ServeHTTP(w, r)
	}
}

// fail responds with an error in the form of both the JSON and the REST protocol of
// AWS.
func fail(w http.ResponseWriter, status int, kind string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Errortype", kind)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"__type":"`+kind+`","message":"`+Secret+`","Message":"`+Secret+`"}`)
}

// hangUp breaks the connection without a response.
func hangUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if plain, ok := connection.(*net.TCPConn); ok {
		_ = plain.SetLinger(0) // close with a reset
	}
	_ = connection.Close()
}
