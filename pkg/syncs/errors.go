package syncs

import (
	"errors"
	"fmt"

	"syncplane/pkg/fault"
)

// The errors that every storage backend returns alike.
var (
	// ErrNotFound is returned for a sync that does not exist.
	ErrNotFound error = fault.New(fault.NotFound, "not_found", "there is no sync with this id")

	// ErrExists is returned for an ID that is in use.
	ErrExists error = fault.New(fault.Conflict, "already_exists", "a sync with this id exists")

	// ErrOvertaken is returned for a change to a version that is no longer
	// the stored one.
	ErrOvertaken error = fault.New(fault.Conflict, "overtaken", "other changes to this sync keep coming first; please try again")

	// ErrKeyReused is returned for an idempotency key that was used for
	// another request.
	ErrKeyReused error = &fault.Error{Kind: fault.Invalid, Fields: []fault.Field{{
		Name: KeyField, Code: "idempotency_key_reused",
		Detail: "this idempotency key was used for another request; use a new one for a new request",
	}}}

	// ErrTooLarge is returned for a sync of more than MaxSize bytes.
	ErrTooLarge error = &fault.Error{Kind: fault.Invalid, Fields: []fault.Field{{
		Code: "too_large", Detail: fmt.Sprintf("the sync must have at most %d bytes in all", MaxSize),
	}}}

	// ErrUnreadable is returned for a stored sync that this version cannot
	// decode, as another version or another program wrote it. A loop over
	// many syncs logs it and continues. The client gets an internal error.
	ErrUnreadable = errors.New("the stored sync cannot be read")
)

// KeyField is the Name of the fault.Field of an idempotency key.
const KeyField = "idempotency_key"

// isOvertaken reports whether err is ErrOvertaken, so that another attempt may
// succeed.
func isOvertaken(err error) bool { return errors.Is(err, ErrOvertaken) }
