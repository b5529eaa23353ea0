package oidc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"syncplane/pkg/tlsdial"
)

// KeySource returns a JSON Web Key Set (RFC 7517).
type KeySource func(ctx context.Context) ([]byte, error)

// The bounds of a fetch. Our own choices: an issuer responds within milliseconds,
// with a few KB.
const (
	fetchTimeout = 3 * time.Second
	maxFetched   = 1 << 20 // bytes
	maxRedirects = 3
	idleTimeout  = 90 * time.Second // as in net/http's default transport
)

// Static returns a KeySource of a fixed key set.
func Static(keys []byte) KeySource {
	return func(context.Context) ([]byte, error) { return keys, nil }
}

// URL returns a KeySource that fetches the key set from an address.
func URL(address string) KeySource {
	client := newClient()
	return func(ctx context.Context) ([]byte, error) { return fetch(ctx, client, address) }
}

// Discover returns a KeySource that fetches the issuer's metadata and then the key
// set that they refer to (OpenID Connect Discovery 1.0, section 4).
func Discover(issuer string) KeySource {
	client := newClient()
	return func(ctx context.Context) ([]byte, error) {
		text, err := fetch(ctx, client, strings.TrimRight(issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, err
		}
		var metadata struct{ issuer, keys string }
		if !readMembers(jsontext.NewDecoder(bytes.NewBuffer(text)), func(name string, value jsontext.Value) (ok bool) {
			switch ok = true; name {
			case "issuer":
				metadata.issuer, ok = textOf(value)
			case "jwks_uri":
				metadata.keys, ok = textOf(value)
			}
			return ok
		}) {
			return nil, errors.New("the issuer's metadata is not a JSON object with issuer and jwks_uri")
		}
		if metadata.issuer != issuer { // section 4.3, against impersonation
			return nil, fmt.Errorf("the issuer in the metadata is %q, want %q", metadata.issuer, issuer)
		}
		if insecure(metadata.keys) && !insecure(issuer) {
			return nil, errors.New("the issuer's jwks_uri must be an https address, as the issuer is")
		}
		return fetch(ctx, client, metadata.keys)
	}
}

// newClient returns a client that follows at most maxRedirects redirects, and none
// from https to http.
func newClient() *http.Client {
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			DialContext:     tlsdial.Dialer{}.DialContext,
			DialTLSContext:  tlsdial.Dialer{}.DialTLSContext,
			IdleConnTimeout: idleTimeout,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if r.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https" {
				return errors.New("a redirect from https to http")
			}
			return nil
		},
	}
}

func insecure(address string) bool {
	parsed, err := url.Parse(address)
	return err != nil || parsed.Scheme != "https"
}

func fetch(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", address, err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", address, err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: status %d", address, response.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxFetched+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", address, err)
	}
	if len(text) > maxFetched {
		return nil, fmt.Errorf("fetch %s: more than %d bytes", address, maxFetched)
	}
	return text, nil
}
