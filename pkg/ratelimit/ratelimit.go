// Package ratelimit limits how many creates a workspace may make in a time, by the
// generic cell rate algorithm (GCRA), which is a token bucket stored as one time. The
// bucket is in a Store, so that all processes share it. The package does not know
// HTTP or how a bucket is stored; the caller passes the clock.
package ratelimit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"syncplane/pkg/fault"
)

// Policy describes a bucket of Quota tokens that refills within Window.
type Policy struct {
	Quota  int64 // 1 … MaxQuota
	Window time.Duration
}

// The bounds of a Policy.
const (
	MaxQuota  = 1_000_000
	MinWindow = time.Second
	MaxWindow = 24 * time.Hour
)

// ParsePolicy parses a policy such as "100/1m", a hundred tokens in a minute.
func ParsePolicy(text string) (Policy, error) {
	count, length, _ := strings.Cut(text, "/")
	quota, err := strconv.ParseInt(count, 10, 64)
	window, err2 := time.ParseDuration(length)
	if err != nil || err2 != nil || quota < 1 || quota > MaxQuota || window < MinWindow || window > MaxWindow {
		return Policy{}, fmt.Errorf("must be a number from 1 to %d and a duration from %v to %v, such as 100/1m, got %q", MaxQuota, MinWindow, MaxWindow, text)
	}
	return Policy{quota, window}, nil
}

// EmissionInterval returns the time in which the bucket regains one token.
func (p Policy) EmissionInterval() time.Duration { return p.Window / time.Duration(p.Quota) }

// Store stores one bucket for each workspace, as its theoretical arrival time (TAT):
// the time at which the bucket will be full. Package storagetest tests the promises
// over every storage backend. A method returns a fault.Unavailable, and changes nothing,
// if its context has ended before the call.
type Store interface {
	// Take takes a token from the bucket of the workspace if it has one: the
	// TAT, or now if that is later, moves on by p.EmissionInterval(), but not
	// beyond now + p.Window. It returns the new TAT; or, if there is no
	// token, the stored TAT and ok false. A stored TAT later than now +
	// p.Window, due to a clock that was set back or to a longer window before,
	// counts as now + p.Window.
	Take(ctx context.Context, workspace string, p Policy, now time.Time) (tat time.Time, ok bool, err error)

	// Give returns a token that was taken and not used: the TAT moves back by
	// p.EmissionInterval(). A full bucket stays as it is.
	Give(ctx context.Context, workspace string, p Policy, now time.Time) error
}

// Limiter applies a Policy to workspaces.
type Limiter struct {
	Policy Policy
	Store  Store
	Now    func() time.Time
}

// Allowance is the state of a workspace's bucket.
type Allowance struct {
	Remaining int64         // tokens
	Next      time.Duration // until one more token is available; more than 0
}

// Take takes a token for the workspace and returns what remains. If there is no
// token it returns a fault.Throttled whose RetryAfter is the Next of the Allowance.
func (l *Limiter) Take(ctx context.Context, workspace string) (Allowance, error) {
	now := l.Now()
	tat, ok, err := l.Store.Take(ctx, workspace, l.Policy, now)
	if err != nil {
		return Allowance{}, err
	}
	interval := l.Policy.EmissionInterval()
	left := now.Add(l.Policy.Window).Sub(tat) // not negative
	allowance := Allowance{Remaining: int64(left / interval), Next: interval - left%interval}
	if ok {
		return allowance, nil
	}
	throttled := fault.New(fault.Throttled, "rate_limited", "this workspace has created the %d syncs that are allowed in %v; please try again later", l.Policy.Quota, l.Policy.Window)
	throttled.RetryAfter = allowance.Next
	return allowance, throttled
}

// Give returns a token that Take took and that no create has used.
func (l *Limiter) Give(ctx context.Context, workspace string) error {
	return l.Store.Give(ctx, workspace, l.Policy, l.Now())
}
