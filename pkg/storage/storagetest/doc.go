// Package storagetest holds the conformance tests of the storage backends: every
// backend runs RunSyncs, RunKeys and RunRateLimits, one suite for each interface
// that it implements. Package runstest holds the suite for runs. A suite is a
// list of named tests; a promise in an interface's comments has a test here.
package storagetest

import (
	"testing"

	"syncplane/pkg/fault"
)

// test is one named test of a store.
type test[S any] struct {
	name string
	run  func(t *testing.T, store S)
}

// runAll runs each test over a store that open returns for it.
func runAll[S any](t *testing.T, open func(t *testing.T) S, tests []test[S]) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func wantKind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if !fault.Is(err, want) {
		t.Errorf("got %v, want a fault of kind %v", err, want)
	}
}
