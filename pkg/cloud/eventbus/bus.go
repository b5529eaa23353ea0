// Package bus publishes events on EventBridge. It knows EventBridge's bounds
// and errors, and nothing of where events come from.
package eventbus

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"syncplane/pkg/event"
)

// Source is the source of our events as EventBridge has it.
const Source = "syncplane"

// The bounds of a call (EventBridge API reference, PutEvents).
const (
	maxEntries = 10
	maxBytes   = 256 << 10
	entryBytes = 14 // the time, which counts whether it is given or not
)

// The tries of an entry that was refused while others were taken, and the
// longest pause before the second; each is up to twice as long.
const (
	maxTries   = 4
	firstPause = 50 * time.Millisecond
)

// Bus is a bus.
type Bus struct {
	Client *eventbridge.Client
	Name   string
	Origin string // the address of the API, such as https://api.example.com
}

// Publish puts events on the bus, those of one sync in their order: two of them
// are never in one call, which would not keep it. It returns how many it put,
// from the first on; if that is not all, the error says why the next was not.
// Some after that may be on the bus all the same.
func (b *Bus) Publish(ctx context.Context, events []event.Event) (int, error) {
	sent := 0
	for sent < len(events) {
		batch := b.batch(events[sent:])
		done, err := b.put(ctx, batch)
		sent += done
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// batch is as many of the next events as fit one call.
func (b *Bus) batch(events []event.Event) []types.PutEventsRequestEntry {
	var entries []types.PutEventsRequestEntry
	subjects := map[string]bool{}
	size := 0
	for _, e := range events {
		detail := string(e.Append(nil, b.Origin))
		size += entryBytes + len(Source) + len(e.Kind) + len(detail)
		if len(entries) == maxEntries || subjects[e.Subject] || len(entries) > 0 && size > maxBytes {
			break
		}
		subjects[e.Subject] = e.Subject != ""
		entries = append(entries, types.PutEventsRequestEntry{
			EventBusName: &b.Name,
			Source:       aws.String(Source),
			DetailType:   aws.String(string(e.Kind)),
			Detail:       &detail,
			Time:         aws.Time(e.Time),
		})
	}
	return entries
}

// put sends a batch, and then one by one what was refused of it. It returns how
// many were put before the first that was not.
func (b *Bus) put(ctx context.Context, batch []types.PutEventsRequestEntry) (int, error) {
	out, err := b.Client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: batch})
	if err != nil {
		return 0, fmt.Errorf("put events: %w", err)
	}
	for i, result := range out.Entries {
		if result.ErrorCode == nil {
			continue
		}
		if err := b.again(ctx, batch[i], result); err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

// again sends one entry until it is taken or was tried often enough.
func (b *Bus) again(ctx context.Context, entry types.PutEventsRequestEntry, refused types.PutEventsResultEntry) error {
	for try := 2; try <= maxTries; try++ {
		timer := time.NewTimer(rand.N(firstPause << (try - 2))) //nolint:gosec // jitter, not a secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("put an event: %w", context.Cause(ctx))
		}
		out, err := b.Client.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{entry}})
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
	return fmt.Errorf("put an event: %s: %s", aws.ToString(refused.ErrorCode), aws.ToString(refused.ErrorMessage))
}
