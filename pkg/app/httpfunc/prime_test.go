package httpfunc_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/cloud/preconnect"
	"syncplane/pkg/storage/dynamo"
)

// refuser is an HTTP client that counts requests and sends none.
type refuser struct{ requests atomic.Int64 }

func (r *refuser) Do(*http.Request) (*http.Response, error) {
	r.requests.Add(1)
	return nil, errors.New("it sends nothing")
}

// TestPrime checks that priming goes through a whole create, and that nothing of it
// reaches DynamoDB.
func TestPrime(t *testing.T) {
	t.Parallel()
	client := &refuser{}
	store := &dynamo.Store{Table: "syncs", Client: dynamodb.New(dynamodb.Options{
		Region: "eu-central-1", HTTPClient: client,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret"}, nil
		}),
	})}
	if err := httpfunc.Prime(t.Context(), store); err != nil {
		t.Error(err)
	}
	if n := client.requests.Load(); n != 0 {
		t.Errorf("%d requests to DynamoDB, want none", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := httpfunc.Prime(ended, store); err == nil {
		t.Error("priming succeeds in a context that has ended")
	}
}

// TestWarm checks that priming runs while a TLS handshake is not yet complete, and not
// at all without one, and that a failure is logged and does not end the init phase.
func TestWarm(t *testing.T) {
	t.Parallel()
	failing := func(context.Context) error { return errors.New("it fails") }
	for _, test := range []struct {
		name   string
		secure bool
		prime  func(context.Context) error
		primed bool
		logged string
	}{
		{"with TLS", true, nil, true, ""},
		{"without TLS", false, nil, false, ""},
		{"priming fails", true, failing, true, "it fails"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			primed := make(chan struct{})
			server := httptest.NewUnstartedServer(http.NotFoundHandler())
			server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
				<-primed        // the handshake ends after priming
				return nil, nil //nolint:nilnil // it stands for the configuration of the server
			}}
			roots := x509.NewCertPool()
			if test.secure {
				server.StartTLS()
				roots.AddCert(server.Certificate())
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			address, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			client := preconnect.New(preconnect.Config{TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
			connect := func(ctx context.Context) error { return client.Connect(ctx, address) }
			called := false
			prime := func(ctx context.Context) error {
				called = true
				close(primed)
				if test.prime != nil {
					return test.prime(ctx)
				}
				return nil
			}
			var log bytes.Buffer
			keys := func(context.Context) error { return nil }
			httpfunc.Warm([]httpfunc.Connection{httpfunc.NewConnection("keys", keys), httpfunc.NewConnection("table", connect)}, prime, slog.New(slog.NewJSONHandler(&log, nil)))
			if called != test.primed {
				t.Errorf("primed: %v, want %v", called, test.primed)
			}
			if test.logged == "" && log.Len() > 0 || !strings.Contains(log.String(), test.logged) {
				t.Errorf("got the log %q", &log)
			}
		})
	}
}

// TestWarmFails checks that a connection that cannot be opened is logged with its name.
func TestWarmFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	httpfunc.Warm([]httpfunc.Connection{httpfunc.NewConnection("table", func(context.Context) error { return errors.New("no route") })},
		func(context.Context) error { panic("there is no handshake") }, slog.New(slog.NewJSONHandler(&log, nil)))
	for _, want := range []string{`"level":"WARN"`, `"what":"table"`, `"error":"no route"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("got the log %q, want %s", &log, want)
		}
	}
}
