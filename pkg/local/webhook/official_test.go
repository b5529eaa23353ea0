package webhook_test

import (
	"crypto/rand"
	"encoding/base64"
	"os/exec"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"syncplane/pkg/local/webhook"
)

// TestOfficialLibrary verifies deliveries by the Go library of Standard
// Webhooks, with secrets made as docs/events.md describes.
func TestOfficialLibrary(t *testing.T) {
	t.Parallel()
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		t.Fatal(err)
	}
	prefixed := "whsec_" + base64.StdEncoding.EncodeToString(random)
	if _, err := exec.LookPath("openssl"); err == nil {
		made, err := exec.CommandContext(t.Context(), "sh", "-c", "echo whsec_$(openssl rand -base64 32)").Output()
		if err != nil {
			t.Fatal(err)
		}
		prefixed = strings.TrimSpace(string(made))
	}
	for name, secret := range map[string]string{
		"whsec_ and base64": prefixed,
		"base64":            strings.TrimPrefix(prefixed, "whsec_"),
		"24 bytes":          base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\xff", 24))),
		"64 bytes, padded":  "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", 64))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			receiver, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			other, err := standardwebhooks.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString([]byte(plain)))
			if err != nil {
				t.Fatal(err)
			}
			g := newHarness(t)
			g.now = time.Now // the library refuses a timestamp of another time
			g.run(secret)
			g.create()
			g.await(1)
			g.stop()
			got := g.endpoint.got[0]
			if err := receiver.Verify([]byte(got.body), got.header); err != nil {
				t.Errorf("%v: %v", err, got.header)
			}
			if err := receiver.Verify([]byte(got.body+" "), got.header); err == nil {
				t.Error("another body is verified")
			}
			if err := other.Verify([]byte(got.body), got.header); err == nil {
				t.Error("another secret verifies it")
			}
		})
	}
}

// TestTwoSecrets checks that a receiver with the old or with the new secret accepts an
// event while a secret is changed, and that a third secret is refused.
func TestTwoSecrets(t *testing.T) {
	t.Parallel()
	secrets := []string{
		"whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", 32))),
		base64.StdEncoding.EncodeToString([]byte(strings.Repeat("b", 32))),
	}
	g := newHarness(t)
	g.now = time.Now // the library refuses a timestamp of another time
	g.run(strings.Join(secrets, " "))
	g.create()
	g.await(1)
	g.stop()
	got := g.endpoint.got[0]
	for _, secret := range secrets {
		receiver, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := receiver.Verify([]byte(got.body), got.header); err != nil {
			t.Errorf("%v: %v", err, got.header)
		}
	}
	for _, text := range []string{strings.Join(append(secrets, secrets[0]), " "), secrets[0] + "  " + secrets[1], secrets[0] + " "} {
		if _, err := webhook.NewClient(webhook.Config{URL: "https://example.com", Secret: text}, time.Now); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}
