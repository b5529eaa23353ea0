package syncs

import (
	"errors"

	"syncplane/pkg/fault"
)

// The faults that a Store tells, the same in every engine.

// ErrNotFound is that of a sync that is not there.
func ErrNotFound() error {
	return &fault.Error{Kind: fault.NotFound, Code: "not_found", Message: "there is no sync with this id"}
}

// ErrExists is that of an ID that is taken.
func ErrExists() error {
	return &fault.Error{Kind: fault.Conflict, Code: "already_exists", Message: "a sync with this id exists"}
}

// ErrOvertaken is that of a change to a version that is no longer there.
func ErrOvertaken() error {
	return &fault.Error{Kind: fault.Conflict, Code: "overtaken", Message: "other changes to this sync keep coming first; please try again"}
}

func isOvertaken(err error) bool {
	e, ok := errors.AsType[*fault.Error](err)
	return ok && e.Kind == fault.Conflict && e.Code == "overtaken"
}

// ErrUnreadable is in the errors for a stored sync of which nothing can be made,
// since another version or another program wrote it. Whatever goes through many
// syncs logs it and goes on. A client is shown an internal error.
var ErrUnreadable = errors.New("the stored sync cannot be read")

// KeyField names the idempotency key in a fault.Field.
const KeyField = "idempotency_key"

// ErrKeyReused is that of an idempotency key that stands for another request.
func ErrKeyReused() error {
	return &fault.Error{Kind: fault.Invalid, Fields: []fault.Field{{
		Name: KeyField, Code: "idempotency_key_reused",
		Detail: "this idempotency key was used for another request; use a new one for a new request",
	}}}
}
