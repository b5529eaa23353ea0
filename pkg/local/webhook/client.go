package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/syncjson"
)

// timeout is how long an endpoint may take to respond. Standard Webhooks,
// "Deliverability", recommends 15 to 30 s.
const timeout = 15 * time.Second

// maxRetryAfter is the longest Retry-After that is observed. Our own choice.
const maxRetryAfter = time.Hour

// Bounds of a secret, in bytes (Standard Webhooks, "Signature scheme").
const (
	minSecret = 24
	maxSecret = 64
)

// Config is the endpoint of a Client.
type Config struct {
	URL    string
	Secret string // one or two secrets, separated by a space: 24 to 64 bytes in base64, optionally prefixed with whsec_
}

// Client sends events to an endpoint.
type Client struct {
	// Transport sends the requests. NewClient sets it.
	Transport http.RoundTripper

	now     func() time.Time
	url     string
	secrets [][]byte // each signs every event, so that a receiver can change from one to the other
}

// NewClient returns a Client. The error names the invalid setting of config.
func NewClient(config Config, now func() time.Time) (*Client, error) {
	address, err := url.Parse(config.URL)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Hostname() == "" {
		return nil, errors.New("WEBHOOK_URL must be an http or https address")
	}
	secrets, err := decodeSecrets(config.Secret)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: maxInFlight, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: timeout,
	}
	return &Client{Transport: transport, now: now, url: config.URL, secrets: secrets}, nil
}

// maxSecrets is how many secrets sign an event: the old one and the new one. Our own
// choice.
const maxSecrets = 2

// decodeSecrets decodes secrets that are separated by a space.
func decodeSecrets(text string) ([][]byte, error) {
	var secrets [][]byte
	for text := range strings.SplitSeq(text, " ") {
		secret, err := decodeSecret(text)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) > maxSecrets {
		return nil, fmt.Errorf("WEBHOOK_SECRET must be at most %d secrets, separated by a space, got %d", maxSecrets, len(secrets))
	}
	return secrets, nil
}

// decodeSecret decodes a secret as the libraries of Standard Webhooks do: base64
// with padding (RFC 4648, section 4). The error does not contain the secret.
func decodeSecret(text string) ([]byte, error) {
	encoded := strings.TrimPrefix(text, "whsec_")
	secret, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") || len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("WEBHOOK_SECRET must be %d to %d bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one", minSecret, maxSecret)
	}
	return secret, nil
}

// RefusalError reports a response whose status is not 2xx. Redirects are not
// followed and count as refusals.
type RefusalError struct {
	Status     int
	RetryAfter time.Duration // 0 if the response has none; at most an hour
}

func (e *RefusalError) Error() string {
	return fmt.Sprintf("the webhook responded with status %d", e.Status)
}

// Send sends an event of the API at origin once. It returns nil if the endpoint
// accepted the event, and a *RefusalError if it responded with another status than
// 2xx.
func (c *Client) Send(ctx context.Context, origin string, e event.Event) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(e.Data))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(c.now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Syncplane")
	r.Header.Set("Webhook-Id", e.ID)
	r.Header.Set("Webhook-Timestamp", at)
	var signatures []string
	for _, secret := range c.secrets {
		signatures = append(signatures, "v1,"+sign(secret, e.ID, at, e.Data))
	}
	r.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0",
		"Ce-Id":          e.ID,
		"Ce-Source":      event.Source(origin),
		"Ce-Type":        e.Type(),
		"Ce-Subject":     e.Subject,
		"Ce-Time":        e.Time.UTC().Format(syncjson.TimeLayout),
		"Ce-Dataschema":  e.Schema(origin),
		"Ce-Workspace":   e.Workspace,
	} {
		if value != "" { // CloudEvents attributes are not empty
			r.Header.Set(name, encodeHeader(value))
		}
	}
	client := http.Client{
		Transport:     c.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(r)
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err // without the URL, which may contain a secret
	}
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection is reused
	_ = response.Body.Close()                                         // only the status matters
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return &RefusalError{response.StatusCode, retryAfter(response.Header.Get("Retry-After"), c.now())}
	}
	return nil
}

// encodeHeader encodes an attribute for a header of the binary mode: spaces, quotes,
// percent signs and everything that is not visible ASCII are percent-encoded
// (CloudEvents, HTTP protocol binding 1.0.2, section 3.1.3.2).
func encodeHeader(value string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(value))
	for _, c := range []byte(strings.ToValidUTF8(value, "\ufffd")) {
		if c > ' ' && c <= '~' && c != '"' && c != '%' {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// retryAfter parses a Retry-After: a number of seconds or a date (RFC 9110, section
// 10.2.3). It returns 0 for an invalid value or a past date, and at most
// maxRetryAfter.
func retryAfter(text string, now time.Time) time.Duration {
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		seconds, err := strconv.ParseInt(text, 10, 32)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter // out of range
		}
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// sign returns the signature of a message in base64 (Standard Webhooks, "Signature
// scheme").
func sign(secret []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
