package bolt

import (
	"context"
	"time"

	"syncplane/pkg/ratelimit"
)

// quotaKeyOf is the key of a workspace's bucket.
func quotaKeyOf(workspace string) []byte { return []byte(workspace + "\x00QUOTA#create") }

// Take takes a token.
func (st *Store) Take(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) (full time.Time, ok bool, err error) {
	key := quotaKeyOf(workspace)
	err = st.write(ctx, func(tx *tx) error {
		full = time.Time{}
		if _, err := tx.read(key, &full); err != nil {
			return err
		}
		most, next := now.Add(p.Window), full
		if now.After(full) {
			next = now
		}
		next = next.Add(p.EmissionInterval())
		switch ok = !next.After(most); {
		case ok:
			full = next
		case full.After(most): // the clock was set back, or the window was longer
			full = most
		default:
			return nil
		}
		value, err := encode(full)
		if err != nil {
			return err
		}
		return tx.put(key, value)
	})
	return full, ok, err
}

// Give puts back a token.
func (st *Store) Give(ctx context.Context, workspace string, p ratelimit.Policy, now time.Time) error {
	key := quotaKeyOf(workspace)
	return st.write(ctx, func(tx *tx) error {
		var full time.Time
		if found, err := tx.read(key, &full); err != nil || !found || !full.After(now) {
			return err
		}
		value, err := encode(full.Add(-p.EmissionInterval()))
		if err != nil {
			return err
		}
		return tx.put(key, value)
	})
}
