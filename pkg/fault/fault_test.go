package fault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"syncplane/pkg/fault"
)

func TestNew(t *testing.T) {
	t.Parallel()
	want := &fault.Error{Kind: fault.Conflict, Code: "taken", Message: `"a" is taken at 5%`}
	if diff := cmp.Diff(want, fault.New(fault.Conflict, "taken", "%q is taken at %d%%", "a", 5)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("plain text", fault.New(fault.Conflict, "taken", "plain text").Message); diff != "" {
		t.Error(diff)
	}
}

// TestKinds checks Is and String for every kind, wrapped and not.
func TestKinds(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, kind := range fault.Kinds() {
		err := fmt.Errorf("read a sync: %w", fault.New(kind, "code", "message"))
		for _, other := range fault.Kinds() {
			if got := fault.Is(err, other); got != (kind == other) {
				t.Errorf("Is(%v, %v) = %t", kind, other, got)
			}
		}
		if fault.Is(nil, kind) || fault.KindOf(nil) == kind {
			t.Errorf("nil is of kind %v", kind)
		}
		if name := kind.String(); names[name] || strings.Contains(name, "(") {
			t.Errorf("kind %d has the name %q", int(kind), name)
		}
		names[kind.String()] = true
	}
	plain := errors.New("plain")
	if !fault.Is(plain, fault.Internal) || fault.KindOf(plain) != fault.Internal {
		t.Error("an unclassified error is not Internal")
	}
	if got := fault.Kind(99).String(); got != "Kind(99)" {
		t.Errorf("got %s", got)
	}
}

// TestLocate checks that fields without a place get one in a copy, and that the
// error itself, which may be a sentinel, is not modified.
func TestLocate(t *testing.T) {
	t.Parallel()
	fields := func() []fault.Field {
		return []fault.Field{{Name: "a"}, {Name: "b", Header: "B"}}
	}
	sentinel := &fault.Error{Kind: fault.Invalid, Fields: fields()}
	for name, err := range map[string]error{"bare": sentinel, "wrapped": fmt.Errorf("create: %w", sentinel)} {
		located := fault.Locate(err, func(f *fault.Field) { f.Pointer = "/" + f.Name })
		want := &fault.Error{Kind: fault.Invalid, Fields: []fault.Field{{Name: "a", Pointer: "/a"}, {Name: "b", Header: "B"}}}
		if diff := cmp.Diff(error(want), located); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(fields(), sentinel.Fields); diff != "" {
			t.Errorf("%s: the sentinel was modified: %s", name, diff)
		}
		if again := fault.Locate(located, func(*fault.Field) { t.Errorf("%s: a field is placed twice", name) }); !errors.Is(again, located) {
			t.Errorf("%s: got another error", name)
		}
	}
	plain := errors.New("plain")
	if got := fault.Locate(plain, func(*fault.Field) {}); !cmp.Equal(got, plain, cmpopts.EquateErrors()) {
		t.Errorf("got %v", got)
	}
}
