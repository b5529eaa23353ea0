// Package fault holds the one error type that crosses the layers of Syncplane:
// a kind, a code and a message for the client, and a cause for the log. It knows
// no transport: packages api and jsonapi map a kind to a status. It imports
// nothing of this project.
package fault

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Kind classifies an error by what it means to the caller.
type Kind int

// The kinds. Internal is the zero value, so that an error that has not been
// classified counts as a defect of the service and never as the caller's.
const (
	Internal           Kind = iota // a defect of the service
	Malformed                      // the request cannot be parsed
	Unauthenticated                // the caller's identity cannot be established
	Forbidden                      // the caller is known and lacks the permission
	NotFound                       // the resource does not exist, or the caller may not see it
	MethodNotAllowed               // the resource does not support the method
	NotAcceptable                  // no representation of the response is acceptable to the caller
	Conflict                       // the state of the resource does not permit the request
	PreconditionFailed             // the resource does not meet the caller's precondition
	TooLarge                       // the request exceeds a size limit
	UnsupportedMedia               // the format of the request is not supported
	Invalid                        // the request can be parsed and violates a rule
	Throttled                      // too many requests; a later one may succeed
	Unavailable                    // a dependency does not respond; a later request may succeed
)

// noError is the Kind of a nil error. It is not one of Kinds.
const noError Kind = -1

// String returns the name of k as it is spelled in Go, for logs and tests.
func (k Kind) String() string {
	switch k {
	case Internal:
		return "Internal"
	case Malformed:
		return "Malformed"
	case Unauthenticated:
		return "Unauthenticated"
	case Forbidden:
		return "Forbidden"
	case NotFound:
		return "NotFound"
	case MethodNotAllowed:
		return "MethodNotAllowed"
	case NotAcceptable:
		return "NotAcceptable"
	case Conflict:
		return "Conflict"
	case PreconditionFailed:
		return "PreconditionFailed"
	case TooLarge:
		return "TooLarge"
	case UnsupportedMedia:
		return "UnsupportedMedia"
	case Invalid:
		return "Invalid"
	case Throttled:
		return "Throttled"
	case Unavailable:
		return "Unavailable"
	case noError:
		return "no error"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// Kinds returns every Kind, for tests that must cover all of them.
func Kinds() []Kind {
	kinds := make([]Kind, 0, Unavailable+1)
	for k := Internal; k <= Unavailable; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// Error is an error with a public and a private part. Code, Message, Fields,
// Scope and RetryAfter are written for the client. Err is only ever logged. An
// Error is not changed once it has been returned, so that it may be shared.
type Error struct {
	Kind    Kind
	Code    string  // stable and documented, such as "not_in_enum"
	Message string  // one sentence that states what was expected
	Fields  []Field // the parts of the request at fault; they take the place of Code and Message

	Scope      string        // with Forbidden: the scope that would have been sufficient
	RetryAfter time.Duration // with Throttled, Unavailable, Conflict: the wait before the next attempt; 0 for a default

	Err error // the cause, private
}

// Never is the RetryAfter of a Conflict that the same request meets again.
const Never time.Duration = -1

// New returns an Error whose message is formatted as by fmt.Sprintf.
func New(kind Kind, code, format string, args ...any) *Error {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	return &Error{Kind: kind, Code: code, Message: message}
}

// Field is one part of a request that violates a rule. The domain sets its name;
// each entry point sets the place where the request has it, exactly one of
// Pointer, Header and Parameter (see Locate).
type Field struct {
	Name      string // of a field of the domain, such as "source_id"; "" for the whole resource
	Pointer   string // JSON pointer (RFC 6901) into the body, such as "/sync/source_id"
	Header    string // name of a request header
	Parameter string // name of a query parameter
	Code      string
	Detail    string
}

// Error returns the public part followed by the cause. It is meant for logs.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = e.Code
	}
	for _, f := range e.Fields {
		if text != "" {
			text += "; "
		}
		text += cmp.Or(f.Pointer, f.Header, f.Parameter, f.Name) + ": " + f.Detail
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the private cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the Kind of the first Error in err's chain, and Internal if
// there is none. The Kind of nil is none of Kinds.
func KindOf(err error) Kind {
	if err == nil {
		return noError
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of the kind, as KindOf returns it. It is false for
// nil.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }

// Locate returns err with place called for each field that has no place yet;
// place sets one by the field's name. It returns a copy where it changes
// anything: err itself is never modified, as it may be a sentinel.
func Locate(err error, place func(f *Field)) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || !slices.ContainsFunc(e.Fields, Field.unplaced) {
		return err
	}
	located := *e
	located.Fields = slices.Clone(e.Fields)
	for i := range located.Fields {
		if f := &located.Fields[i]; f.unplaced() {
			place(f)
		}
	}
	return &located
}

func (f Field) unplaced() bool { return f.Pointer == "" && f.Header == "" && f.Parameter == "" }
