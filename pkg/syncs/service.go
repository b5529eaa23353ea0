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

// Store keeps syncs. Its promises are tests in package storetest, which runs
// over every engine. Whatever a method acknowledges survives a crash.
type Store interface {
	// Create writes s if its workspace has no sync of that ID. It returns a
	// fault.Conflict, and changes nothing, if it has.
	Create(ctx context.Context, s Sync) error

	// CreateOnce writes s, as Create does, unless the workspace has used
	// key.Key before: then it returns the sync that was created with the
	// key, as it was then, and changes nothing. A key that was used with
	// another fingerprint is a fault.Invalid. A key is free again when it
	// expires. Of many calls at once with one key one writes.
	CreateOnce(ctx context.Context, s Sync, key IdempotencyKey) (first Sync, err error)

	// Created returns the sync that the workspace created with key.Key, as
	// it was then. ok is false if the key is free at key.Now. A key that
	// was used with another fingerprint is a fault.Invalid.
	Created(ctx context.Context, workspace string, key IdempotencyKey) (first Sync, ok bool, err error)

	// Read returns the sync as it was last written, equal in every field, or
	// a fault.NotFound, or ErrUnreadable. It sees every write that returned
	// before it began.
	Read(ctx context.Context, workspace, id string) (Sync, error)

	// List returns up to limit syncs of the workspace, newest first, that
	// are older than the sync after; from the newest if after is "". more
	// is true if there may be others. It may return fewer than limit, but
	// not none, while there are more. A sync that is ErrUnreadable is left
	// out and logged.
	List(ctx context.Context, workspace, after string, limit int) (syncs []Sync, more bool, err error)

	// Replace writes s over the sync whose version is one less. It returns
	// a fault.Conflict if there is another version and a fault.NotFound if
	// there is none, and then changes nothing.
	Replace(ctx context.Context, s Sync) error

	// Delete removes s if that is the version that is there; s.UpdatedAt is
	// when, for those who are told of it. It returns a
	// fault.Conflict if there is another version and a fault.NotFound if
	// there is none, and then changes nothing.
	Delete(ctx context.Context, s Sync) error
}

// IdempotencyKey makes a create safe to repeat.
type IdempotencyKey struct {
	Key         string    // 1 … 255 visible ASCII characters, the client's own
	Fingerprint string    // the same for requests that are equal
	Now         time.Time // when the request is made
	Expires     time.Time // when the key may be used for something else
}

// maxKey is the longest idempotency key, in characters. Our own choice, and
// Stripe's.
const maxKey = 255

// ValidKey reports whether key can be an idempotency key: 1 to 255 visible ASCII
// characters.
func ValidKey(key string) bool {
	invisible := func(c rune) bool { return c <= ' ' || c > '~' }
	return key != "" && len(key) <= maxKey && !strings.ContainsFunc(key, invisible)
}

// KeyLife is how long a key is remembered for a client that waits for the
// answer. Stripe's too.
const KeyLife = 24 * time.Hour

// Service is what can be done with syncs, whoever asks and however: the HTTP
// face and every other entry call it. All methods return a fault.Forbidden to
// a caller who may not, and the faults of the store.
type Service struct {
	Store Store
	Now   func() time.Time
	NewID func() (string, error) // returns a UUIDv7
}

// Create makes the sync that d describes in the workspace of who, or returns a
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

// CreateOnce is Create for a client that repeats itself: the second call with
// the same key and fingerprint returns what the first one did, and replayed is
// true. The same key with another fingerprint is a fault.Invalid.
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

// Created returns what CreateOnce did with the same key and fingerprint. ok is
// false if it did nothing yet. The same key with another fingerprint is a
// fault.Invalid.
func (s *Service) Created(ctx context.Context, who auth.Caller, key IdempotencyKey) (first Sync, ok bool, err error) {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return Sync{}, false, err
	}
	return s.Store.Created(ctx, who.Workspace, key)
}

