// Package webhook delivers events by HTTP POST: CloudEvents in binary mode,
// signed as Standard Webhooks 1.0 have it. It reads the feed of the embedded
// store. The events of a sync are delivered in order, those of several syncs at
// once; what an endpoint refuses for a day becomes a dead letter.
package webhook

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"syncplane/pkg/event"
	"syncplane/pkg/storage/bolt"
)

// The bounds of the deliveries. Standard Webhooks, "Deliverability", wants growing
// pauses over days; the API destination of the stack gives up after a day too. The
// other numbers are our own choices.
const (
	maxInFlight = 32  // deliveries at the same time
	maxRetrying = 16  // of them those of events that were refused before
	maxBatch    = 100 // events that are read at once: 25 MB at most
	firstPause  = time.Second
	maxPause    = 5 * time.Minute
	maxAge      = 24 * time.Hour
	minTried    = time.Hour // a machine that was down for a day has not tried for a day
	maxBehind   = 250_000
	storePause  = time.Second // after the store failed
	afterPause  = time.Second // in which others go before the event that made all pause
)

// grace is how long a delivery that is under way may take when the sender ends:
// what is taken meanwhile need not be sent again.
const grace = 2 * time.Second

// Store holds the events: a *bolt.Store, or one that fails for a while.
type Store interface {
	Checkpoint(name string) (mark uint64, ok bool, err error)
	Head() (sequence uint64, grown <-chan struct{})
	Events(after uint64, limit int) ([]bolt.Entry, error)
	Event(sequence uint64) (e event.Event, ok bool, err error)
	AddPending(ctx context.Context, events []bolt.Pending, until uint64) error
	Pending() ([]bolt.Pending, error)
	RemovePending(ctx context.Context, sequences ...uint64) error
}

var _ Store = (*bolt.Store)(nil)

// Sender delivers the events of a store.
type Sender struct {
	Client      *Client
	Store       Store
	DeadLetters bolt.DeadLetters
	Origin      string
	Now         func() time.Time
	Log         *slog.Logger

	// MaxBehind is how far the oldest event that is not delivered may be behind
	// the newest one, in events, before it becomes a dead letter; 250,000 if
	// zero. It bounds what the feed keeps.
	MaxBehind uint64
}

// Run delivers until ctx ends. The first time, events from now on are delivered;
// later from where it was. An event is delivered at least once: a crash may repeat
// those that were under way, and so may a store that fails, such as one on a full
// disk. Run goes on when the store does. After a 410 it delivers nothing until it
// runs again.
func (s *Sender) Run(ctx context.Context) {
	q := &dispatcher{Sender: s, queues: map[string]*syncQueue{}, queueOf: map[uint64]*syncQueue{}, results: make(chan result), started: s.Now()}
	for ctx.Err() == nil {
		err := q.load(ctx)
		if err == nil {
			q.run(ctx)
			return
		}
		s.log(ctx, err)
		pause(ctx, storePause)
	}
}

