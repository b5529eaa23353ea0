package bolt_test

import (
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/storagetest/runstest"
)

func backend(store *bolt.Store) runstest.Backend {
	clock := runstest.NewClock()
	all := bolt.Runs{Store: store, Now: clock.Now}
	return runstest.Backend{Runs: all, Syncs: store, Truth: all, Clock: clock}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	runstest.Run(t, func(t *testing.T) runstest.Backend {
		return backend(open(t, filepath.Join(t.TempDir(), "syncs.db")))
	})
}

func TestRunModel(t *testing.T) {
	runstest.Limit(t, 30)
	store := open(t, filepath.Join(t.TempDir(), "syncs.db"))
	var figures runstest.Figures
	rapid.Check(t, runstest.Check(func(*rapid.T) runstest.Backend {
		return backend(store)
	}, &figures))
	t.Logf("%+v", figures)
}
