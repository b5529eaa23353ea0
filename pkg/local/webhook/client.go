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

// timeout is how long an endpoint may take to answer. Standard Webhooks,
// "Deliverability", wants 15 to 30 s.
const timeout = 15 * time.Second

// maxRetryAfter is the longest Retry-After that is honoured.
const maxRetryAfter = time.Hour

// The bounds of a secret, in bytes (Standard Webhooks, "Signature scheme").
const (
	minSecret = 24
	maxSecret = 64
)

// Config is where events go.
type Config struct {
	URL    string
	Secret string // of 24 to 64 bytes, in base64; whsec_ may stand before it
}

// Client sends events to an endpoint.
type Client struct {
	// Transport carries the requests. NewClient sets it.
	Transport http.RoundTripper

	now    func() time.Time
	url    string
	secret []byte
}

// NewClient returns a Client. The error says what is wrong with config.
func NewClient(config Config, now func() time.Time) (*Client, error) {
	address, err := url.Parse(config.URL)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" {
		return nil, errors.New("WEBHOOK_URL must be an http or https address")
	}
	secret, err := decodeSecret(config.Secret)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: maxInFlight, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: timeout,
	}
	return &Client{Transport: transport, now: now, url: config.URL, secret: secret}, nil
}

// decodeSecret returns the bytes that a secret stands for, as the libraries of
// Standard Webhooks read it: base64 with padding (RFC 4648, section 4). The
// error does not hold the secret.
func decodeSecret(text string) ([]byte, error) {
	encoded := strings.TrimPrefix(text, "whsec_")
	secret, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") || len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("WEBHOOK_SECRET must be %d to %d bytes in base64; `echo whsec_$(openssl rand -base64 32)` makes one", minSecret, maxSecret)
	}
	return secret, nil
}

// RefusalError is an answer that is not 2xx; a redirect is none.
type RefusalError struct {
	Status     int
	RetryAfter time.Duration // 0 if the answer names none; at most an hour
}

func (e *RefusalError) Error() string { return fmt.Sprintf("the webhook answers %d", e.Status) }

// Send sends an event of the API at origin once. It returns nil if the endpoint
// took the event, and a *RefusalError if it did not.
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
	r.Header.Set("Webhook-Signature", "v1,"+sign(c.secret, e.ID, at, e.Data))
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
		if value != "" { // an attribute is not empty if it is there
			r.Header.Set(name, encodeHeader(value))
		}
	}
	client := http.Client{
		Transport:     c.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(r)
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err // without the address, which may hold a secret
	}
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection is used again
	_ = response.Body.Close()                                         // the status has decided
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return &RefusalError{response.StatusCode, retryAfter(response.Header.Get("Retry-After"), c.now())}
	}
	return nil
}

// encodeHeader returns an attribute as a header of the binary mode has it: spaces,
// quotes, percent signs and all that is not visible ASCII are percent-encoded
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

// retryAfter reads a Retry-After: a number of seconds or a date (RFC 9110, section
// 10.2.3). What is neither, or past, is 0; what is too long is the longest.
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

// sign returns the signature of a message, base64 (Standard Webhooks, "Signature
// scheme").
func sign(secret []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