func (s *Sender) log(ctx context.Context, err error) {
	s.Log.LogAttrs(ctx, slog.LevelError, "webhook", slog.String("error", err.Error()))
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// dispatcher is what a running Sender knows. All but the deliveries themselves is done
// by one goroutine.
type dispatcher struct {
	*Sender

	position     uint64                // the last event of the feed that was taken over
	queues       map[string]*syncQueue // those with events
	ready        readyHeap             // the lines that wait for their time
	undelivered  []uint64              // what is not delivered, oldest first, and some that is by now
	queueOf      map[uint64]*syncQueue // the lines of what is not delivered
	delivered    []uint64              // what is delivered, but not stored as that
	deadLetters  []bolt.DeadLetter     // what is given up, but not stored as that
	resume       time.Time             // no delivery begins before
	retry        time.Time             // the store is not used before, since it failed
	gone         bool                  // the endpoint wants no deliveries
	inFlight     int                   // deliveries under way
	retrying     int                   // of them those of events that were refused before
	started      time.Time             // when this Sender began
	lastAccepted time.Time             // when an event was last taken
	results      chan result
}

// syncQueue is the events of one sync that are not delivered, in order.
type syncQueue struct {
	key      string
	events   []pendingEvent
	at       time.Time     // no delivery before
	pause    time.Duration // before the last attempt
	attempts int           // to deliver the first event
	paused   time.Time     // when the first event last had all deliveries pause
	inFlight bool
	index    int // in queue.ready, -1 if it is not there
}

type pendingEvent struct {
	sequence uint64
	since    time.Time
}

// result is what became of an attempt to deliver the first event of a line.
type result struct {
	queue    *syncQueue
	event    event.Event
	found    bool  // the store has the event
	readErr  error // of the store, before the attempt
	sendErr  error // of the attempt
	storeErr error // of the store, after the event was taken
}

// load reads what was not delivered when the last Sender ended.
func (q *dispatcher) load(ctx context.Context) error {
	read, known, err := q.Store.Checkpoint(bolt.SenderCheckpoint)
	if err != nil {
		return err
	}
	if !known {
		read, _ = q.Store.Head()
		if err := q.Store.AddPending(ctx, nil, read); err != nil {
			return err
		}
	}
	all, err := q.Store.Pending()
	if err != nil {
		return err
	}
	q.position = read
	for _, w := range all {
		q.push(w)
	}
	return nil
}

func (q *dispatcher) push(w bolt.Pending) {
	l := q.queues[w.OrderingKey]
	if l == nil {
		l = &syncQueue{key: w.OrderingKey, index: -1}
		q.queues[w.OrderingKey] = l
	}
	l.events = append(l.events, pendingEvent{w.Sequence, w.Since})
	q.undelivered = append(q.undelivered, w.Sequence)
	q.queueOf[w.Sequence] = l
	q.schedule(l)
}

// pop removes the first event of a line.
func (q *dispatcher) pop(l *syncQueue) {
	delete(q.queueOf, l.events[0].sequence)
	if l.index >= 0 {
		heap.Remove(&q.ready, l.index)
	}
	l.events, l.attempts, l.paused = l.events[1:], 0, time.Time{}
	if len(l.events) == 0 {
		delete(q.queues, l.key)
	}
	q.schedule(l)
}

// schedule has a line wait for its time, if there is something to deliver.
func (q *dispatcher) schedule(l *syncQueue) {
	if l.index < 0 && !l.inFlight && len(l.events) > 0 {
		heap.Push(&q.ready, l)
	}
}

// run delivers until ctx ends.
func (q *dispatcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		_, grown := q.Store.Head()
		more, err := q.work(ctx)
		if err != nil && ctx.Err() == nil {
			q.log(ctx, err)
			q.retry = q.Now().Add(storePause)
		}
		q.startDeliveries(ctx)
		if more {
			q.drainResults(ctx)
		} else {
			q.sleep(ctx, grown)
		}
	}
	for q.inFlight > 0 {
		q.finish(ctx, <-q.results)
	}
	if err := q.flush(context.WithoutCancel(ctx)); err != nil {
		q.log(ctx, err)
	}
}

// work does what needs the store, unless that failed a moment ago. more is true if
// there is more of it.
func (q *dispatcher) work(ctx context.Context) (more bool, err error) {
	if q.Now().Before(q.retry) {
		return false, nil
	}
	if more, err = q.readFeed(ctx); err != nil {
		return false, err
	}
	if err := q.expireOldest(ctx); err != nil {
		return false, err
	}
	return more || len(q.deadLetters) == maxBatch, q.flush(ctx)
}

// readFeed takes over some events of the feed.
func (q *dispatcher) readFeed(ctx context.Context) (more bool, err error) {
	entries, err := q.Store.Events(q.position, maxBatch)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	now := q.Now()
	batch := make([]bolt.Pending, 0, len(entries))
	for _, e := range entries {
		batch = append(batch, bolt.Pending{Sequence: e.Sequence, Since: now, OrderingKey: e.Workspace + "\x00" + e.Subject})
	}
	read := entries[len(entries)-1].Sequence
	if err := q.Store.AddPending(ctx, batch, read); err != nil {
		return false, err
	}
	q.position = read
	for _, w := range batch {
		q.push(w)
	}
	return true, nil
}

// expireOldest gives up what is too far behind, some of it at a time.
func (q *dispatcher) expireOldest(ctx context.Context) error {
	for len(q.undelivered) > 0 && q.queueOf[q.undelivered[0]] == nil {
		q.undelivered = q.undelivered[1:]
	}
	for _, sequence := range q.undelivered {
		if q.position-sequence < cmp.Or(q.MaxBehind, maxBehind) || len(q.deadLetters) >= maxBatch {
			break
		}
		l := q.queueOf[sequence]
		if l == nil || l.inFlight { // it is delivered, or perhaps it is in a moment
			continue
		}
		e, kept, err := q.Store.Event(sequence)
		if err != nil {
			return err
		}
		if kept {
			q.addDeadLetter(ctx, l, e, "too many events wait")
		} else {
			q.skip(ctx, l)
		}
	}
	return nil
}

