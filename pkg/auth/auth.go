// Package access decides what a caller may do. It is pure: it knows neither
// where a caller comes from (see package bearer) nor HTTP.
package auth

import (
	"fmt"
	"slices"
	"strings"

	"syncplane/pkg/fault"
)

// Action is something a caller may or may not do, named by the OAuth scope
// that allows it.
type Action string

// The actions there are.
const (
	ReadSyncs      Action = "syncs:read"
	WriteSyncs     Action = "syncs:write"
	ExecuteRuns    Action = "runs:execute"     // claim, heartbeat and finish in the caller's workspace
	ExecuteAllRuns Action = "runs:execute:all" // the same in every workspace
)

// Actions is every Action.
func Actions() []Action { return []Action{ReadSyncs, WriteSyncs, ExecuteRuns, ExecuteAllRuns} }

// Known reports whether there is such an action.
func Known(act Action) bool { return slices.Contains(Actions(), act) }

// MaxWorkspace is the longest name of a workspace, in bytes. Our own choice; it
// is half of a key of DynamoDB, which may have 2,048.
const MaxWorkspace = 128

// ValidWorkspace reports whether name can be that of a workspace: 1 to
// MaxWorkspace visible ASCII characters, and no #, which has a meaning in keys.
func ValidWorkspace(name string) bool {
	odd := func(c rune) bool { return c <= ' ' || c > '~' || c == '#' }
	return name != "" && len(name) <= MaxWorkspace && !strings.ContainsFunc(name, odd)
}

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

// CheckExecute returns nil if who may execute runs of a workspace, its own or
// another, and a fault.Forbidden if not.
func CheckExecute(who Caller, workspace string) error {
	if slices.Contains(who.Scopes, string(ExecuteAllRuns)) && ValidWorkspace(workspace) {
		return nil
	}
	if who.Workspace != workspace {
		return &fault.Error{
			Kind:    fault.Forbidden,
			Code:    "insufficient_scope",
			Message: fmt.Sprintf("the token lacks the scope %q, which runs of another workspace need", string(ExecuteAllRuns)),
			Scope:   string(ExecuteAllRuns),
		}
	}
	return Check(who, ExecuteRuns)
}
