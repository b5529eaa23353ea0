// Package auth decides what a caller may do. It does not know how a caller is
// authenticated (see packages oidc and apikey), nor HTTP.
package auth

import (
	"slices"
	"strings"

	"syncplane/pkg/fault"
)

// Action is an operation that needs permission, named by the OAuth scope that
// permits it.
type Action string

// The actions.
const (
	ReadSyncs      Action = "syncs:read"
	WriteSyncs     Action = "syncs:write"
	ExecuteRuns    Action = "runs:execute"     // claim, heartbeat and finish in the caller's workspace
	ExecuteAllRuns Action = "runs:execute:all" // the same in every workspace
)

// Actions returns every Action.
func Actions() []Action { return []Action{ReadSyncs, WriteSyncs, ExecuteRuns, ExecuteAllRuns} }

// Known reports whether act is one of Actions.
func Known(act Action) bool { return slices.Contains(Actions(), act) }

// MaxWorkspace is the length of the longest name of a workspace, in bytes. Our own
// choice, well below what a key may have in every storage backend.
const MaxWorkspace = 128

// ValidWorkspace reports whether name is valid for a workspace: 1 to MaxWorkspace
// visible ASCII characters other than #, which separates the parts of keys.
func ValidWorkspace(name string) bool {
	forbidden := func(c rune) bool { return c <= ' ' || c > '~' || c == '#' }
	return name != "" && len(name) <= MaxWorkspace && !strings.ContainsFunc(name, forbidden)
}

// Caller is the authenticated client of a request.
type Caller struct {
	Workspace string   // the only workspace that it can see
	Subject   string   // the person or program, for the log
	Scopes    []string // the scopes that it was granted
}

// Check returns nil if who may do act, and a fault.Forbidden otherwise. A caller
// without a workspace may do nothing.
func Check(who Caller, act Action) error {
	if who.Workspace == "" {
		return fault.New(fault.Forbidden, "workspace_missing", "the token names no workspace, so it grants access to nothing")
	}
	if !slices.Contains(who.Scopes, string(act)) {
		return insufficientScope(act, "the token lacks the scope %q", act)
	}
	return nil
}

// CheckExecute returns nil if who may execute the runs of a workspace, its own or
// another, and a fault.Forbidden otherwise.
func CheckExecute(who Caller, workspace string) error {
	if slices.Contains(who.Scopes, string(ExecuteAllRuns)) && ValidWorkspace(workspace) {
		return nil
	}
	if who.Workspace != workspace {
		return insufficientScope(ExecuteAllRuns, "the token lacks the scope %q, which is required for the runs of other workspaces", ExecuteAllRuns)
	}
	return Check(who, ExecuteRuns)
}

func insufficientScope(required Action, format string, args ...any) error {
	err := fault.New(fault.Forbidden, "insufficient_scope", format, args...)
	err.Scope = string(required)
	return err
}