// addDeadLetter makes a dead letter of the first event of a line, which is e.
func (q *dispatcher) addDeadLetter(ctx context.Context, l *syncQueue, e event.Event, reason string) {
	w := l.events[0]
	q.Log.LogAttrs(ctx, slog.LevelError, "dead letter", slog.Uint64("sequence", w.sequence), slog.String("event", e.ID), slog.String("error", reason))
	q.deadLetters = append(q.deadLetters, bolt.DeadLetter{
		Sequence: w.sequence, Event: e, Origin: q.Origin, Since: w.since, GivenUp: q.Now(), Attempts: l.attempts, Reason: reason,
	})
	q.pop(l)
}

// skip passes over the first event of a line, which the store does not have in
// a form that can be read.
func (q *dispatcher) skip(ctx context.Context, l *syncQueue) {
	q.Log.LogAttrs(ctx, slog.LevelError, "unreadable event", slog.Uint64("sequence", l.events[0].sequence))
	q.delivered = append(q.delivered, l.events[0].sequence)
	q.pop(l)
}

// flush stores what is delivered and what is given up. The dead letters come
// first: a crash in between repeats them.
func (q *dispatcher) flush(ctx context.Context) error {
	if len(q.deadLetters) > 0 {
		removed, err := q.DeadLetters.Add(ctx, q.deadLetters...)
		if err != nil {
			return err
		}
		if removed > 0 {
			q.Log.LogAttrs(ctx, slog.LevelError, "old dead letters are removed", slog.Int("count", removed))
		}
		for _, letter := range q.deadLetters {
			q.delivered = append(q.delivered, letter.Sequence)
		}
		q.deadLetters = nil
	}
	if len(q.delivered) == 0 {
		return nil
	}
	if err := q.Store.RemovePending(ctx, q.delivered...); err != nil {
		return err
	}
	q.delivered = nil
	return nil
}

// startDeliveries begins the deliveries whose time has come.
func (q *dispatcher) startDeliveries(ctx context.Context) {
	for ctx.Err() == nil {
		if wait, ok := q.next(q.Now()); !ok || wait > 0 {
			return
		}
		l := heap.Pop(&q.ready).(*syncQueue) //nolint:forcetypeassert // there is nothing else in it
		l.inFlight = true
		q.inFlight++
		if l.attempts > 0 {
			q.retrying++
		}
		sequence := l.events[0].sequence
		go func() { q.results <- q.deliver(ctx, l, sequence) }()
	}
}

// next returns how long no delivery begins; ok is false if none does before
// another one has ended or something waits. None begins either while what is
// delivered cannot be stored: a crash would repeat it all.
func (q *dispatcher) next(now time.Time) (wait time.Duration, ok bool) {
	if q.gone || len(q.ready) == 0 || q.inFlight == maxInFlight {
		return 0, false
	}
	first := q.ready[0] // those that were not refused come before all others
	if first.attempts > 0 && q.retrying == maxRetrying {
		return 0, false
	}
	wait = max(0, first.at.Sub(now), q.resume.Sub(now))
	if len(q.delivered) > 0 {
		wait = max(wait, q.retry.Sub(now))
	}
	return wait, true
}

// deliver tries to deliver an event once. It stores that the event is delivered
// itself, so that the deliveries at the same time share a commit.
func (q *dispatcher) deliver(ctx context.Context, l *syncQueue, sequence uint64) result {
	r := result{queue: l}
	if r.event, r.found, r.readErr = q.Store.Event(sequence); r.readErr != nil || !r.found {
		return r
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })()
	if r.sendErr = q.Client.Send(lasting, q.Origin, r.event); r.sendErr == nil {
		r.storeErr = q.Store.RemovePending(context.WithoutCancel(ctx), sequence)
	}
	return r
}

