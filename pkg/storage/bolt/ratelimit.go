package bolt

import (
	"context"
	"time"

	"syncplane/pkg/ratelimit"
)

var _ ratelimit.Store = (*Store)(nil)

// rateLimitKeyOf returns the key of a workspace's token bucket. Its value is the
// theoretical arrival time.
func rateLimitKeyOf(workspace string) []byte { return []byte(workspace + "\x00QUOTA#create") }

// Take takes a token; see ratelimit.Store.
func (st *Store) Take(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) (time.Time, bool, error) {
	key := rateLimitKeyOf(workspace)
	type result struct {
		tat time.Time
		ok  bool
	}
	taken, err := writeResult(ctx, st, func(tx *tx) (result, error) {
		var tat time.Time
		if _, err := tx.read(key, &tat); err != nil {
			return result{}, err
		}
		latest, next := now.Add(p.Window), tat
		if now.After(tat) {
			next = now
		}
		next = next.Add(p.EmissionInterval())
		ok := !next.After(latest)
		switch {
		case ok:
			tat = next
		case tat.After(latest): // the clock was set back, or the window was longer
			tat = latest
		default:
			return result{tat, false}, nil
		}
		value, err := encode(tat)
		if err != nil {
			return result{}, err
		}
		return result{tat, ok}, tx.put(key, value)
	})
	return taken.tat, taken.ok, err
}

// Give returns a token; see ratelimit.Store.
func (st *Store) Give(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) error {
	key := rateLimitKeyOf(workspace)
	return st.write(ctx, func(tx *tx) error {
		var tat time.Time
		if found, err := tx.read(key, &tat); err != nil || !found || !tat.After(now) {
			return err
		}
		value, err := encode(tat.Add(-p.EmissionInterval()))
		if err != nil {
			return err
		}
		return tx.put(key, value)
	})
}
