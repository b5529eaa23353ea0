package syncs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"syncplane/pkg/auth"
	"syncplane/pkg/backoff"
	"syncplane/pkg/fault"
)

// Store stores syncs. Package storagetest tests its promises over every storage
// backend. What a method has acknowledged survives a crash. A method returns a
// fault.Unavailable, and changes nothing, if its context has ended before the call.
type Store interface {
	// Create writes s if its workspace has no sync with that ID. Otherwise it
	// returns ErrExists and changes nothing.
	Create(ctx context.Context, s Sync) error

	// CreateOnce writes s, as Create does, unless the workspace has used
	// key.Key before: then it returns the sync that was created with the
	// key, as it was then, and changes nothing. It returns ErrKeyReused if
	// the key was used with another fingerprint. A key can be used again when
	// it has expired. Of concurrent calls with one key, one writes.
	CreateOnce(ctx context.Context, s Sync, key IdempotencyKey) (first Sync, err error)

	// Created returns the sync that the workspace created with key.Key, as
	// it was then. ok is false if the key is not in use at key.Now. It
	// returns ErrKeyReused if the key was used with another fingerprint.
	Created(ctx context.Context, workspace string, key IdempotencyKey) (first Sync, ok bool, err error)

	// Read returns the sync as it was last written, equal in every field, or
	// ErrNotFound, or ErrUnreadable. It is strongly consistent: it sees every
	// write that returned before it was called.
	Read(ctx context.Context, workspace, id string) (Sync, error)

	// List returns up to limit syncs of the workspace, newest first, that
	// are older than the sync with the ID after; the newest if after is "".
	// more is true if there may be others. It may return fewer than limit
	// syncs, but at least one, while there are more. It skips and logs a
	// sync that cannot be read.
	List(ctx context.Context, workspace, after string, limit int) (syncs []Sync, more bool, err error)

	// Search reads some of the next syncs of the workspace, in the order of List, and
	// returns those that match. It skips and logs a sync that cannot be read.
	Search(ctx context.Context, workspace string, search Search) (Found, error)

	// Replace writes s over the version before it. It returns ErrOvertaken if
	// another version is stored and ErrNotFound if there is no such sync, and
	// then changes nothing.
	Replace(ctx context.Context, s Sync) error

	// Delete deletes s if its version is the stored one; s.UpdatedAt is the
	// time of the deletion, which its event reports. It returns ErrOvertaken
	// if another version is stored and ErrNotFound if there is no such sync,
	// and then changes nothing.
	Delete(ctx context.Context, s Sync) error
}

// Search selects syncs of a workspace.
type Search struct {
	Filter Filter
	After  string // the ID of the sync before the first; "" to begin with the newest
	Read   int    // how many syncs are read at most, 1 … 10,000; those that match are returned
}

// Found is the result of a Search.
type Found struct {
	Syncs []Sync
	Last  string // the ID of the last sync that was read, for the next Search; "" if there was none
	More  bool   // there may be others
}

// IdempotencyKey makes a create safe to repeat.
type IdempotencyKey struct {
	Key         string    // 1 … 255 visible ASCII characters, chosen by the client
	Fingerprint string    // equal for equal requests
	Now         time.Time // the time of the request
	Expires     time.Time // from which the key may be used for another request
}

// maxKey is the length of the longest idempotency key, in characters. Our own
// choice, the same as Stripe's.
const maxKey = 255

// ValidKey reports whether key can be an idempotency key: 1 to 255 visible ASCII
// characters.
func ValidKey(key string) bool {
	invisible := func(c rune) bool { return c <= ' ' || c > '~' }
	return key != "" && len(key) <= maxKey && !strings.ContainsFunc(key, invisible)
}

// KeyLife is how long the key of a client that waits for the response is stored.
// Our own choice, the same as Stripe's.
const KeyLife = 24 * time.Hour

// Service implements the operations on syncs. Every entry point calls it. All
// methods check the caller's scopes and return a fault.Forbidden without them; they
// also return the errors of the store.
type Service struct {
	Store Store
	Now   func() time.Time
	NewID func() (string, error) // returns a UUIDv7
}

// Create creates the sync that d describes in the caller's workspace, or returns a
// fault.Invalid.
func (s *Service) Create(ctx context.Context, who auth.Caller, d Draft) (Sync, error) {
	sync, err := s.build(who, d)
	if err != nil {
		return Sync{}, err
	}
	if err := s.Store.Create(ctx, sync); err != nil {
		return Sync{}, fmt.Errorf("create sync %s: %w", sync.ID, err)
	}
	return sync, nil
}

// CreateOnce is an idempotent Create: a second call with the same key and
// fingerprint returns the sync of the first call, and replayed is true. It returns
// ErrKeyReused for the same key with another fingerprint.
func (s *Service) CreateOnce(ctx context.Context, who auth.Caller, d Draft, key IdempotencyKey) (sync Sync, replayed bool, err error) {
	sync, err = s.build(who, d)
	if err != nil {
		return Sync{}, false, err
	}
	first, err := s.Store.CreateOnce(ctx, sync, key)
	if err != nil {
		return Sync{}, false, fmt.Errorf("create sync %s once: %w", sync.ID, err)
	}
	return first, first.ID != sync.ID, nil
}