// finish takes over what became of a delivery.
func (q *dispatcher) finish(ctx context.Context, r result) {
	l, now := r.queue, q.Now()
	l.inFlight = false
	q.inFlight--
	if l.attempts > 0 {
		q.retrying--
	}
	defer q.schedule(l)
	switch {
	case r.readErr != nil:
		q.log(ctx, r.readErr)
		l.at = now.Add(storePause)
	case !r.found:
		q.skip(ctx, l)
	case r.sendErr == nil:
		if r.storeErr != nil { // again with the next ones
			q.log(ctx, r.storeErr)
			q.delivered = append(q.delivered, l.events[0].sequence)
			q.retry = now.Add(storePause)
		}
		l.pause, l.at, q.lastAccepted = 0, time.Time{}, now
		q.pop(l)
	case ctx.Err() != nil: // the attempt may have been broken off
	default:
		q.retryLater(ctx, r)
	}
}

// retryLater has an event that the endpoint did not take wait, or gives it up.
func (q *dispatcher) retryLater(ctx context.Context, r result) {
	l, now := r.queue, q.Now()
	l.attempts++
	q.Log.LogAttrs(ctx, slog.LevelWarn, "webhook", slog.String("event", r.event.ID), slog.Int("attempts", l.attempts), slog.String("error", r.sendErr.Error()))
	l.pause = min(max(2*l.pause, firstPause), maxPause)
	pause := l.pause/2 + rand.N(l.pause/2) //nolint:gosec // jitter, not a secret
	if refusal, ok := errors.AsType[*RefusalError](r.sendErr); ok {
		pause = max(pause, refusal.RetryAfter)
		switch refusal.Status {
		case http.StatusGone:
			if !q.gone {
				q.Log.LogAttrs(ctx, slog.LevelError, "the webhook is gone (410); nothing is delivered until the server starts again")
			}
			q.gone = true
			return // it waits for the next start
		case http.StatusTooManyRequests, http.StatusServiceUnavailable: // the endpoint speaks of all deliveries
			if refusal.RetryAfter > 0 && q.pauseAll(l, now, refusal.RetryAfter) {
				pause = max(pause, refusal.RetryAfter+afterPause)
			}
		}
	}
	l.at = now.Add(pause)
	first := &l.events[0]
	if first.since.After(now) { // the clock was set back
		first.since = now
	}
	if now.Sub(first.since) >= maxAge && now.Sub(q.started) >= minTried {
		l.at = now
		q.addDeadLetter(ctx, l, r.event, r.sendErr.Error())
	}
}

// pauseAll begins no delivery for a while, since the endpoint asks for that. It
// returns false, and does nothing, if the first event of l had it do so before and
// others were taken since: then the endpoint speaks of that event.
func (q *dispatcher) pauseAll(l *syncQueue, now time.Time, wait time.Duration) bool {
	if !l.paused.IsZero() && q.lastAccepted.After(l.paused) {
		return false
	}
	l.paused = now
	if at := now.Add(wait); at.After(q.resume) {
		q.resume = at
	}
	return true
}

// drainResults takes over what became of the deliveries that have ended.
func (q *dispatcher) drainResults(ctx context.Context) {
	for {
		select {
		case r := <-q.results:
			q.finish(ctx, r)
		default:
			return
		}
	}
}

// sleep returns when there is something to do.
func (q *dispatcher) sleep(ctx context.Context, grown <-chan struct{}) {
	now, wait := q.Now(), maxPause
	if next, ok := q.next(now); ok {
		wait = min(wait, next)
	}
	switch failing := q.retry.Sub(now); {
	case failing > 0:
		grown, wait = nil, min(wait, failing)
	case len(q.deadLetters)+len(q.delivered) > 0:
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case r := <-q.results:
		q.finish(ctx, r)
	case <-grown:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// readyHeap is a heap of lines: those first whose time comes first, and of those
// whose time is the same, those with the oldest event.
type readyHeap []*syncQueue

func (s readyHeap) Len() int { return len(s) }

func (s readyHeap) Less(i, j int) bool {
	if !s[i].at.Equal(s[j].at) {
		return s[i].at.Before(s[j].at)
	}
	return s[i].events[0].sequence < s[j].events[0].sequence
}

func (s readyHeap) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}

// Push is heap.Interface's.
func (s *readyHeap) Push(x any) {
	l := x.(*syncQueue) //nolint:forcetypeassert // there is nothing else in it
	l.index = len(*s)
	*s = append(*s, l)
}

// Pop is heap.Interface's.
func (s *readyHeap) Pop() any {
	last := len(*s) - 1
	l := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	l.index = -1
	return l
}
