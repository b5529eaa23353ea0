package syncjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/syncs"
)

// maxJSONDepth is the nesting depth that package jsontext accepts, in levels.
const maxJSONDepth = 10_000

// MaxBody is the largest request that is accepted, in bytes: a body over HTTP or the
// detail of an event. Our own choice: a sync has a few hundred bytes.
const MaxBody = 256 << 10

// TooLarge returns the fault for a request larger than MaxBody. what is "body" or
// "detail".
func TooLarge(what string) error {
	return &fault.Error{
		Kind: fault.TooLarge, Code: "body_too_large",
		Message: fmt.Sprintf("the %s must have at most %d bytes", what, MaxBody),
	}
}

// Request is a decoded body: {"sync": {…}} or {"enable": …}.
type Request struct {
	Draft   syncs.Draft // of a create or a change
	Enable  bool        // of {"enable": …}
	Unknown []string    // JSON pointers of the unknown members, which are ignored

	change bool     // it is a change, which may have read-only members
	sent   []member // the known members of sync

	// The values of the draft. Pointers refer to them, so they must not grow.
	texts    []string
	integers []int64
}

// newRequest returns a request with space for the values of all fields; the decoder
// rejects a body that has one of them twice.
func newRequest(change bool) Request {
	return Request{
		change: change, sent: make([]member, 0, len(syncs.Fields)),
		texts: make([]string, 0, len(syncs.Fields)), integers: make([]int64, 0, len(syncs.Fields)),
	}
}

// member is one member of a JSON object, its value as the client wrote it.
type member struct {
	name  string
	value jsontext.Value
}

// DecodeCreate decodes the body of a create; for the errors see Request.decode.
func DecodeCreate(pool *jsonpool.Pool, body []byte) (Request, error) {
	in := newRequest(false)
	return in, in.decode(pool, body)
}

// DecodeChange decodes the body of a change; for the errors see Request.decode.
func DecodeChange(pool *jsonpool.Pool, body []byte) (Request, error) {
	in := newRequest(true)
	return in, in.decode(pool, body)
}

// decode decodes the body of a create or a change. It returns a fault.Malformed for
// a body that is not one JSON object, and a fault.Invalid if there is no sync object.
// The fields are left to Draft.Validate: a field whose value has another type is
// added to Draft.Mistyped.
func (in *Request) decode(pool *jsonpool.Pool, body []byte) error {
	const want = "an object with the fields of the sync"
	kind, err := in.decodeObject(pool, body, "sync", `{"sync": {…}}`, func(dec *jsontext.Decoder) error {
		return in.decodeSync(dec, body)
	})
	switch {
	case err != nil:
		return err
	case kind == jsontext.KindInvalid:
		return invalid("/sync", "required", "sync is required and must be "+want)
	case kind != jsontext.KindBeginObject:
		return invalid("/sync", "wrong_type", "sync must be "+want+", got "+kindName(kind))
	}
	return nil
}

// DecodeEnable decodes {"enable": true} or false.
func DecodeEnable(pool *jsonpool.Pool, body []byte) (Request, error) {
	var in Request
	kind, err := in.decodeObject(pool, body, "enable", `{"enable": true}`, (*jsontext.Decoder).SkipValue)
	switch {
	case err != nil:
		return in, err
	case kind == jsontext.KindInvalid:
		return in, invalid("/enable", "required", "enable is required and must be true or false")
	case kind != jsontext.KindTrue && kind != jsontext.KindFalse:
		return in, invalid("/enable", "wrong_type", "enable must be true or false, got "+kindName(kind))
	}
	in.Enable = kind == jsontext.KindTrue
	return in, nil
}

