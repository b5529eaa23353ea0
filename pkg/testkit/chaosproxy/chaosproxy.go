// Package chaosproxy stands between a client and a service of AWS and lets the
// client down, as networks and services do: it loses answers, breaks
// connections, delays, fails and throttles, at random points that a seed
// repeats. It is for tests.
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

// Secret is in every error that the proxy makes up. No client of ours may see
// it.
const Secret = "internal detail of the service, request 7f3c-4711"

// maxDelay is the longest that a call is held up. Our own choice: long enough
// for others to overtake it.
const maxDelay = 20 * time.Millisecond

// fault is one way to let a client down.
type fault int

const (
	none fault = iota
	delay
	lostAnswer  // it was done, and nobody hears of it
	lateFailure // it was done, and a failure is told
	reset       // it was not done, and the connection breaks
	failure     // it was not done: status 500
	throttle    // it was not done: status 400, as AWS throttles
	unavailable // it was not done: status 503
	faults      // how many there are
)

// Proxy is an address that stands for that of a service.
type Proxy struct {
	URL string

	mu     sync.Mutex
	random *rand.Rand
	share  float64
	calls  atomic.Int64
	told   [faults]atomic.Int64
}

// Start returns a Proxy for the service at address. It lets down this share of
// the calls, from 0 to 1.
func Start(tb testing.TB, address string, seed uint64, share float64) *Proxy {
	tb.Helper()
	behind, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	forward := httputil.NewSingleHostReverseProxy(behind)
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	forward.Transport = transport
	p := &Proxy{random: rand.New(rand.NewPCG(seed, seed)), share: share} //nolint:gosec // to be repeated, not to be secret
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, forward) }))
	tb.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
		tb.Logf("seed %d: of %d calls %d were delayed, %d lost the answer, %d failed late, %d were reset, %d failed, %d were throttled, %d found nobody",
			seed, p.calls.Load(), p.told[delay].Load(), p.told[lostAnswer].Load(), p.told[lateFailure].Load(), p.told[reset].Load(),
			p.told[failure].Load(), p.told[throttle].Load(), p.told[unavailable].Load())
	})
	p.URL = server.URL
	return p
}

// Faults is how many calls were let down so far.
func (p *Proxy) Faults() int64 {
	sum := int64(0)
	for f := range p.told {
		if fault(f) != none {
			sum += p.told[f].Load()
		}
	}
	return sum
}

// Set lets down another share of the calls from now on.
func (p *Proxy) Set(share float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share = share
}

// next is what becomes of the next call.
func (p *Proxy) next() (fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.random.Float64() >= p.share {
		return none, 0
	}
	return delay + fault(p.random.IntN(int(faults-delay))), time.Duration(p.random.Int64N(int64(maxDelay)))
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	what, wait := p.next()
	p.calls.Add(1)
	p.told[what].Add(1)
	switch what {
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

// fail answers with an error in the forms that the protocols of AWS have.
func fail(w http.ResponseWriter, status int, kind string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Errortype", kind)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"__type":"`+kind+`","message":"`+Secret+`","Message":"`+Secret+`"}`)
}

// hangUp breaks the connection without an answer.
func hangUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if plain, ok := connection.(*net.TCPConn); ok {
		_ = plain.SetLinger(0) // a reset, not an end
	}
	_ = connection.Close()
}
