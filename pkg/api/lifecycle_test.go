package api_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"syncplane/pkg/api"
	"syncplane/pkg/api/apitest"
	"syncplane/pkg/app"
	"syncplane/pkg/runs"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/storage/dynamo"
	"syncplane/pkg/syncs"
	"syncplane/pkg/testkit/bolttest"
	"syncplane/pkg/testkit/dynamotest"
)

func TestLifecycleOnBolt(t *testing.T) {
	t.Parallel()
	store := bolttest.Open(t)
	apitest.RunLifecycle(t, serverOver(store, bolt.Runs{Store: store, Now: time.Now}))
}

func TestLifecycleOnDynamoDB(t *testing.T) {
	t.Parallel()
	store := app.DynamoDB(dynamotest.NewTable(t))
	apitest.RunLifecycle(t, serverOver(store, dynamo.Runs{Store: store, Now: time.Now}))
}

// apiOver returns the API over a store.
func apiOver(store syncs.Store, of runs.Store) *api.API {
	return api.New(api.Config{
		Syncs:  &syncs.Service{Store: store, Now: time.Now, NewID: func() (string, error) { id, err := uuid.NewV7(); return id.String(), err }},
		Runs:   app.Runs(of, store, runs.DefaultRetention().Runs),
		Caller: caller, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
}

// serverOver returns the API over a store, in this process.
func serverOver(store syncs.Store, of runs.Store) apitest.Server {
	handler := apiOver(store, of)
	return apitest.Server{
		Do: func(r *http.Request) (*http.Response, error) {
			r.Header.Set(api.RequestIDHeader, uuid.NewString())
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			return w.Result(), nil
		},
		Token: func(_ testing.TB, workspace string, scopes ...string) string {
			return workspace + " " + strings.Join(scopes, " ")
		},
	}
}
