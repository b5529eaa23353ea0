// Package access decides what a caller may do. It is pure: it knows neither
// where a caller comes from (see package bearer) nor HTTP.
package access

import (
	"fmt"
	"slices"

	"syncplane/pkg/fault"
)

// Action is something a caller may or may not do, named by the OAuth scope
// that allows it.
type Action string

// The actions there are.
const (
	WriteSyncs Action = "syncs:write"
)

// Caller is who makes a request, as far as its token proves it.
type Caller struct {
	Workspace string   // the only workspace it can see
	Subject   string   // the person or machine, for the log
	Scopes    []string // what it was granted
}

// Check returns nil if who may do act and a fault.Forbidden if not. A caller
// without a workspace may do nothing.
func Check(who Caller, act Action) error {
	if who.Workspace == "" {
		return &fault.Error{
			Kind:    fault.Forbidden,
			Code:    "workspace_missing",
			Message: "the token names no workspace, so there is nothing it may use",
		}
	}
	if !slices.Contains(who.Scopes, string(act)) {
		return &fault.Error{
			Kind:    fault.Forbidden,
			Code:    "insufficient_scope",
			Message: fmt.Sprintf("the token lacks the scope %q", string(act)),
			Scope:   string(act),
		}
	}
	return nil
}