func (s *Service) build(who auth.Caller, d Draft) (Sync, error) {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return Sync{}, err
	}
	if err := d.Validate(); err != nil {
		return Sync{}, err
	}
	id, err := s.NewID()
	if err != nil {
		return Sync{}, fmt.Errorf("make an id: %w", err)
	}
	sync := d.sync(who.Workspace, id, s.Now())
	if sync.Size() > MaxSize {
		return Sync{}, ErrTooLarge
	}
	return sync, nil
}

// Read returns one sync. One of another workspace is as if it never was.
func (s *Service) Read(ctx context.Context, who auth.Caller, id string) (Sync, error) {
	if err := auth.Check(who, auth.ReadSyncs); err != nil {
		return Sync{}, err
	}
	return s.read(ctx, who, id)
}

// read is Read without the check of the scope. A malformed ID never reaches a
// store, which may have bounds of its own.
func (s *Service) read(ctx context.Context, who auth.Caller, id string) (Sync, error) {
	if id = canonical(id); id == "" {
		return Sync{}, ErrNotFound
	}
	return s.Store.Read(ctx, who.Workspace, id)
}

// canonical returns an ID with its letters in lower case, as IDs are stored; a
// client may send either case (RFC 9562, section 4). It returns "" for what is
// no ID.
func canonical(id string) string {
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

// Change puts the fields that patch names in place of those of a sync, and
// validates the result as Create does. A sync that is so already stays as it is,
// its version included. It returns a fault.PreconditionFailed
// if only does not allow the version that is there.
func (s *Service) Change(ctx context.Context, who auth.Caller, id string, patch Draft, only Precondition) (Sync, error) {
	return s.replace(ctx, who, id, only, func(old Sync) (Sync, error) {
		return old.changed(patch, s.Now())
	})
}

// Pause disables a sync, so that it no longer runs. A sync that is paused already
// stays as it is, its version included.
func (s *Service) Pause(ctx context.Context, who auth.Caller, id string, precondition Precondition) (Sync, error) {
	return s.replace(ctx, who, id, precondition, func(old Sync) (Sync, error) {
		if old.Status == Disabled {
			return old, nil
		}
		return old.become(Disabled, s.Now())
	})
}

// Resume enables a sync that was paused. A sync that is not paused stays as it
// is, its version included.
func (s *Service) Resume(ctx context.Context, who auth.Caller, id string, precondition Precondition) (Sync, error) {
	return s.replace(ctx, who, id, precondition, func(old Sync) (Sync, error) {
		if old.Status != Disabled {
			return old, nil
		}
		return old.become(Pending, s.Now())
	})
}

// replace reads, edits and writes a sync, anew where another change came
// between, so that none is lost and none is torn.
func (s *Service) replace(ctx context.Context, who auth.Caller, id string, only Precondition, edit func(old Sync) (Sync, error)) (Sync, error) {
	var written Sync
	err := s.retried(ctx, who, id, only, func(old Sync) error {
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

// Delete removes a sync. The second time it returns a fault.NotFound.
func (s *Service) Delete(ctx context.Context, who auth.Caller, id string, only Precondition) error {
	return s.retried(ctx, who, id, only, func(old Sync) error {
		if now := instant(s.Now()); now.After(old.UpdatedAt) {
			old.UpdatedAt = now
		}
		err := s.Store.Delete(ctx, old)
		if fault.Is(err, fault.NotFound) {
			return nil // it was there a moment ago; somebody else was faster
		}
		return err
	})
}

// retried reads a sync and calls act with it, again where a change came
// between, as long as the deadline of ctx leaves time.
func (s *Service) retried(ctx context.Context, who auth.Caller, id string, only Precondition, act func(old Sync) error) error {
	if err := auth.Check(who, auth.WriteSyncs); err != nil {
		return err
	}
	return backoff.Retry(ctx, isOvertaken, func() error {
		old, err := s.read(ctx, who, id)
		if err != nil {
			return err
		}
		if err := only.Check(old.Version); err != nil {
			return err
		}
		return act(old)
	})
}
