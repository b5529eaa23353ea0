// Package remote makes clients of the HTTP API for commands: with a bearer token, with
// retries, and with errors for people. It knows the generated client; it does not know
// where a command gets its settings.
package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"syncplane/pkg/backoff"
	"syncplane/pkg/client"
	"syncplane/pkg/syncs"
)

// The bounds of retries. Our own choices: a rate limit of a create regains a token
// within minutes, and a command that waits longer looks stuck.
const (
	maxAttempts = 8
	firstPause  = 200 * time.Millisecond
	maxPause    = 30 * time.Second
)

// requestTimeout is the timeout of one attempt. API Gateway responds within 30 s.
const requestTimeout = 40 * time.Second

// New returns a client of the API at an address. It repeats requests that are safe to
// repeat after a 429, a 503 and a lost connection.
func New(address, token string) (*client.ClientWithResponses, error) {
	return client.NewClientWithResponses(address,
		client.WithHTTPClient(&retrier{next: &http.Client{Timeout: requestTimeout}, address: address, pause: backoff.Sleep}),
		client.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Accept", "application/json")
			return nil
		}))
}

// retrier repeats requests.
type retrier struct {
	next    *http.Client
	address string // for messages
	pause   func(ctx context.Context, d time.Duration) error
}

// Do sends a request.
func (d *retrier) Do(r *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		response, err := d.next.Do(r) //nolint:gosec // the address that the user names
		if err := Explain(err, d.address); errors.Is(err, errNoServer) {
			return nil, err
		}
		wait, again := retryAfter(r, response, err, attempt)
		if !again {
			return response, err
		}
		if response != nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		if err := d.pause(r.Context(), wait); err != nil {
			return nil, err
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// errNoServer is the error if a connection is refused.
var errNoServer = errors.New("no server listens")

// Explain returns the error of a request to an address for people.
func Explain(err error, address string) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w at %s; start one with syncplane serve, or set SYNCPLANE_URL", errNoServer, Redacted(address))
	}
	return err
}

// Redacted returns an address without its password.
func Redacted(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	return parsed.Redacted()
}

// isLasting reports whether a request that failed with err fails each time: the address
// is wrong, or the server is not the one that it should be.
func isLasting(err error) bool {
	if unknown, ok := errors.AsType[*net.DNSError](err); ok {
		return unknown.IsNotFound
	}
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	return untrusted || errors.Is(err, http.ErrSchemeMismatch)
}

// retryAfter returns whether a request is to be repeated, and when.
func retryAfter(r *http.Request, response *http.Response, err error, attempt int) (time.Duration, bool) {
	if attempt == maxAttempts || r.Context().Err() != nil || r.Method == http.MethodPost && r.Header.Get("Idempotency-Key") == "" {
		return 0, false
	}
	pause := min(firstPause<<attempt, maxPause)
	if err != nil {
		return pause, !isLasting(err)
	}
	if response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
		return 0, false
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		return pause, true
	}
	return time.Duration(seconds) * time.Second, time.Duration(seconds)*time.Second <= maxPause
}

// Pages returns the pages of the list of syncs, with as many syncs as the API returns at
// once. It ends after an error.
func Pages(ctx context.Context, api *client.ClientWithResponses, status *client.SyncStatus) iter.Seq2[*client.ListSyncsResponse, error] {
	return func(yield func(*client.ListSyncsResponse, error) bool) {
		size := syncs.MaxPage
		params := client.ListSyncsParams{PageSize: &size, FilterStatus: status}
		for {
			page, err := api.ListSyncsWithResponse(ctx, &params)
			if err := Check(page, err); err != nil {
				yield(nil, err)
				return
			}
			if params.PageAfter = page.JSON200.Meta.Page.After; !yield(page, nil) || params.PageAfter == nil {
				return
			}
		}
	}
}

// Response is implemented by the responses of the generated client.
type Response interface {
	StatusCode() int
	GetBody() []byte
	ContentType() string
}

// Error is a response that is not a success.
type Error struct {
	Status int
	Errors []client.APIError // nil if the response is not one of the API
	text   string            // the beginning of the body then
}

// Error returns a line for each error: what is wrong, the code and the place.
func (e *Error) Error() string {
	if len(e.Errors) == 0 {
		return fmt.Sprintf("the response is not one of the API: status %d, %s", e.Status, e.text)
	}
	var lines []string
	for _, one := range e.Errors {
		known := []string{string(one.Code)}
		if s := one.Source; s != nil {
			for _, place := range []*string{s.Pointer, s.Parameter, s.Header} {
				if place != nil {
					known = append(known, *place)
				}
			}
		}
		lines = append(lines, one.Detail+" ("+strings.Join(known, ", ")+")")
	}
	return strings.Join(lines, "\n")
}

// Has reports whether err is an Error with a code.
func Has(err error, code client.APIErrorCode) bool {
	failure, ok := errors.AsType[*Error](err)
	if !ok {
		return false
	}
	for _, one := range failure.Errors {
		if one.Code == code {
			return true
		}
	}
	return false
}

// StatusOf returns the status of an Error, 0 for other errors.
func StatusOf(err error) int {
	if failure, ok := errors.AsType[*Error](err); ok {
		return failure.Status
	}
	return 0
}

// maxExcerpt is the longest part of an unknown response that is repeated, in bytes.
const maxExcerpt = 100

// Check returns nil for a success, and otherwise err or an Error.
func Check(r Response, err error) error {
	if err != nil {
		return err
	}
	if isJSON := strings.HasPrefix(r.ContentType(), "application/json"); r.StatusCode()/100 == 2 && (isJSON || len(r.GetBody()) == 0) {
		return nil
	}
	return Failure(r.StatusCode(), r.GetBody())
}

// Failure returns the Error for a response.
func Failure(status int, body []byte) error {
	failure := &Error{Status: status}
	var document client.Errors
	if json.Unmarshal(body, &document) == nil && len(document.Errors) > 0 {
		failure.Errors = document.Errors
		return failure
	}
	if len(body) > maxExcerpt {
		body = body[:maxExcerpt]
	}
	failure.text = strconv.Quote(string(body))
	return failure
}

// Printable replaces characters that are not visible, such as those that control a
// terminal.
func Printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return unicode.ReplacementChar
	}, text)
}