// Created returns the sync that CreateOnce created with the same key and
// fingerprint. ok is false if there is none. It returns ErrKeyReused for the same
// key with another fingerprint.
func (s *Service) Created(ctx context.Context, who auth.Caller, key IdempotencyKey) (first Sync, ok bool, err error) {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return Sync{}, false, err
	}
	return s.Store.Created(ctx, who.Workspace, key)
}

// build returns the sync that d describes, with a new ID.
func (s *Service) build(who auth.Caller, d Draft) (Sync, error) {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return Sync{}, err
	}
	if err := d.Validate(); err != nil {
		return Sync{}, err
	}
	id, err := s.NewID()
	if err != nil {
		return Sync{}, fmt.Errorf("create an ID: %w", err)
	}
	sync := d.sync(who.Workspace, id, s.Now())
	if sync.Size() > MaxSize {
		return Sync{}, ErrTooLarge
	}
	return sync, nil
}

// Read returns a sync of the caller's workspace, or ErrNotFound.
func (s *Service) Read(ctx context.Context, who auth.Caller, id string) (Sync, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return Sync{}, err
	}
	return s.read(ctx, who, id)
}

// read is Read without the check of the scope. It does not pass a malformed ID to
// the store, which may have limits of its own.
func (s *Service) read(ctx context.Context, who auth.Caller, id string) (Sync, error) {
	if id = CanonicalID(id); id == "" {
		return Sync{}, ErrNotFound
	}
	return s.Store.Read(ctx, who.Workspace, id)
}

// CanonicalID returns an ID in lower case, as IDs are stored; a client may send
// either case (RFC 9562, section 4). It returns "" for a malformed ID.
func CanonicalID(id string) string {
	const form = "00000000-0000-0000-0000-000000000000"
	if len(id) != len(form) {
		return ""
	}
	for i, c := range []byte(id) {
		hex := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if hex != (form[i] == '0') || !hex && c != '-' {
			return ""
		}
	}
	return strings.ToLower(id)
}

// Change replaces the fields of a sync that patch names, and validates the result
// as Create does. If nothing differs, the sync keeps its version. It returns a
// fault.PreconditionFailed if precondition does not allow the stored version.
func (s *Service) Change(ctx context.Context, who auth.Caller, id string, patch Draft, precondition Precondition) (Sync, error) {
	return s.replace(ctx, who, id, precondition, func(old Sync) (Sync, error) {
		return old.changed(patch, s.Now())
	})
}

// Pause disables a sync, so that it no longer runs. A sync that is paused already
// keeps its version.
func (s *Service) Pause(ctx context.Context, who auth.Caller, id string, precondition Precondition) (Sync, error) {
	return s.replace(ctx, who, id, precondition, func(old Sync) (Sync, error) {
		if old.Status == Disabled {
			return old, nil
		}
		return old.become(Disabled, s.Now())
	})
}

// Resume enables a paused sync. A sync that is not paused keeps its version.
func (s *Service) Resume(ctx context.Context, who auth.Caller, id string, precondition Precondition) (Sync, error) {
	return s.replace(ctx, who, id, precondition, func(old Sync) (Sync, error) {
		if old.Status != Disabled {
			return old, nil
		}
		return old.become(Pending, s.Now())
	})
}

// replace reads, edits and writes a sync, and does so again after a concurrent
// change, so that no change is lost. It writes nothing if edit returns the version
// that it was given.
func (s *Service) replace(ctx context.Context, who auth.Caller, id string, precondition Precondition, edit func(old Sync) (Sync, error)) (Sync, error) {
	var written Sync
	err := s.retry(ctx, who, id, precondition, func(old Sync) error {
		edited, err := edit(old)
		if err != nil {
			return err
		}
		written = edited
		if edited.Version == old.Version {
			return nil
		}
		return s.Store.Replace(ctx, edited)
	})
	return written, err
}

// Delete deletes a sync, or returns ErrNotFound.
func (s *Service) Delete(ctx context.Context, who auth.Caller, id string, precondition Precondition) error {
	return s.retry(ctx, who, id, precondition, func(old Sync) error {
		if now := instant(s.Now()); now.After(old.UpdatedAt) {
			old.UpdatedAt = now
		}
		err := s.Store.Delete(ctx, old)
		if fault.Is(err, fault.NotFound) {
			return nil // a concurrent request has deleted it since it was read
		}
		return err
	})
}

// retry reads a sync and calls act with it, and does so again after a concurrent
// change, as long as the deadline of ctx leaves time.
func (s *Service) retry(ctx context.Context, who auth.Caller, id string, precondition Precondition, act func(old Sync) error) error {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return err
	}
	return backoff.Retry(ctx, isOvertaken, func() error {
		old, err := s.read(ctx, who, id)
		if err != nil {
			return err
		}
		if err := precondition.Check(old.Version); err != nil {
			return err
		}
		return act(old)
	})
}
