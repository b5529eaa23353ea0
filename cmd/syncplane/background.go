package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"syncplane/pkg/local/scheduler"
	"syncplane/pkg/local/webhook"
	"syncplane/pkg/storage/bolt"
)

// background is what the server does beside answering: it begins the runs of
// syncs, keeps their records, and delivers events.
type background struct {
	ctx       context.Context //nolint:containedctx // that of its goroutines
	cancel    context.CancelFunc
	scheduler *scheduler.Scheduler
	recorder  *scheduler.Recorder
	sender    *webhook.Sender
	group     sync.WaitGroup
}

// newBackground is the work over a feed; without a feed there is none.
func newBackground(ctx context.Context, env environment, e backend, origin string, log *slog.Logger) (*background, error) {
	b, feed := &background{}, e.feed
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	hook := webhookConfig(env)
	switch {
	case feed == nil && hook.URL != "":
		return nil, errors.New("WEBHOOK_URL needs STORE=bolt; with DynamoDB the stack delivers events")
	case feed == nil:
		return b, nil
	}
	b.scheduler = &scheduler.Scheduler{Store: feed, Now: time.Now, Log: log}
	b.recorder = &scheduler.Recorder{Store: feed, Runs: e.runsService(), Now: time.Now, Log: log}
	if hook.URL == "" {
		return b, dropUndelivered(ctx, feed, log)
	}
	client, err := webhook.NewClient(hook, time.Now)
	if err != nil {
		return nil, err
	}
	b.sender = &webhook.Sender{Client: client, Store: feed, DeadLetters: deadLetters(env), Origin: origin, Now: time.Now, Log: log}
	return b, nil
}

// dropUndelivered keeps no event for a webhook any more, and logs how many it did not
// accept.
func dropUndelivered(ctx context.Context, feed *bolt.Store, log *slog.Logger) error {
	waiting, err := feed.Pending()
	if err != nil {
		return err
	}
	if len(waiting) > 0 {
		log.LogAttrs(ctx, slog.LevelWarn, "undelivered events are dropped", slog.Int("count", len(waiting)), slog.String("reason", "WEBHOOK_URL is not set"))
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

// stop ends the work, and returns when it has ended.
func (b *background) stop() {
	b.cancel()
	b.group.Wait()
}
