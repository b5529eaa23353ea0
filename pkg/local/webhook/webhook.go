// Package webhook delivers events by HTTP POST: CloudEvents in binary mode,
// signed as Standard Webhooks 1.0 have it. It reads the feed of the embedded
// store, in order, and goes on only when an event was taken.
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
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
	"syncplane/pkg/syncjson"
)

// The bounds of a delivery. Standard Webhooks, "Deliverability", wants 15 to
// 30 s and growing pauses.
const (
	timeout    = 15 * time.Second
	firstPause = time.Second
	maxPause   = 5 * time.Minute
	maxBatch   = 100 // events read from the feed at once

	maxStorePause = 10 * time.Second // after the store failed; our own choice
)

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

// Store holds the events: a *bolt.Store, or one that fails for a while.
type Store interface {
	Mark(name string) (mark uint64, ok bool, err error)
	Last() (sequence uint64, grown <-chan struct{})
	Events(after uint64, limit int) ([]bolt.Entry, error)
	Publish(ctx context.Context, events []event.Event, name string, mark uint64) error
}

var _ Store = (*bolt.Store)(nil)

// Sender sends the events of a store.
type Sender struct {
	Store  Store
	Origin string
	Now    func() time.Time
	Log    *slog.Logger

	// Pause waits before a delivery is tried again; nil is a timer.
	Pause func(ctx context.Context, d time.Duration)

	url    string
	secret []byte
	client *http.Client
}

// New returns a Sender. The error says what is wrong with config.
func New(config Config, store Store, origin string, now func() time.Time, log *slog.Logger) (*Sender, error) {
	address, err := url.Parse(config.URL)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" {
		return nil, errors.New("WEBHOOK_URL must be an http or https address")
	}
	secret, err := decodeSecret(config.Secret)
	if err != nil {
		return nil, err
	}
	return &Sender{
		Store: store, Origin: origin, Now: now, Log: log, Pause: pause, url: config.URL, secret: secret,
		client: &http.Client{
			// A redirect is an answer that is not 2xx.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
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

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Run sends until ctx ends. The first time, events from now on are sent; later
// from where it was. An event is sent until it is taken; a crash may send the
// last one again. While the store fails, Run logs it and tries again.
func (s *Sender) Run(ctx context.Context) {
	after, ok := s.begin(ctx)
	for ok && ctx.Err() == nil {
		_, grown := s.Store.Last()
		var entries []bolt.Entry
		s.retry(ctx, func() (err error) {
			entries, err = s.Store.Events(after, maxBatch)
			return err
		})
		for _, e := range entries {
			if !s.deliver(ctx, e.Event) {
				return // ctx has ended
			}
			after = e.Sequence
			s.mark(ctx, after)
		}
		if len(entries) > 0 {
			continue
		}
		select {
		case <-grown:
		case <-ctx.Done():
		}
	}
}

// begin returns the number of the last event that need not be sent. ok is false
// if ctx ends first.
func (s *Sender) begin(ctx context.Context) (after uint64, ok bool) {
	known := false
	ok = s.retry(ctx, func() (err error) {
		after, known, err = s.Store.Mark(bolt.Reader)
		return err
	})
	if ok && !known {
		after, _ = s.Store.Last()
		ok = s.mark(ctx, after)
	}
	return after, ok
}

// mark stores that all events up to a number were taken, even if ctx ends.
func (s *Sender) mark(ctx context.Context, after uint64) bool {
	return s.retry(ctx, func() error {
		return s.Store.Publish(context.WithoutCancel(ctx), nil, bolt.Reader, after)
	})
}

// retry calls do until it succeeds: a disk that is full has room again. It
// returns false if ctx ends first.
func (s *Sender) retry(ctx context.Context, do func() error) bool {
	for wait := firstPause; ; wait = min(2*wait, maxStorePause) {
		err := do()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.Log.LogAttrs(ctx, slog.LevelError, "webhook", slog.String("error", err.Error()))
		s.Pause(ctx, wait)
	}
}

// deliver sends e until it is taken. It returns false if ctx ends first.
func (s *Sender) deliver(ctx context.Context, e event.Event) bool {
	for wait := firstPause; ctx.Err() == nil; wait = min(2*wait, maxPause) {
		err := s.send(ctx, e)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.Log.LogAttrs(ctx, slog.LevelWarn, "webhook", slog.String("event", e.ID), slog.String("error", err.Error()))
		s.Pause(ctx, wait/2+rand.N(wait/2)) //nolint:gosec // jitter, not a secret
	}
	return false
}

// grace is how long a delivery that is under way may take when ctx ends: what
// is taken meanwhile need not be sent again.
const grace = 2 * time.Second

// send sends e once.
func (s *Sender) send(ctx context.Context, e event.Event) error {
	ending := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	defer context.AfterFunc(ending, func() { time.AfterFunc(grace, cancel) })()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(e.Data))
	if err != nil {
		return err
	}
	at := strconv.FormatInt(s.Now().Unix(), 10)
	for name, value := range map[string]string{
		"Content-Type":      "application/json",
		"User-Agent":        "Syncplane",
		"Ce-Specversion":    "1.0",
		"Ce-Id":             e.ID,
		"Ce-Source":         event.Source(s.Origin),
		"Ce-Type":           e.Type(),
		"Ce-Subject":        e.Subject,
		"Ce-Time":           e.Time.UTC().Format(syncjson.TimeLayout),
		"Ce-Dataschema":     e.Schema(s.Origin),
		"Ce-Workspace":      e.Workspace,
		"Webhook-Id":        e.ID,
		"Webhook-Timestamp": at,
		"Webhook-Signature": "v1," + sign(s.secret, e.ID, at, e.Data),
	} {
		r.Header.Set(name, value)
	}
	response, err := s.client.Do(r)
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err // without the address, which may hold a secret
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection is used again
	err = errors.Join(err, response.Body.Close())
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("the webhook answers %d", response.StatusCode)
	}
	return err
}

// sign is the signature of a message, base64 (Standard Webhooks, "Signature
// scheme").
func sign(secret []byte, id, at string, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
