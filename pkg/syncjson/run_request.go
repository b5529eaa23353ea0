package syncjson

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/fault"
	"syncplane/pkg/jsonpool"
	"syncplane/pkg/runs"
	"syncplane/pkg/syncs"
)

// runMember is the member of a body that contains a request about a run. The members
// of the request may also be at the top level.
const runMember = "sync_run"

// RunRequest describes the body of a request about a run.
type RunRequest struct {
	Unknown []string // JSON pointers of the unknown members, which are ignored

	prefix   string   // of the pointers to fields: "/sync_run/" or "/"
	sent     []member // the known members
	mistyped []string // the names of the fields whose value has another type
}

// runFields maps the name of a field to a function that sets it and reports whether
// the value has the right type.
type runFields map[string]func(value jsontext.Value) (fits bool)

// TriggerBody is the body of a trigger.
type TriggerBody struct {
	RunRequest
	Type runs.Type
}

// DecodeTrigger decodes {"sync_run": {"sync_run_type": "general"}}; an empty body is
// equal to {}. The errors are fault.Malformed and, for another type,
// fault.Invalid.
func DecodeTrigger(pool *jsonpool.Pool, body []byte) (TriggerBody, error) {
	in := TriggerBody{Type: runs.General}
	const name = "sync_run_type"
	err := in.decode(pool, body, runFields{name: func(value jsontext.Value) bool {
		written, fits := decodeText(value)
		if fits {
			in.Type = runs.Type(*written)
		}
		return fits
	}})
	if err == nil && (len(in.mistyped) > 0 || !slices.Contains(runs.Types(), in.Type)) {
		code := "not_in_enum"
		if len(in.mistyped) > 0 {
			code = "wrong_type"
		}
		err = in.Explain(&fault.Error{Kind: fault.Invalid, Fields: []fault.Field{{
			Name: name, Code: code, Detail: name + ` must be "general" or "test"`,
		}}})
	}
	return in, err
}

// DecodeClaim decodes {"sync_run": {"executor": "…", "lease_seconds": 300}}. The
// errors are fault.Malformed.
func DecodeClaim(pool *jsonpool.Pool, body []byte) (in RunRequest, claim runs.ClaimRequest, err error) {
	err = in.decode(pool, body, runFields{
		"executor":      textInto(&claim.Executor),
		"lease_seconds": integerInto(&claim.LeaseSeconds),
	})
	claim.Mistyped = in.mistyped
	return in, claim, err
}

// DecodeHeartbeat decodes {"sync_run": {"fence": …, "lease_seconds": 300,
// "counters": {…}}}. The errors are fault.Malformed.
func DecodeHeartbeat(pool *jsonpool.Pool, body []byte) (in RunRequest, beat runs.HeartbeatRequest, err error) {
	err = in.decode(pool, body, runFields{
		"fence":         integerInto(&beat.Fence),
		"lease_seconds": integerInto(&beat.LeaseSeconds),
		"counters":      in.countersInto(&beat.Counters),
	})
	beat.Mistyped = in.mistyped
	return in, beat, err
}

// DecodeReport decodes {"sync_run": {"fence": …, "status": "success", …}}. The
// errors are fault.Malformed.
func DecodeReport(pool *jsonpool.Pool, body []byte) (in RunRequest, report runs.Report, err error) {
	err = in.decode(pool, body, runFields{
		"fence":          integerInto(&report.Fence),
		"status":         textInto(&report.Status),
		"counters":       in.countersInto(&report.Counters),
		"error":          optionalTextInto(&report.Error),
		"error_code":     optionalTextInto(&report.ErrorCode),
		"log_url":        optionalTextInto(&report.LogURL),
		"failed_records": in.recordsInto(&report.FailedRecords),
	})
	report.Mistyped = in.mistyped
	return in, report, err
}

// DecodeCancel decodes {"sync_run": {"force": true}}; an empty body is equal to
// {}. The errors are fault.Malformed and, for another type, fault.Invalid.
func DecodeCancel(pool *jsonpool.Pool, body []byte) (in RunRequest, force bool, err error) {
	err = in.decode(pool, body, runFields{"force": func(value jsontext.Value) bool {
		force = value.Kind() == jsontext.KindTrue
		return force || value.Kind() == jsontext.KindFalse
	}})
	if err == nil && len(in.mistyped) > 0 {
		err = in.Explain(&fault.Error{Kind: fault.Invalid, Fields: []fault.Field{{
			Name: "force", Code: "wrong_type", Detail: "force must be true or false",
		}}})
	}
	return in, force, err
}

// Explain adds to the fields of a fault their JSON pointers and, where it helps, the
// values that the client sent.
func (in *RunRequest) Explain(err error) error {
	return fault.Locate(err, func(f *fault.Field) {
		if f.Name == syncs.KeyField {
			return
		}
		switch f.Code {
		case "wrong_type", "out_of_range", "not_in_enum":
			if i := slices.IndexFunc(in.sent, func(m member) bool { return m.name == f.Name }); i >= 0 {
				f.Detail += ", got " + in.sent[i].excerpt()
			}
		}
		f.Pointer = strings.TrimSuffix(in.prefix+f.Name, "/")
	})
}

