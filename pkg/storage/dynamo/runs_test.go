package dynamo_test

import (
	"testing"

	"pgregory.net/rapid"

	"syncplane/pkg/app"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/storage/storagetest/runstest"
	"syncplane/pkg/testkit/chaosproxy"
)

func backend(store, truth *dynamo.Store) runstest.Backend {
	clock := runstest.NewClock()
	return runstest.Backend{
		Runs: dynamo.Runs{Store: store, Now: clock.Now}, Syncs: store,
		Truth: dynamo.Runs{Store: truth, Now: clock.Now}, Clock: clock,
	}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	runstest.Run(t, func(t *testing.T) runstest.Backend {
		store := open(t, config(t))
		return backend(store, store)
	})
}

// TestRunModel runs the model over a DynamoDB that throttles, resets
// connections and loses answers.
func TestRunModel(t *testing.T) {
	runstest.Limit(t, 5) // over a network a check takes half a second
	c := config(t)
	truth := open(t, c)
	proxy := chaosproxy.Start(t, c.DynamoDBEndpoint, 1, 0.1)
	c.DynamoDBEndpoint = proxy.URL
	store := app.DynamoDB(c)
	var figures runstest.Figures
	rapid.Check(t, runstest.Check(func(*rapid.T) runstest.Backend { return backend(store, truth) }, &figures))
	t.Logf("%+v, %d faults", figures, proxy.Faults())
}
