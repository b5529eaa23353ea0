// Package fault is the one vocabulary of errors in Syncplane. Every layer
// says with it what went wrong and for whom; only the HTTP face knows which
// status that makes. It imports nothing of ours.
package fault

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// Kind is what went wrong, in the eyes of the caller.
type Kind int

// The kinds. Internal is the zero value on purpose: an error that nobody
// classified is a defect of ours, never the caller's.
const (
	Internal           Kind = iota // a defect of ours
	Malformed                      // the request cannot be read
	Unauthenticated                // who the caller is cannot be established
	Forbidden                      // the caller is known and may not do this
	NotFound                       // there is no such thing, or none that the caller may see
	MethodNotAllowed               // the thing exists and cannot be used this way
	NotAcceptable                  // there is no form of the answer that the caller takes
	Conflict                       // the state of the thing forbids it
	PreconditionFailed             // the thing is not as the caller requires
	TooLarge                       // the request is over a size limit
	UnsupportedMedia               // the request is in a format that is not read
	Invalid                        // the request is readable and breaks a rule
	Throttled                      // too many requests; later is fine
	Unavailable                    // a dependency does not answer; later is fine
)

// Kinds is every Kind, for tests that must range over all of them.
func Kinds() []Kind {
	kinds := make([]Kind, 0, Unavailable+1)
	for k := Internal; k <= Unavailable; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// Error is an error with a public and a private half. Code, Message, Fields,
// Scope and RetryAfter are written for the client. Err is only ever logged.
type Error struct {
	Kind    Kind
	Code    string  // stable and documented, such as "not_in_enum"
	Message string  // one sentence that says what was expected
	Fields  []Field // the parts of the request at fault; they stand in for Code and Message

	Scope      string        // with Forbidden: the scope that would have been enough
	RetryAfter time.Duration // with Throttled, Unavailable, Conflict: when to come back

	Err error // the cause, private
}

// Field is one part of a request that breaks a rule. The domain names it; each
// way into the domain says where it stands there, with exactly one of Pointer,
// Header and Parameter (see Locate).
type Field struct {
	Name      string // of a field of the domain, such as "source_id"; "" for all of them
	Pointer   string // JSON pointer (RFC 6901) into the body, such as "/sync/source_id"
	Header    string // name of a request header
	Parameter string // name of a query parameter
	Code      string
	Detail    string
}

// Error joins both halves; it is meant for logs.
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

// KindOf is the Kind of err: that of the first Error in its chain, Internal
// if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Locate returns err with a place for each of its fields that has none: place
// sets it by the field's name. It leaves err itself as it is.
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