// decodeObject decodes a body that is one object and calls value for the member
// name. It returns the kind of that member's value, KindInvalid if there is none, and
// a fault.Malformed for a body that is not one JSON object; example shows a valid
// one.
func (in *Request) decodeObject(pool *jsonpool.Pool, body []byte, name, example string, value func(dec *jsontext.Decoder) error) (jsontext.Kind, error) {
	found := jsontext.KindInvalid
	if !utf8.Valid(body) {
		return found, malformed("invalid_utf8", "the body must be valid UTF-8", "")
	}
	lent := pool.Get(body)
	defer pool.Put(lent)
	dec := &lent.Decoder
	top := dec.PeekKind()
	err := readObject(dec, func(member []byte) error {
		if string(member) != name {
			in.Unknown = append(in.Unknown, string(jsontext.Pointer("").AppendToken(string(member))))
			return dec.SkipValue()
		}
		found = dec.PeekKind()
		return value(dec)
	})
	if err == nil {
		err = readEnd(dec)
	}
	switch {
	case err != nil:
		return found, syntaxFault(err, body, example)
	case top != jsontext.KindBeginObject:
		return found, malformed("not_an_object", "the body must be an object such as "+example+", got "+kindName(top), "")
	}
	return found, nil
}

// decodeSync decodes the object under "sync".
func (in *Request) decodeSync(dec *jsontext.Decoder, body []byte) error {
	return readObject(dec, func(name []byte) error {
		field, readOnly := fieldNamed(name), ""
		if field == nil && in.change {
			readOnly = readOnlyFieldNamed(name)
		}
		if field == nil && readOnly == "" {
			in.Unknown = append(in.Unknown, string(jsontext.Pointer("/sync").AppendToken(string(name))))
			return dec.SkipValue()
		}
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		// The value of a decoder is valid only until the next read, so it is
		// taken from the body.
		end := int(dec.InputOffset())
		value = body[end-len(value) : end]
		known, fits := readOnly, false
		if field != nil {
			known, fits = field.Name, in.decodeField(field, value)
		} else {
			fits = in.decodeReadOnly(readOnly, value)
		}
		if !fits {
			in.Draft.Mistyped = append(in.Draft.Mistyped, known)
		}
		in.sent = append(in.sent, member{known, value})
		return nil
	})
}

// fieldNamed returns the field of a sync with this name, nil if there is none.
func fieldNamed(name []byte) *syncs.Field {
	for i := range syncs.Fields {
		if f := &syncs.Fields[i]; string(name) == f.Name {
			return f
		}
	}
	return nil
}

// readOnlyFieldNamed returns the read-only member of a sync with this name, "" if
// there is none.
func readOnlyFieldNamed(name []byte) string {
	for _, field := range [...]string{"id", "type", "status", "created_at", "updated_at", "next_run_at"} {
		if string(name) == field {
			return field
		}
	}
	return ""
}

// decodeField sets a field of the draft and reports whether the value has the right
// type.
func (in *Request) decodeField(field *syncs.Field, value jsontext.Value) bool {
	d, kind := &in.Draft, value.Kind()
	switch {
	case field.Integer != nil:
		n, fits := integerOf(value)
		if fits {
			in.integers = append(in.integers, n)
			*field.DraftInteger(d) = &in.integers[len(in.integers)-1]
		}
		return fits
	case field.Object && kind == jsontext.KindBeginObject:
		*field.DraftText(d) = in.keep(string(value))
	case field.Optional && kind == jsontext.KindNull:
		*field.DraftText(d) = in.keep("")
	case !field.Object && kind == jsontext.KindString:
		*field.DraftText(d) = in.keep(textOf(value))
	default:
		return false
	}
	return true
}

// keep returns a pointer to text.
func (in *Request) keep(text string) *string {
	in.texts = append(in.texts, text)
	return &in.texts[len(in.texts)-1]
}

// textOf returns the text of a JSON string. The values that every sync has are not
// allocated.
func textOf(value jsontext.Value) string {
	text := jsonpool.Unquote(value)
	for _, usual := range [...]string{syncs.ScheduleAutomated, syncs.ModeFullRefresh, syncs.UnitMinutes} {
		if string(text) == usual {
			return usual
		}
	}
	return string(text)
}

