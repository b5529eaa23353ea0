// Package quota is how many creates a workspace may make in a time: a token
// bucket, kept in the store so that it holds however many processes serve. It
// is pure: the clock and the store come from the caller.
package ratelimit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"syncplane/pkg/fault"
)

// Policy is a bucket of Quota tokens that fills up within Window.
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

// ParsePolicy reads "100/1m": a hundred a minute.
func ParsePolicy(text string) (Policy, error) {
	count, length, _ := strings.Cut(text, "/")
	quota, err := strconv.ParseInt(count, 10, 64)
	window, err2 := time.ParseDuration(length)
	if err != nil || err2 != nil || quota < 1 || quota > MaxQuota || window < MinWindow || window > MaxWindow {
		return Policy{}, fmt.Errorf("must be a number from 1 to %d and a time from %v to %v, such as 100/1m, got %q", MaxQuota, MinWindow, MaxWindow, text)
	}
	return Policy{quota, window}, nil
}

// EmissionInterval is the time in which one token comes back.
func (p Policy) EmissionInterval() time.Duration { return p.Window / time.Duration(p.Quota) }

// Store keeps the buckets. Its promises are tests in package quotatest.
type Store interface {
	// Take takes a token from the bucket of the workspace if one is there.
	// A bucket is the moment at which it is full again (the generic cell
	// rate algorithm): taking moves that on by p.Cost(), from now at the
	// earliest, and never beyond now + p.Window. It returns the moment after
	// taking, or the one that stands in the way and ok false. A moment later
	// than now + p.Window, of a clock that was set back since or of a longer
	// window, becomes now + p.Window first.
	Take(ctx context.Context, workspace string, p Policy, now time.Time) (full time.Time, ok bool, err error)

	// Give puts back a token that was taken and not used: a bucket that is
	// not full is full earlier by p.Cost(). One that is full stays so.
	Give(ctx context.Context, workspace string, p Policy, now time.Time) error
}

// Limiter holds workspaces to a Policy.
type Limiter struct {
	Policy Policy
	Store  Store
	Now    func() time.Time
}

// Allowance is what is left to a workspace.
type Allowance struct {
	Remaining int64         // tokens
	Next      time.Duration // until one more token is there; more than 0
}

// Take takes a token for the workspace. Without one it returns a
// fault.Throttled whose RetryAfter is the Next of the Allowance. The Allowance
// is that of now in either case.
func (l *Limiter) Take(ctx context.Context, workspace string) (Allowance, error) {
	now := l.Now()
	full, ok, err := l.Store.Take(ctx, workspace, l.Policy, now)
	if err != nil {
		return Allowance{}, err
	}
	cost := l.Policy.EmissionInterval()
	left := now.Add(l.Policy.Window).Sub(full) // not negative
	allowance := Allowance{Remaining: int64(left / cost), Next: cost - left%cost}
	if ok {
		return allowance, nil
	}
	return allowance, &fault.Error{
		Kind: fault.Throttled, Code: "rate_limited",
		Message:    fmt.Sprintf("this workspace may create %d syncs in %v, and has; please come back later", l.Policy.Quota, l.Policy.Window),
		RetryAfter: allowance.Next,
	}
}

// Give puts back a token that Take took and nothing was created with.
func (l *Limiter) Give(ctx context.Context, workspace string) error {
	return l.Store.Give(ctx, workspace, l.Policy, l.Now())
}
