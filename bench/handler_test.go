package main_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"syncplane/pkg/app"
	"syncplane/pkg/app/httpfunc"
	"syncplane/pkg/auth/oidc"
	"syncplane/pkg/syncs"
)

// discard is a store that drops what it is given.
type discard struct{ syncs.Store }

func (discard) Create(context.Context, syncs.Sync) error { return nil }

// BenchmarkVerify measures the verification of an ES256 signature by the standard library.
func BenchmarkVerify(b *testing.B) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("token"))
	signature, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.VerifyASN1(&private.PublicKey, digest[:], signature) {
			b.Fatal("the signature is invalid")
		}
	}
}

// BenchmarkCreate measures a create without its store: event, ES256 token,
// validation, response, log and metrics.
func BenchmarkCreate(b *testing.B) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: "k"}}})
	if err != nil {
		b.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "k"))
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile("../events/create-sync.json")
	if err != nil {
		b.Fatal(err)
	}
	var event events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(text, &event); err != nil {
		b.Fatal(err)
	}
	// These are more tokens than the cache holds, so that each is verified.
	payloads := make([][]byte, 1500)
	for i := range payloads {
		token, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": "i", "aud": "a", "jti": i, "workspace_id": "w", "scope": "syncs:write", "exp": time.Now().Add(time.Hour).Unix(),
		}).Serialize()
		if err != nil {
			b.Fatal(err)
		}
		event.Headers["authorization"] = "Bearer " + token
		if payloads[i], err = json.Marshal(event); err != nil {
			b.Fatal(err)
		}
	}
	verifier := oidc.New(oidc.Config{Issuer: "i", Audiences: []string{"a"}, WorkspaceClaim: "workspace_id"}, oidc.Static(keys), time.Now)
	handler := httpfunc.Handler(httpfunc.Deps{Store: discard{}, Caller: verifier.Caller, Log: app.Logger(io.Discard, ""), MetricsOf: "api"})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		answer, err := handler.Invoke(b.Context(), payloads[i%len(payloads)])
		if err != nil || !strings.HasPrefix(string(answer[:20]), `{"statusCode":200`) {
			b.Fatalf("%v: %s", err, answer)
		}
	}
}