// decodeReadOnly decodes a read-only member of a change, and reports whether the value
// has the right type.
func (in *Request) decodeReadOnly(name string, value jsontext.Value) (fits bool) {
	d := &in.Draft
	switch name {
	case "id":
		d.ID, fits = decodeText(value)
	case "type":
		kind, isText := decodeText(value)
		fits = isText && *kind == Type
	case "status":
		d.Status, fits = decodeText(value)
	case "created_at":
		var written *string
		if written, fits = decodeText(value); fits {
			at, err := time.Parse(time.RFC3339, *written)
			d.CreatedAt, fits = &at, err == nil
		}
	case "updated_at", "next_run_at":
		fits = true // ignored: they may have changed since the client read them
	}
	return fits
}

// Explain adds to the fields of a fault their JSON pointers and, where it helps, the
// values that the client sent. The caller locates the idempotency key.
func (in Request) Explain(err error) error {
	return fault.Locate(err, func(f *fault.Field) {
		switch f.Code {
		case "wrong_type", "out_of_range", "not_in_enum":
			if i := slices.IndexFunc(in.sent, func(m member) bool { return m.name == f.Name }); i >= 0 {
				f.Detail += ", got " + in.sent[i].excerpt()
			}
		}
		if f.Name != syncs.KeyField {
			f.Pointer = strings.TrimSuffix("/sync/"+f.Name, "/")
		}
	})
}

// excerpt returns the value as the client sent it, shortened. For an object, an array
// and any value of configuration it returns only the kind, since they may contain
// secrets.
func (m member) excerpt() string {
	switch kind := m.value.Kind(); {
	case kind == jsontext.KindBeginObject, kind == jsontext.KindBeginArray, m.name == "configuration":
		return kindName(kind)
	default:
		return Shorten(string(m.value))
	}
}

// readObject reads an object and calls member after each name; member must read the
// value and must not retain the name. A value other than an object is skipped.
func readObject(dec *jsontext.Decoder, member func(name []byte) error) error {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() == jsontext.KindString {
		quoted, err := dec.ReadValue()
		if err != nil {
			return err
		}
		if err := member(jsonpool.Unquote(quoted)); err != nil {
			return err
		}
	}
	_, err := dec.ReadToken()
	return err
}

// errTrailing reports data after the JSON value.
var errTrailing = errors.New("data after the JSON value")

// readEnd returns errTrailing unless the input has ended.
func readEnd(dec *jsontext.Decoder) error {
	switch _, err := dec.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	default:
		return errTrailing
	}
}

// syntaxFault returns the fault for a body that cannot be decoded.
func syntaxFault(err error, body []byte, example string) error {
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case errors.Is(err, io.EOF):
		return malformed("invalid_json", "the body is empty; it must be an object such as "+example, "")
	case errors.Is(err, errTrailing):
		return malformed("trailing_data", "the body must be one JSON value with nothing after it", "")
	case !ok:
		return fmt.Errorf("read the body: %w", err)
	case errors.Is(err, jsontext.ErrDuplicateName):
		return malformed("duplicate_member", "the body has two members of the same name in one object", string(syntax.JSONPointer))
	case syncs.Depth(string(body)) > maxJSONDepth && strings.HasPrefix(string(syntax.JSONPointer), "/sync/configuration/"):
		// Well-formed as far as it was read, and it violates the rule.
		return invalid("/sync/configuration", "too_deep", fmt.Sprintf("configuration must be nested at most %d levels deep", syncs.MaxDepth))
	case syncs.Depth(string(body)) > maxJSONDepth:
		return malformed("too_deep", fmt.Sprintf("the body must be nested at most %d levels deep", maxJSONDepth), "")
	}
	return malformed("invalid_json", fmt.Sprintf("the body is not JSON: %s at byte %d", syntax.Err, syntax.ByteOffset), "")
}

// maxPointer is the longest pointer in an error, in bytes. Our own choice: it repeats
// names of members, which have no bound of their own.
const maxPointer = 1024

