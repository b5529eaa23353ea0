// Package eventbus publishes events on an EventBridge bus. It knows EventBridge's
// limits and errors, and not where the events come from.
package eventbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/smithy-go"

	"syncplane/pkg/backoff"
	"syncplane/pkg/event"
)

// Source is the EventBridge source of every event.
const Source = "syncplane"

// The limits of a call (EventBridge API reference, PutEvents).
const (
	maxEntries = 10
	maxBytes   = 256 << 10
	entryBytes = 14 // the size of the time of an entry, counted even if it is absent
)

// The attempts for an entry that EventBridge refused while it accepted others,
// and the longest pause before the second attempt; each further pause is up to
// twice as long. Our own choice.
const (
	maxAttempts = 4
	firstPause  = 50 * time.Millisecond
)

// Publisher publishes events on one bus.
type Publisher struct {
	Client *eventbridge.Client
	Bus    string // the name of the bus
	Origin string // the address of the API, such as https://api.example.com
}

// EntryError is the refusal of one event by EventBridge.
type EntryError struct {
	Code    string // such as MalformedDetail
	Message string
}

// Error returns the code and the message.
func (e *EntryError) Error() string { return e.Code + ": " + e.Message }

// Publish puts events on the bus. It keeps the order of the events of one sync by
// never putting two of them in one call, since EventBridge does not keep the order
// within a call. It returns how many of the first events it put; if that is not
// all, the error is that of the next one. Some of the events after that one may be
// on the bus, too.
func (p *Publisher) Publish(ctx context.Context, events []event.Event) (int, error) {
	published := 0
	for published < len(events) {
		n, err := p.put(ctx, p.batch(events[published:]))
		published += n
		if err != nil {
			return published, err
		}
	}
	return published, nil
}

// batch returns entries for as many of the first events as fit in one call.
func (p *Publisher) batch(events []event.Event) []types.PutEventsRequestEntry {
	var entries []types.PutEventsRequestEntry
	subjects := map[string]bool{}
	size := 0
	for _, e := range events {
		detail := string(e.Append(nil, p.Origin))
		size += entryBytes + len(Source) + len(e.Kind) + len(detail)
		if len(entries) == maxEntries || subjects[e.Subject] || len(entries) > 0 && size > maxBytes {
			break
		}
		subjects[e.Subject] = e.Subject != ""
		entries = append(entries, types.PutEventsRequestEntry{
			EventBusName: &p.Bus,
			Source:       aws.String(Source),
			DetailType:   aws.String(string(e.Kind)),
			Detail:       &detail,
			Time:         aws.Time(e.Time),
		})
	}
	return entries
}

// put puts a batch, and then each of its refused entries alone; if EventBridge refuses
// the call as invalid, all of them alone. It returns how many entries it put before
// the first that it could not.
func (p *Publisher) put(ctx context.Context, batch []types.PutEventsRequestEntry) (int, error) {
	out, err := p.Client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: batch})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "ValidationException" && len(batch) > 1 {
		for i := range batch {
			if _, err := p.put(ctx, batch[i:i+1]); err != nil {
				return i, err
			}
		}
		return len(batch), nil
	}
	if err != nil {
		return 0, fmt.Errorf("put events: %w", err)
	}
	for i, entry := range batch {
		if i >= len(out.Entries) { // the response has a result for each entry
			return i, errors.New("put events: the response has fewer results than the call had entries")
		}
		result := out.Entries[i]
		if result.ErrorCode == nil {
			continue
		}
		if err := p.retry(ctx, entry, result); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

// retry puts a refused entry until EventBridge accepts it, at most maxAttempts-1
// times.
func (p *Publisher) retry(ctx context.Context, entry types.PutEventsRequestEntry, refused types.PutEventsResultEntry) error {
	for attempt := 2; attempt <= maxAttempts; attempt++ {
		if backoff.Sleep(ctx, rand.N(firstPause<<(attempt-2))) != nil { //nolint:gosec // jitter, not a secret
			return fmt.Errorf("put an event: %w", context.Cause(ctx))
		}
		out, err := p.Client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry}})
		if err != nil {
			return fmt.Errorf("put an event: %w", err)
		}
		if len(out.Entries) == 1 && out.Entries[0].ErrorCode == nil {
			return nil
		}
		if len(out.Entries) == 1 {
			refused = out.Entries[0]
		}
	}
	return fmt.Errorf("put an event: %w", &EntryError{aws.ToString(refused.ErrorCode), aws.ToString(refused.ErrorMessage)})
}

// Put puts an event on the bus that Append has written before, such as one from a
// dead-letter queue.
func (p *Publisher) Put(ctx context.Context, kind event.Kind, text string, at time.Time) error {
	_, err := p.put(ctx, []types.PutEventsRequestEntry{{
		EventBusName: &p.Bus, Source: aws.String(Source), DetailType: aws.String(string(kind)), Detail: &text, Time: &at,
	}})
	return err
}
