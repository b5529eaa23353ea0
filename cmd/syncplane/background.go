package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
)

// background runs the tasks of the server that no request triggers: starting runs,
// recording them and delivering events.
type background struct {
	ctx       context.Context //nolint:containedctx // the context of its goroutines
	cancel    context.CancelFunc
	scheduler *scheduler.Scheduler
	recorder  *scheduler.Recorder
	sender    *webhook.Sender
	group     sync.WaitGroup
}

// newBackground returns the tasks on the feed of the storage backend; without a feed
// there are none.
func newBackground(ctx context.Context, c serveConfig, e backend, log *slog.Logger) (*background, error) {
	b, feed := &background{}, e.feed
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if feed == nil {
		return b, nil
	}
	b.scheduler = &scheduler.Scheduler{Store: feed, Now: time.Now, Log: log}
	// Before the server takes requests, so that no event is older than the readers.
	if _, err := feed.StartCheckpoint(ctx, bolt.RecorderCheckpoint); err != nil {
		return nil, err
	}
	b.recorder = &scheduler.Recorder{Store: feed, Runs: e.runsService(), Now: time.Now, Log: log}
	if c.hook.URL == "" {
		return b, dropUndelivered(ctx, feed, log)
	}
	client, err := webhook.NewClient(c.hook, time.Now)
	if err != nil {
		return nil, err
	}
	if _, err := feed.StartCheckpoint(ctx, bolt.SenderCheckpoint); err != nil {
		return nil, err
	}
	b.sender = &webhook.Sender{Client: client, Store: feed, DeadLetters: deadLetters(c.dataDir), Origin: c.address, Now: time.Now, Log: log}
	return b, nil
}

// dropUndelivered discards the events that wait for a webhook that is no longer
// configured, and logs their number.
func dropUndelivered(ctx context.Context, feed *bolt.Store, log *slog.Logger) error {
	pending, err := feed.Pending()
	if err != nil {
		return err
	}
	if len(pending) > 0 {
		log.LogAttrs(ctx, slog.LevelWarn, "undelivered events are dropped", slog.Int("count", len(pending)), slog.String("reason", "WEBHOOK_URL is not set"))
	}
	return feed.ResetDelivery(ctx)
}

func (b *background) start() {
	if b.scheduler != nil {
		b.group.Go(func() { b.scheduler.Run(b.ctx) })
		b.group.Go(func() { b.recorder.Run(b.ctx) })
	}
	if b.sender != nil {
		b.group.Go(func() { b.sender.Run(b.ctx) })
	}
}

// stop cancels the tasks and returns when they have ended.
func (b *background) stop() {
	b.cancel()
	b.group.Wait()
}