func malformed(code, message, pointer string) error {
	if pointer == "" || len(pointer) > maxPointer {
		return &fault.Error{Kind: fault.Malformed, Code: code, Message: message}
	}
	return &fault.Error{Kind: fault.Malformed, Fields: []fault.Field{{Pointer: pointer, Code: code, Detail: message}}}
}

func invalid(pointer, code, detail string) error {
	return &fault.Error{Kind: fault.Invalid, Fields: []fault.Field{{Pointer: pointer, Code: code, Detail: detail}}}
}

// kindName returns the name of a kind of JSON value for an error.
func kindName(kind jsontext.Kind) string {
	switch kind {
	case jsontext.KindBeginObject:
		return "an object"
	case jsontext.KindBeginArray:
		return "an array"
	case jsontext.KindString:
		return "a string"
	case jsontext.KindNumber:
		return "a number"
	case jsontext.KindTrue, jsontext.KindFalse:
		return "a boolean"
	case jsontext.KindNull:
		return "null"
	case jsontext.KindInvalid, jsontext.KindEndObject, jsontext.KindEndArray:
	}
	return "no JSON value"
}

// decodeText decodes a JSON string. ok is false for another kind of value.
func decodeText(value jsontext.Value) (*string, bool) {
	if value.Kind() != jsontext.KindString {
		return nil, false
	}
	return new(textOf(value)), true
}

// decodeInteger is integerOf with a pointer.
func decodeInteger(value jsontext.Value) (*int64, bool) {
	n, fits := integerOf(value)
	if !fits {
		return nil, false
	}
	return &n, true
}

// integerOf decodes an integer as JSON Schema defines it: 123.0 and 1.23e2 are
// integers, 1.5 is not. It is exact and does not use floating point. A value beyond
// int64 becomes the nearest int64, which exceeds the bound of every field.
func integerOf(value jsontext.Value) (int64, bool) {
	if value.Kind() != jsontext.KindNumber {
		return 0, false
	}
	if n, err := strconv.ParseInt(string(value), 10, 64); err == nil {
		return n, true // the usual format
	}
	n := parseDecimal(value)
	if n.exponent < 0 {
		return 0, false
	}
	magnitude := int64(math.MaxInt64)
	if len(n.digits)+n.exponent <= 18 { // 10^18 < 2^63, and every bound is lower
		magnitude, _ = strconv.ParseInt("0"+n.digits+strings.Repeat("0", n.exponent), 10, 64)
	}
	if n.negative {
		magnitude = -magnitude
	}
	return magnitude, true
}

// decimal is a number as digits × 10^exponent, without leading and trailing zeros in
// digits, so that every number has one decimal. That of 0 is the zero value.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

// parseDecimal parses a well-formed JSON number.
func parseDecimal(number []byte) decimal {
	number, negative := bytes.CutPrefix(number, []byte("-"))
	exponent := 0
	if i := bytes.IndexAny(number, "eE"); i >= 0 {
		number, exponent = number[:i], parseExponent(number[i+1:])
	}
	whole, fraction, _ := bytes.Cut(number, []byte("."))
	digits := string(whole) + string(fraction)
	significant := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(significant) - len(fraction)
	if significant = strings.TrimLeft(significant, "0"); significant == "" {
		return decimal{}
	}
	return decimal{negative, significant, exponent}
}

// parseExponent parses the digits after an e. The result is limited to ±10^15, since
// no body has enough digits to compensate for a larger exponent.
func parseExponent(digits []byte) int {
	const limit = 1_000_000_000_000_000
	exponent, err := strconv.Atoi(string(digits))
	if err != nil && digits[0] == '-' {
		return -limit
	}
	if err != nil {
		return limit
	}
	return max(-limit, min(exponent, limit))
}

// maxExcerpt is the longest text of a client that is repeated in an error, in bytes.
// Our own choice.
const maxExcerpt = 64

// Shorten returns text for an error: at most 64 bytes, and an ellipsis if it was
// longer.
func Shorten(text string) string {
	if len(text) > maxExcerpt {
		text = strings.ToValidUTF8(text[:maxExcerpt], "") + "…"
	}
	return text
}