// decode decodes a body that is one object. It passes its members, or those of its
// member sync_run if there is one, to fields.
func (in *RunRequest) decode(pool *jsonpool.Pool, body []byte, fields runFields) error {
	const example = `{"sync_run": {…}}`
	in.prefix = "/"
	if len(body) == 0 {
		body = []byte("{}")
	}
	var top Request // for its errors alone
	var members []member
	kind, err := top.decodeObject(pool, body, runMember, example, func(dec *jsontext.Decoder) error {
		in.prefix = "/" + runMember + "/"
		value, err := valueIn(dec, body)
		if err != nil {
			return err
		}
		members, err = membersOf(pool, value)
		return err
	})
	switch {
	case err != nil:
		return err
	case kind == jsontext.KindInvalid:
		if members, err = membersOf(pool, body); err != nil {
			return err
		}
	case kind != jsontext.KindBeginObject:
		return invalid("/"+runMember, "wrong_type", runMember+" must be an object, got "+kindName(kind))
	default:
		in.Unknown = top.Unknown
	}
	for _, m := range members {
		take, known := fields[m.name]
		if !known {
			in.Unknown = append(in.Unknown, strings.TrimSuffix(in.prefix, "/")+string(jsontext.Pointer("").AppendToken(m.name)))
			continue
		}
		if !take(m.value) {
			in.mistyped = append(in.mistyped, m.name)
		}
		in.sent = append(in.sent, m)
	}
	return nil
}

// valueIn reads the next value of dec, which decodes body, and returns it as a part
// of body: a value of a decoder is valid only until the next read.
func valueIn(dec *jsontext.Decoder, body []byte) (jsontext.Value, error) {
	value, err := dec.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(dec.InputOffset())
	return body[end-len(value) : end], nil
}

// membersOf returns the members of a well-formed object, none for another value.
func membersOf(pool *jsonpool.Pool, object jsontext.Value) ([]member, error) {
	var members []member
	lent := pool.Get(object)
	defer pool.Put(lent)
	err := readObject(&lent.Decoder, func(name []byte) error {
		m := member{name: string(name)}
		var err error
		m.value, err = valueIn(&lent.Decoder, object)
		members = append(members, m)
		return err
	})
	return members, err
}

func textInto(to **string) func(jsontext.Value) bool {
	return func(value jsontext.Value) (fits bool) {
		*to, fits = decodeText(value)
		return fits
	}
}

// optionalTextInto returns a function that decodes a string into to and ignores null.
func optionalTextInto(to **string) func(jsontext.Value) bool {
	return func(value jsontext.Value) bool {
		return value.Kind() == jsontext.KindNull || textInto(to)(value)
	}
}

func integerInto(to **int64) func(jsontext.Value) bool {
	return func(value jsontext.Value) (fits bool) {
		*to, fits = decodeInteger(value)
		return fits
	}
}

// countersInto returns a function that decodes an object of counters; null is a
// counter that was not reported. A counter of another type is added to mistyped.
func (in *RunRequest) countersInto(to *runs.Counters) func(jsontext.Value) bool {
	return func(value jsontext.Value) bool {
		if value.Kind() != jsontext.KindBeginObject {
			return false
		}
		var pool jsonpool.Pool
		members, err := membersOf(&pool, value)
		if err != nil {
			return false
		}
		counters := map[string]**int64{
			"total_query_rows": &to.TotalQueryRows, "total_rows": &to.TotalRows, "skipped_rows": &to.SkippedRows,
			"successful_rows": &to.SuccessfulRows, "failed_rows": &to.FailedRows,
		}
		for _, m := range members {
			counter, known := counters[m.name]
			path := "counters/" + m.name
			switch {
			case !known:
				in.Unknown = append(in.Unknown, in.prefix+"counters"+string(jsontext.Pointer("").AppendToken(m.name)))
			case m.value.Kind() == jsontext.KindNull:
			case !integerInto(counter)(m.value):
				in.mistyped = append(in.mistyped, path)
			}
			in.sent = append(in.sent, member{path, m.value})
		}
		return true
	}
}

// recordsInto returns a function that decodes an array of failed rows.
func (in *RunRequest) recordsInto(to *[]runs.Record) func(jsontext.Value) bool {
	return func(value jsontext.Value) bool {
		if value.Kind() != jsontext.KindBeginArray {
			return value.Kind() == jsontext.KindNull
		}
		var pool jsonpool.Pool
		lent := pool.Get(value)
		defer pool.Put(lent)
		if _, err := lent.ReadToken(); err != nil {
			return false
		}
		for i := 0; lent.PeekKind() != jsontext.KindEndArray; i++ {
			row, err := valueIn(&lent.Decoder, value)
			if err != nil {
				return false
			}
			record, err := in.record(row, fmt.Sprintf("failed_records/%d", i))
			if err != nil {
				return false
			}
			*to = append(*to, record)
		}
		return true
	}
}

// record decodes an element of failed_records. An element that is not an object is added
// to mistyped.
func (in *RunRequest) record(row jsontext.Value, path string) (record runs.Record, err error) {
	if row.Kind() != jsontext.KindBeginObject {
		in.mistyped = append(in.mistyped, path)
		in.sent = append(in.sent, member{path, row})
		return runs.Record{}, nil
	}
	var pool jsonpool.Pool
	members, err := membersOf(&pool, row)
	fields := map[string]*string{"primary_key": &record.PrimaryKey, "action": &record.Action, "error": &record.Error}
	for _, m := range members {
		field, known := fields[m.name]
		if !known {
			in.Unknown = append(in.Unknown, in.prefix+path+string(jsontext.Pointer("").AppendToken(m.name)))
			continue
		}
		written, fits := decodeText(m.value)
		if fits {
			*field = *written
		} else {
			in.mistyped = append(in.mistyped, path+"/"+m.name)
		}
		in.sent = append(in.sent, member{path + "/" + m.name, m.value})
	}
	return record, err
}
